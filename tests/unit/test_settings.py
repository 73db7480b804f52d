import pytest

from jobline.errors import InvalidSettings
from jobline.settings import Settings

BARE = {"JOBLINE_STAGE": "dev", "JOBLINE_TABLE": "jobs"}


def test_a_function_reads_what_the_stack_set() -> None:
    settings = Settings.from_environment(BARE | {"JOBLINE_LANES": '{"emails":{"normal":"emails-normal"}}', "JOBLINE_BUCKET": "bodies"})
    assert (settings.stage, settings.table, settings.bucket) == ("dev", "jobs", "bodies")
    assert settings.lanes == {"emails": {"normal": "emails-normal"}}


@pytest.mark.parametrize("missing", ["JOBLINE_STAGE", "JOBLINE_TABLE"])
def test_no_function_starts_without_stage_and_table(missing: str) -> None:
    with pytest.raises(InvalidSettings, match=missing):
        Settings.from_environment({name: value for name, value in BARE.items() if name != missing})


@pytest.mark.parametrize("name", ["bucket", "worker", "queue_url_base", "lanes", "set_aside_queue"])
def test_reading_a_setting_that_the_function_was_not_given_names_it(name: str) -> None:
    with pytest.raises(InvalidSettings, match=f"JOBLINE_{name.upper()} is not set"):
        getattr(Settings.from_environment(BARE), name)


def test_an_empty_setting_counts_as_missing() -> None:
    with pytest.raises(InvalidSettings, match="JOBLINE_TABLE"):
        Settings.from_environment(BARE | {"JOBLINE_TABLE": ""})


def test_lanes_that_are_no_map_of_names_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="JOBLINE_LANES"):
        _ = Settings.from_environment(BARE | {"JOBLINE_LANES": "[1]"}).lanes
