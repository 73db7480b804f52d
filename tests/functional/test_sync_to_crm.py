"""Records brought into a CRM that behaves as HubSpot's documentation says: in hundreds, once each, and what is refused is listed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from moto import mock_aws

from functions.integrations import record_lines
from functions.integrations.sync_to_crm import CrmUnavailable, Record, SyncToCrm, sync_to_crm
from jobline import NonRetryable, RetryAfter, Snooze
from jobline.errors import InvalidJob, InvalidSettings
from jobline.local_crm import TOKEN, Answer, LocalCrm, Portal, error, local_crm, over_the_limit
from jobline.outgoing import Unreachable
from jobline.registry import Registry
from jobline.testing import RecordedLease, TrialDeployment, make_context
from tests.aws import REGION, client

BUCKET = "data"
REGISTRY = Registry([sync_to_crm])


@cache
def made_once(service: str) -> Any:
    """Making a client takes longer than a test."""
    return client(service)


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        made_once("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield made_once("s3")


@pytest.fixture
def crm() -> Iterator[LocalCrm]:
    with local_crm() as server:
        yield server


@pytest.fixture
def portal(crm: LocalCrm) -> Portal:
    return crm.portal


def options(crm: LocalCrm) -> dict[str, Any]:
    settings = {"CRM_API_BASE": crm.url, "ALLOWED_LOOPBACK_PORTS": str(crm.server_port)}
    return {"client": made_once, "bucket": BUCKET, "settings": settings, "secrets": {"crm_token": TOKEN}}


@pytest.fixture
def jobline_options(crm: LocalCrm, s3: Any) -> dict[str, Any]:
    return options(crm)


def record(number: int, **properties: Any) -> Record:
    return Record(id=f"c-{number}", properties={"firstname": f"Name {number}", **properties})


def contacts(*records: Record, **fields: Any) -> SyncToCrm:
    return SyncToCrm(object="contacts", id_property="external_id", records=list(records), **fields)


def stored(s3: Any, *lines: str | Record, key: str = "crm/contacts.jsonl") -> SyncToCrm:
    """A job about a file of these lines."""
    texts = [line if isinstance(line, str) else json.dumps({"id": line.id, "properties": line.properties}) for line in lines]
    s3.put_object(Bucket=BUCKET, Key=key, Body="\n".join(texts).encode())
    return contacts(source=key)


def rejects(s3: Any, result: Any) -> list[Any]:
    listed = s3.list_objects_v2(Bucket=result["rejects"]["bucket"], Prefix=result["rejects"]["prefix"])["Contents"]
    bodies = (s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read().decode() for each in listed)
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def failure(crm: LocalCrm, payload: SyncToCrm | None = None, **more: Any) -> Exception:
    """What the handler raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 which one, the caller asks
        sync_to_crm(payload or contacts(record(1)), make_context("sync_to_crm", timeout=240, **options(crm) | more))
    return raised.value


# What arrives


def test_records_are_created_and_updated_by_their_own_ids(jobs: TrialDeployment, portal: Portal) -> None:
    result = jobs.perform(contacts(record(1, email="ada@example.com"), record(2)))
    assert result == {"records": 2, "upserted": 2, "rejected": 0, "rejects": None}
    jobs.perform(contacts(record(2, firstname="Grace"), record(3)))
    stored = portal.objects["contacts"]
    assert [stored[id]["properties"]["firstname"] for id in ("c-1", "c-2", "c-3")] == ["Name 1", "Grace", "Name 3"]
    assert stored["c-1"]["properties"]["email"] == "ada@example.com"


def test_records_go_by_the_hundred(jobs: TrialDeployment, portal: Portal) -> None:
    jobs.perform(contacts(*map(record, range(250))))
    assert [len(batch) for batch in portal.batches] == [100, 100, 50]


def test_a_file_in_s3_is_read_line_by_line(jobs: TrialDeployment, portal: Portal, s3: Any) -> None:
    result = jobs.perform(stored(s3, *map(record, range(120)), "", "  "))
    assert (result["records"], result["upserted"]) == (120, 120)
    assert list(portal.objects["contacts"]) == [f"c-{number}" for number in range(120)]


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_a_file_is_read_the_same_in_blocks_of_any_size(
    block: int, monkeypatch: pytest.MonkeyPatch, jobs: TrialDeployment, portal: Portal, s3: Any
) -> None:
    monkeypatch.setattr(record_lines, "BLOCK", block)
    result = jobs.perform(stored(s3, record(1, firstname="Zoë ☃"), record(2), "", record(3)))
    assert (result["upserted"], list(portal.objects["contacts"])) == (3, ["c-1", "c-2", "c-3"])
    assert portal.objects["contacts"]["c-1"]["properties"]["firstname"] == "Zoë ☃"


def test_of_two_records_with_one_id_the_later_wins(jobs: TrialDeployment, portal: Portal) -> None:
    result = jobs.perform(contacts(record(1, firstname="first"), record(2), record(1, firstname="second"), record(3)))
    assert (result["upserted"], portal.objects["contacts"]["c-1"]["properties"]["firstname"]) == (4, "second")
    assert portal.batches == [["c-1", "c-2"], ["c-1", "c-3"]]


# What is refused


def test_records_that_the_crm_refuses_are_listed_and_keep_no_other_out(jobs: TrialDeployment, portal: Portal, s3: Any) -> None:
    result = jobs.perform(contacts(record(1), record(2, email="nobody"), record(3), record(4, visits="many")))
    assert (result["records"], result["upserted"], result["rejected"]) == (4, 2, 2)
    listed = rejects(s3, result)
    assert [(each["line"], each["id"]) for each in listed] == [(2, "c-2"), (4, "c-4")]
    assert "Email address nobody is invalid" in listed[0]["reason"]
    assert list(portal.objects["contacts"]) == ["c-1", "c-3"]


def test_a_record_for_which_the_whole_batch_is_refused_is_found(jobs: TrialDeployment, portal: Portal, s3: Any) -> None:
    records = [record(number) if number != 57 else record(number, shoesize="44") for number in range(100)]
    result = jobs.perform(contacts(*records))
    assert (result["upserted"], result["rejected"]) == (99, 1)
    (reject,) = rejects(s3, result)
    assert (reject["line"], reject["id"]) == (58, "c-57")
    assert 'Property "shoesize" does not exist' in reject["reason"]
    assert portal.requests < 20


def test_lines_that_are_no_records_are_listed_with_their_numbers(jobs: TrialDeployment, portal: Portal, s3: Any) -> None:
    long = "x" * (record_lines.LONGEST_LINE + 1)
    bad = ["{not json", '{"id": "c-9"}', '{"id": 7, "properties": {}}', '{"id": "", "properties": {}}', long]
    result = jobs.perform(stored(s3, record(1), *bad, record(2)))
    assert (result["records"], result["upserted"], result["rejected"]) == (7, 2, 5)
    listed = rejects(s3, result)
    assert [each["line"] for each in listed] == [2, 3, 4, 5, 6]
    assert "longer than 262144 bytes" in listed[-1]["reason"]


def test_a_mistake_in_all_of_the_first_hundred_ends_the_job_before_the_rest_is_tried(crm: LocalCrm, portal: Portal) -> None:
    error = failure(crm, contacts(*(record(number, shoesize="44") for number in range(200))))
    assert isinstance(error, NonRetryable)
    assert 'took none of the first 100 records: Property values were not valid: Property "shoesize" does not exist' in str(error)
    assert portal.objects["contacts"] == {}


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (contacts(), "give either records or source"),
        (contacts(record(1), source="crm/x"), "give either records or source"),
        (contacts(source="crm/nothing-here"), "s3://data/crm/nothing-here is not there"),
        (contacts(source="s3://data"), "s3://data is not s3://bucket/key"),
        (contacts(source="s3://No_Such*Bucket/x"), "cannot be the name of an object"),
        (SyncToCrm(object="planets", id_property="external_id", records=[record(1)]), "Unable to infer object type"),
    ],
)
def test_what_will_never_work_is_the_end(payload: SyncToCrm, complaint: str, crm: LocalCrm, s3: Any) -> None:
    assert isinstance(error := failure(crm, payload), NonRetryable)
    assert complaint in str(error)


# Once each, whatever happens


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "from S3"])
def test_a_failure_half_way_goes_on_behind_what_was_put_down(inline: bool, jobs: TrialDeployment, portal: Portal, s3: Any) -> None:
    records = [record(number) for number in range(250)]
    portal.answers.extend([None, None, Answer(503, {"message": "try later"}), None])
    job = jobs.enqueue(contacts(*records) if inline else stored(s3, *records), queue="integrations")
    jobs.drain()
    assert (job.status, job.error) == ("failed", "CrmUnavailable: the CRM answered 503: try later")
    jobs.advance("1m")
    assert (job.status, job.result["upserted"], len(portal.objects["contacts"])) == ("done", 250, 250)
    assert [len(batch) for batch in portal.batches] == [100, 100, 50]


def test_a_worker_that_dies_after_the_work_adds_nothing_and_counts_right(jobs: TrialDeployment, portal: Portal, s3: Any) -> None:
    jobs.crash_next(sync_to_crm)
    job = jobs.enqueue(stored(s3, *map(record, range(150)), "{"), queue="integrations")
    jobs.advance("1h")
    assert (job.status, job.attempts, len(portal.objects["contacts"])) == ("done", 2, 150)
    assert {name: job.result[name] for name in ("records", "upserted", "rejected")} == {"records": 151, "upserted": 150, "rejected": 1}


def test_a_death_between_the_effect_and_the_note_repeats_one_hundred_and_changes_nothing(crm: LocalCrm, portal: Portal, s3: Any) -> None:
    class Dying(RecordedLease):
        def checkpoint(self, text: str) -> bool | None:
            if len(self.checkpoints) == 1:
                raise SystemExit("killed between the effect and its note")
            return super().checkpoint(text)

    lease = Dying()
    payload = stored(s3, *map(record, range(199)), record(199, email="nobody"), *map(record, range(200, 250)))
    with pytest.raises(SystemExit):
        sync_to_crm(payload, make_context("sync_to_crm", timeout=240, lease=lease, **options(crm)))
    result = sync_to_crm(payload, make_context("sync_to_crm", timeout=240, cursor=lease.checkpoints[-1], **options(crm)))
    assert portal.batches[1] == portal.batches[2]
    assert list(portal.objects["contacts"]) == [f"c-{number}" for number in range(250) if number != 199]
    assert (result["records"], result["upserted"], result["rejected"]) == (250, 249, 1)
    assert [each["line"] for each in rejects(s3, result)] == [200]


def test_a_file_that_changes_under_the_work_ends_it(crm: LocalCrm, s3: Any) -> None:
    lease = RecordedLease()
    payload = stored(s3, *map(record, range(150)))
    crm.portal.answers.extend([None, Answer(500, {})])
    assert isinstance(failure(crm, payload, lease=lease), CrmUnavailable)
    stored(s3, *map(record, range(500)))
    assert isinstance(error := failure(crm, payload, cursor=lease.checkpoints[-1]), NonRetryable)
    assert "was changed or removed" in str(error)


# When the CRM asks for time


@pytest.mark.parametrize("answer", [over_the_limit(Retry_After="1"), error(423, "LOCKED", "locked", Retry_After="1")])
def test_a_short_wait_is_waited_out(answer: Answer, jobs: TrialDeployment, portal: Portal) -> None:
    portal.answers.append(answer)
    began = time.monotonic()
    assert jobs.perform(contacts(record(1)))["upserted"] == 1
    assert time.monotonic() - began >= 1
    assert portal.requests == 2


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (over_the_limit(Retry_After="11"), 11),
        (over_the_limit("DAILY"), 3600),
        (error(477, "MIGRATION_IN_PROGRESS", "moving", Retry_After="7200"), 7200),
        (over_the_limit(Retry_After="9999999"), 86_400),
    ],
)
def test_for_a_long_wait_the_job_is_put_off(answer: Answer, seconds: float, crm: LocalCrm) -> None:
    crm.portal.answers.append(answer)
    assert isinstance(error := failure(crm), Snooze)
    assert error.seconds == seconds


def test_a_crm_that_asks_for_time_again_and_again_does_not_keep_a_run_busy(crm: LocalCrm) -> None:
    crm.portal.answers.extend([over_the_limit(Retry_After="0")] * 10)
    assert isinstance(failure(crm), Snooze)
    assert crm.portal.requests == 4


def test_being_put_off_spends_no_attempt(jobs: TrialDeployment, portal: Portal) -> None:
    portal.answers.extend([over_the_limit(Retry_After="60")] * 20)
    job = jobs.enqueue(contacts(record(1)), queue="integrations")
    jobs.advance("1h")
    assert (job.status, job.attempts) == ("done", 1)


# Other errors


@pytest.mark.parametrize("status", [500, 502, 503, 504, 521, 524])
def test_an_error_of_the_moment_is_tried_again_by_the_policy(status: int, crm: LocalCrm) -> None:
    crm.portal.answers.append(Answer(status, {}))
    assert isinstance(failure(crm), CrmUnavailable)


def test_an_error_of_the_moment_that_says_for_how_long_is_believed(crm: LocalCrm) -> None:
    crm.portal.answers.append(Answer(503, {}, {"Retry-After": "33"}))
    assert isinstance(error := failure(crm), RetryAfter)
    assert error.seconds == 33


def test_a_token_that_is_not_taken_waits_for_the_right_one(crm: LocalCrm) -> None:
    assert isinstance(error := failure(crm, secrets={"crm_token": "pat-old"}), RetryAfter)
    assert (error.seconds, "pat-old" in str(error)) == (300, False)


def test_a_right_that_is_missing_is_the_end(crm: LocalCrm) -> None:
    crm.portal.answers.append(error(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes"))
    assert isinstance(failure(crm), NonRetryable)


def test_a_worker_without_a_token_says_so(crm: LocalCrm) -> None:
    assert isinstance(error := failure(crm, secrets={}), InvalidSettings)
    assert "crm_token" in str(error)


def test_nobody_there_is_tried_again(crm: LocalCrm) -> None:
    crm.shutdown()
    crm.server_close()
    assert isinstance(failure(crm), Unreachable)


def test_a_crm_at_a_private_address_is_refused(crm: LocalCrm) -> None:
    settings = {"CRM_API_BASE": "https://10.0.0.1", "ALLOWED_LOOPBACK_PORTS": ""}
    assert isinstance(error := failure(crm, settings=settings), NonRetryable)
    assert "CRM_API_BASE: 10.0.0.1 is not a public address" in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {"object": "contacts/batch"},
        {"object": "../owners"},
        {"id_property": "Email"},
        {"records": [{"id": "", "properties": {}}]},
        {"records": [{"id": "1", "properties": {"a": [1]}}]},
        {"records": [{"id": "1", "properties": {}}] * 1001},
        {"source": ""},
        {"token": "pat"},
    ],
)
def test_a_payload_that_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    good = {"object": "contacts", "id_property": "external_id"}
    REGISTRY.decode("sync_to_crm", json.dumps(good))
    with pytest.raises(InvalidJob):
        REGISTRY.decode("sync_to_crm", json.dumps(good | fields))
