"""Tags, logs, the API's speed and names, and a worker's network, as the files may say them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobline.definition_files import KNOWN_KEYS, load
from jobline.definitions import LOG_DAYS, ApiFront, Vpc
from jobline.errors import InvalidDefinitions

EMAILS = '[queues.emails]\nworker = "notifications"\n'
CERTIFICATE = 'certificate = "arn:aws:acm:eu-west-1:111122223333:certificate/1234abcd-12ab"\n'
NAMED = f'[api]\ndomain = "jobs.example.com"\n{CERTIFICATE}'
JWT = '[access]\njwt = { issuer = "https://login.example.com", audience = ["jobline"] }\n'
WORKER = "functions/notifications/worker.toml"
SETTINGS = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / WORKER).parent.mkdir(parents=True)
    (tmp_path / WORKER).touch()
    (tmp_path / "queues.toml").write_text(EMAILS)
    return tmp_path


def say(root: Path, text: str) -> None:
    (root / "queues.toml").write_text(EMAILS + text)


def refusal(root: Path) -> str:
    with pytest.raises(InvalidDefinitions) as caught:
        load(root, "dev")
    return caught.value.detail


def test_where_nothing_is_said_logs_are_kept_for_a_month_and_the_api_has_no_name_of_its_own(checkout: Path) -> None:
    found = load(checkout, "dev")
    assert (found.tags, found.log_days, found.workers["notifications"].vpc) == ({}, 30, None)
    assert found.api == ApiFront(requests_per_second=500, burst=1000)


def test_every_setting_of_the_deployment_can_be_another_for_a_stage(checkout: Path) -> None:
    say(
        checkout,
        f"{NAMED}requests_per_second = 20\nburst = 40\n"
        '[tags]\nteam = "billing"\n"cost-center" = "4711"\n[logs]\nretention = "2w"\n'
        '[stages.prod.api]\ndomain = "jobs.example.org"\nonly_domain = true\n'
        '[stages.prod.tags]\nteam = "payments"\n[stages.prod.logs]\nretention = "365d"\n',
    )
    (checkout / WORKER).write_text(
        '[vpc]\nsubnets = ["subnet-0a1b0a1b"]\nsecurity_groups = ["sg-0c2d0c2d"]\n'
        '[stages.prod.vpc]\nsubnets = ["subnet-0e3f0e3f", "subnet-0e400e40"]'
    )
    dev, prod = load(checkout, "dev"), load(checkout, "prod")
    assert (dev.tags, prod.tags) == ({"team": "billing", "cost-center": "4711"}, {"team": "payments", "cost-center": "4711"})
    assert (dev.log_days, prod.log_days) == (14, 365)
    assert (dev.api.requests_per_second, dev.api.burst, dev.api.domain, dev.api.only_domain) == (20, 40, "jobs.example.com", False)
    assert (prod.api.requests_per_second, prod.api.domain, prod.api.only_domain) == (20, "jobs.example.org", True)
    assert dev.workers["notifications"].vpc == Vpc(subnets=("subnet-0a1b0a1b",), security_groups=("sg-0c2d0c2d",))
    assert prod.workers["notifications"].vpc == Vpc(subnets=("subnet-0e3f0e3f", "subnet-0e400e40"), security_groups=("sg-0c2d0c2d",))


@pytest.mark.parametrize("days", LOG_DAYS)
def test_logs_are_kept_for_any_number_of_days_that_cloudwatch_knows(checkout: Path, days: int) -> None:
    say(checkout, f'[logs]\nretention = "{days}d"')
    assert load(checkout, "dev").log_days == days


@pytest.mark.parametrize(
    ("retention", "nearest"),
    [
        ('"31d"', "30d and 60d"),
        ('"1h"', "1d and 3d"),
        ("0", "1d and 3d"),
        ('"36h"', "1d and 3d"),
        ('"366d"', "365d and 400d"),
        ('"9000d"', "3288d and 3653d"),
    ],
)
def test_another_number_of_days_is_refused_with_the_nearest(checkout: Path, retention: str, nearest: str) -> None:
    say(checkout, f"[logs]\nretention = {retention}")
    assert refusal(checkout) == (
        f"queues.toml: logs.retention: CloudWatch keeps logs for certain numbers of days; the nearest are {nearest}"
    )


def test_tags_take_what_every_service_takes(checkout: Path) -> None:
    say(checkout, f'[tags]\n"{"k" * 128}" = "{"v" * 256}"\n"a+b=c.d_e:f/g-1" = "Zürich, 1"'.replace(",", ""))
    assert load(checkout, "dev").tags == {"k" * 128: "v" * 256, "a+b=c.d_e:f/g-1": "Zürich 1"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f'[tags]\n"{"k" * 129}" = "v"', f"tags.{'k' * 129}: a tag's name is at most 128 of"),
        ('[tags]\n"cost center" = "v"', "tags.cost center: a tag's name is at most 128 of a-z A-Z 0-9 + = . _ : / -"),
        ('[tags]\n"" = "v"', "tags.: a tag's name is at most 128 of"),
        ('[tags]\n"AWS:x" = "v"', "tags.AWS:x: names that begin with aws: are AWS's"),
        ('[tags]\n"jobline:stage" = "v"', "tags.jobline:stage: names that begin with aws: are AWS's, and with jobline: Jobline's"),
        ('[tags]\nteam = "a"\nTeam = "b"', "tags.Team: this differs from team in capitals alone"),
        (f'[tags]\nteam = "{"v" * 257}"', "tags.team: a tag's value is 1 to 256 letters"),
        ('[tags]\nteam = ""', "tags.team: a tag's value is 1 to 256 letters"),
        ('[tags]\nteam = "a\\nb"', "tags.team: a tag's value is 1 to 256 letters"),
        ("[tags]\nteam = 7", "tags.team: Expected `str`, got `int`"),
        ("[tags]\n" + "".join(f't{number} = "v"\n' for number in range(49)), "tags: these are 49; at most 48 fit beside Jobline's own"),
        ("[logs]\nretension = 30", "logs.retension: there is no such key; did you mean 'retention'?"),
        ("[logs]\nretention = true", "logs.retention: a duration is a number of seconds"),
        ("[api]\nrate = 5", "api.rate: there is no such key"),
        ("[api]\nrequests_per_second = 0", "api.requests_per_second: Expected `int` >= 1"),
        ("[api]\nburst = 1.5", "api.burst: Expected `int`, got `float`"),
        ('[api]\ndomain = "jobs.example.com"', "api.certificate: this is missing: the ARN of the ACM certificate of jobs.example.com"),
        (f"[api]\n{CERTIFICATE}", "api.domain: this is missing: the name that the certificate is of"),
        (
            '[api]\ndomain = "jobs.example.com"\ncertificate = "mine"',
            "api.certificate: this is the ARN of a certificate, arn:aws:acm:REGION:",
        ),
        *(
            (f'[api]\ndomain = "{name}"\n{CERTIFICATE}', "api.domain: this is a host name in lower case, such as jobs.example.com")
            for name in (
                "https://jobs.example.com",
                "jobs.example.com/",
                "Jobs.example.com",
                "jobs",
                "*.example.com",
                "a..com",
                "-a.com",
                "",
            )
        ),
        ("[api]\nonly_domain = true", "api.only_domain: without a domain nobody could call the API; give [api] domain"),
        (NAMED + 'token_domain = "tokens.example.com"', "api.token_domain: no tokens are taken; [access] jwt says whose are"),
        (NAMED + 'token_domain = "jobs.example.com"\n' + JWT, "api.token_domain: signed requests and those with a token need a name each"),
        (NAMED + "only_domain = true\n" + JWT, "api.only_domain: requests with a token would have no name to go to"),
        (NAMED + "only_domain = 1", "api.only_domain: Expected `bool`, got `int`"),
    ],
)
def test_a_mistake_in_queues_toml_is_named(checkout: Path, text: str, sentence: str) -> None:
    say(checkout, text)
    assert refusal(checkout).startswith(f"queues.toml: {sentence}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("vpc = true", "vpc: this must be a table"),
        ("[vpc]\nsubnet = []", "vpc.subnet: there is no such key; did you mean 'subnets'?"),
        ('[vpc]\nsubnets = ["subnet-1a1a1a1a"]', "vpc.security_groups: this is missing: a list of the groups' ids"),
        ('[vpc]\nsecurity_groups = ["sg-1a1a1a1a"]', "vpc.subnets: this is missing: a list of the subnets' ids"),
        ('[vpc]\nsubnets = []\nsecurity_groups = ["sg-1a1a1a1a"]', "vpc.subnets: Expected `array` of length >= 1"),
        ('[vpc]\nsubnets = ["sg-1a1a1a1a"]\nsecurity_groups = ["sg-1a1a1a1a"]', "vpc.subnets[0]: Expected `str` matching regex"),
        ('[vpc]\nsubnets = "subnet-1a1a1a1a"\nsecurity_groups = ["sg-1a1a1a1a"]', "vpc.subnets: Expected `array`, got `str`"),
        (
            f'[vpc]\nsubnets = ["subnet-1a1a1a1a"]\nsecurity_groups = {["sg-1a1a1a1a"] * 6}',
            "vpc.security_groups: Expected `array` of length <= 5",
        ),
    ],
)
def test_a_mistake_in_worker_toml_is_named(checkout: Path, text: str, sentence: str) -> None:
    (checkout / WORKER).write_text(text)
    assert refusal(checkout).startswith(f"{WORKER}: {sentence}")


def documented() -> dict[str, dict[str, list[str]]]:
    """The keys in docs/settings.md: the first column of the table under `### [TABLE]`, by the file of the `##` above it."""
    found: dict[str, dict[str, list[str]]] = {}
    file = table = ""
    for line in SETTINGS.read_text().splitlines():
        if line.startswith("## "):
            file = line.strip("# `")
        elif line.startswith("### "):
            table = line.removeprefix("### ").strip("`[]") if "[" in line else ""
        elif line.startswith("| `"):
            found.setdefault(file, {}).setdefault(table, []).append(line.split("`")[1])
    return found


def test_every_key_is_documented_and_no_other() -> None:
    listed = documented()
    assert listed.keys() >= KNOWN_KEYS.keys()
    for file, tables in KNOWN_KEYS.items():
        assert {table: sorted(keys) for table, keys in listed[file].items()} == {table: sorted(keys) for table, keys in tables.items()}
