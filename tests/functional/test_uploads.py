"""Payloads too large for a request: put into S3 by the client, named by `payload_ref`, and then the job's own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jobline.payloads import LARGEST_UPLOAD, Bodies
from tests.api import Answer
from tests.api_on_aws import OnAws, on_aws
from tests.aws import client
from tests.faults import KINDS, Kind

LARGE = b'{"x": "' + b"x" * 3_000_000 + b'"}'
SMALL = b'{"n": 1.0}'


@pytest.fixture
def api() -> Iterator[OnAws]:
    with on_aws() as api:
        yield api


def start(api: OnAws, content: bytes = LARGE) -> dict[str, Any]:
    answer = api.call("POST", "/uploads", {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    assert answer.status == 201, answer
    return dict(answer.body)


def upload(api: OnAws, content: bytes = LARGE) -> str:
    """Uploads as S3 would take it from the link: moto knows no checksum that is only in a header."""
    started = start(api, content)
    client("s3").put_object(Bucket="bodies", Key=f"uploads/{started['upload']}", Body=content, ChecksumAlgorithm="SHA256")
    return str(started["upload"])


def enqueue(api: OnAws, ref: str, **fields: Any) -> Answer:
    return api.call("POST", "/jobs", {"queue": "emails", "type": "send_email", "payload_ref": ref} | fields)


def keys(prefix: str = "") -> list[str]:
    return [each["Key"] for each in client("s3").list_objects_v2(Bucket="bodies", Prefix=prefix).get("Contents", [])]


# ---------------------------------------------------------------------------------------------------- starting one


def test_a_link_takes_this_very_content_and_no_other(api: OnAws) -> None:
    started = start(api)
    assert list(started) == ["upload", "url", "method", "headers", "expires_at"]
    assert (started["method"], started["expires_at"]) == ("PUT", "2026-03-01T12:15:00Z")
    checksum = base64.b64encode(hashlib.sha256(LARGE).digest()).decode()
    assert started["headers"] == {
        "Content-Type": "application/json",
        "Content-Length": str(len(LARGE)),
        "x-amz-checksum-sha256": checksum,
    }
    assert urlsplit(started["url"]).path.endswith(f"/uploads/{started['upload']}")
    assert api.faults.calls == ["generate_presigned_url"]


def test_a_link_signs_size_and_checksum() -> None:
    s3 = client("s3")
    nothing: Any = None
    bodies = Bodies(nothing, "", lambda: s3, "bodies")
    url, headers = bodies.upload_link("x", size=5, sha256="00" * 32, seconds=900)
    signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert set(signed) == {"host", *(name.lower() for name in headers)}


@pytest.mark.parametrize(
    ("body", "status", "problems"),
    [
        ({"size": LARGEST_UPLOAD, "sha256": "0" * 64}, 201, []),
        ({"size": LARGEST_UPLOAD + 1, "sha256": "0" * 64}, 400, [("/size", "must be a whole number from 1 to 100000000")]),
        ({"size": 0, "sha256": "0" * 64}, 400, [("/size", "must be a whole number from 1 to 100000000")]),
        ({"size": 1, "sha256": "0" * 63}, 400, [("/sha256", "must be 64 hexadecimal digits, 0-9 a-f")]),
        ({"size": 1, "sha256": "0" * 63 + "F"}, 400, [("/sha256", "must be 64 hexadecimal digits, 0-9 a-f")]),
        ({"size": 1}, 400, [("/sha256", "is missing")]),
        ({"size": 1, "sha256": "0" * 64, "md5": ""}, 400, [("/md5", "is not a known field")]),
        ([], 400, [("", "must be an object")]),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(api: OnAws, body: Any, status: int, problems: list[tuple[str, str]]) -> None:
    answer = api.call("POST", "/uploads", body)
    assert answer.status == status
    assert answer.problems == problems


def test_the_same_goes_under_a_queues_own_path(api: OnAws) -> None:
    body = {"size": 1, "sha256": "0" * 64}
    assert api.call("POST", "/queues/emails/uploads", body).status == 201
    assert api.call("POST", "/queues/nowhere/uploads", body).status == 404


# ---------------------------------------------------------------------------------------------------- using one


def test_an_uploaded_payload_is_the_jobs_own_and_answered_as_a_link(api: OnAws) -> None:
    ref = upload(api)
    answer = enqueue(api, ref)
    assert (answer.status, answer.body["payload"]) == (202, None)
    assert "payload_url" in answer.body
    assert api.faults.calls[1:] == ["head_object", "copy_object", "put_item", "generate_presigned_url"]
    client("s3").delete_object(Bucket="bodies", Key=f"uploads/{ref}")
    job = api.job()
    assert api.service.bodies.load(job.payload, job.payload_ref) == LARGE.decode()
    (key,) = keys()
    assert key.startswith(f"bodies/{job.id}/payload-")


def test_a_small_one_is_answered_as_it_was_written(api: OnAws) -> None:
    answer = enqueue(api, upload(api, SMALL))
    assert f'"payload":{SMALL.decode()},' in answer.text


def test_one_upload_may_be_the_payload_of_several_jobs(api: OnAws) -> None:
    ref = upload(api)
    assert len({enqueue(api, ref).body["id"] for _ in range(3)}) == 3
    assert len(keys("bodies/")) == 3


def test_an_upload_that_is_not_there_is_refused_and_makes_nothing(api: OnAws) -> None:
    ref = start(api)["upload"]
    answer = enqueue(api, ref)
    assert (answer.status, answer.body["type"]) == (422, "urn:jobline:problem:unknown-upload")
    assert answer.problems == [("/payload_ref", "names no upload, or one that is gone or was not checked on arrival")]
    assert api.raw.scan(TableName="jobs")["Items"] == keys() == []


def test_an_object_whose_content_nobody_checked_is_refused(api: OnAws) -> None:
    ref = start(api)["upload"]
    client("s3").put_object(Bucket="bodies", Key=f"uploads/{ref}", Body=LARGE, ChecksumAlgorithm="CRC32")
    assert enqueue(api, ref).problems[0][0] == "/payload_ref"


def test_an_object_over_the_limit_is_refused_with_the_limits_value(api: OnAws, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = upload(api)
    monkeypatch.setattr("jobline.enqueueing.LARGEST_UPLOAD", len(LARGE) - 1)
    answer = enqueue(api, ref)
    assert answer.problems == [("/payload_ref", f"has {len(LARGE)} bytes; the limit is {len(LARGE) - 1}")]
    monkeypatch.setattr("jobline.enqueueing.LARGEST_UPLOAD", len(LARGE))
    assert enqueue(api, ref).status == 202


@pytest.mark.parametrize(
    ("fields", "pointer", "detail"),
    [
        ({"payload_ref": "x"}, "/payload_ref", "must be an upload's id, as POST /uploads answers it"),
        ({"payload_ref": 5}, "/payload_ref", "must be an upload's id, as POST /uploads answers it"),
        ({"payload_ref": "../bodies/x"}, "/payload_ref", "must be an upload's id, as POST /uploads answers it"),
        ({"payload": {"to": "x"}}, "/payload_ref", "cannot be given together with payload"),
        ({"unique": {}}, "/unique", "needs a key: the payload was uploaded, and is not read here"),
        ({"unique": {"keys": ["to"]}}, "/unique", "needs a key: the payload was uploaded, and is not read here"),
    ],
)
def test_what_cannot_go_with_an_upload_is_refused(api: OnAws, fields: dict[str, Any], pointer: str, detail: str) -> None:
    answer = enqueue(api, upload(api), **fields)
    assert (answer.status, answer.problems) == (422, [(pointer, detail)])
    assert keys("bodies/") == []


def test_a_repeated_request_finds_its_job_also_when_the_upload_is_gone(api: OnAws) -> None:
    ref = upload(api)
    for key, unique in (("plain", None), ("unique", {"key": "k"})):
        first = enqueue(api, ref, idempotency_key=key, unique=unique)
        client("s3").delete_object(Bucket="bodies", Key=f"uploads/{ref}")
        again = enqueue(api, ref, idempotency_key=key, unique=unique)
        assert (first.status, again.status, again.body["id"]) == (202, 200, first.body["id"])
        ref = upload(api)


def test_a_key_names_one_content_however_often_it_is_uploaded(api: OnAws) -> None:
    first, again = (enqueue(api, upload(api), idempotency_key="i") for _ in range(2))
    assert (first.status, again.status, again.body["id"]) == (202, 200, first.body["id"])
    for ref, fields in ((upload(api, SMALL), {}), (upload(api), {"priority": 1})):
        other = enqueue(api, ref, idempotency_key="i", **fields)
        assert (other.status, other.body["type"]) == (422, "urn:jobline:problem:idempotency-key-reused")
    assert len(keys("bodies/")) == 1


def test_a_unique_job_that_is_there_copies_nothing(api: OnAws) -> None:
    ref = upload(api)
    first = enqueue(api, ref, unique={"key": "k"})
    again = enqueue(api, ref, unique={"key": "k"})
    assert (first.status, again.status, len(keys("bodies/"))) == (202, 200, 1)


def test_uploads_go_into_a_batch_too(api: OnAws) -> None:
    jobs = [{"queue": "emails", "type": "send_email", "payload_ref": ref} for ref in (upload(api), start(api)["upload"])]
    items = api.call("POST", "/jobs/batch", {"jobs": jobs}).body["items"]
    assert [item["status"] for item in items] == [202, 422]
    assert (items[0]["job"]["payload"], items[0]["job"]["omitted"]) == (None, ["payload"])
    assert items[1]["problem"]["errors"][0]["pointer"] == "/jobs/1/payload_ref"


def test_a_replay_has_a_copy_of_its_own_without_anybody_reading_it(api: OnAws) -> None:
    job = enqueue(api, upload(api)).body
    api.faults.calls.clear()
    replay = api.call("POST", f"/jobs/{job['id']}/replay")
    assert replay.status == 202
    assert "get_object" not in api.faults.calls
    assert len(keys("bodies/")) == 2
    made = api.store.get(replay.body["id"])
    assert api.service.bodies.load(made.payload, made.payload_ref) == LARGE.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_after_one_fault_at_any_call_a_client_repeats_and_has_exactly_one_job_with_its_payload(kind: Kind) -> None:
    def life(at: int | None) -> list[str]:
        with on_aws(kind=kind) as api:
            ref = upload(api)
            api.faults.calls.clear()
            api.faults.at = at
            api.repeat(lambda: enqueue(api, ref, idempotency_key="i").status)
            api.faults.at = None
            job = api.job()
            assert api.service.bodies.load(job.payload, job.payload_ref) == LARGE.decode(), (kind, at)
            return list(api.faults.calls)

    calls = [name for name in life(None) if name != "get_object"]
    assert calls == ["head_object", "copy_object", "put_item", "generate_presigned_url"]
    for number in range(3):
        life(number)
