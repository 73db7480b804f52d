"""Topics: an event becomes one job for each subscription that takes it, through the API, the worker and whatever goes wrong between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobline.topics import LARGEST, MOST_SUBSCRIPTIONS
from tests.api import Answer, Client

PAID = {"kind": "order.paid", "amount": 120, "customer": {"email": "ada@example.com"}}
THANKS = {
    "queue": "emails",
    "type": "send_email",
    "filter": "kind == 'order.paid' && amount > `100`",
    "transform": "{to: customer.email, subject: 'Thank you'}",
}
AT = "/topics/orders/subscriptions/thanks"


@pytest.fixture
def api() -> Client:
    return Client()


def put(api: Client, at: str = AT, headers: dict[str, str] | None = None, **changes: Any) -> Answer:
    return api.call("PUT", at, THANKS | changes, headers=headers or {})


# ---------------------------------------------------------------------------------------------------- subscriptions


def test_a_subscription_is_made_shown_replaced_and_deleted(api: Client) -> None:
    made = put(api)
    assert (made.status, made.body["name"], made.body["topic"], made.body["declared"]) == (201, "thanks", "orders", False)
    assert {name: made.body[name] for name in THANKS} == THANKS
    assert (made.body["priority"], made.body["delay"]) == (None, None)
    shown = api.call("GET", AT)
    assert (shown.status, shown.body, shown.headers["ETag"]) == (200, made.body, made.headers["ETag"])
    replaced = put(api, priority=1)
    assert (replaced.status, replaced.body["priority"]) == (200, 1)
    assert replaced.headers["ETag"] != made.headers["ETag"]
    assert api.call("DELETE", AT).body == {"deleted": True}
    gone = api.call("GET", AT)
    assert (gone.status, gone.body["type"]) == (404, "urn:jobline:problem:subscription-not-found")
    assert api.call("DELETE", AT).status == 404


def test_topics_are_listed_and_shown_with_what_subscribes_to_them(api: Client) -> None:
    put(api)
    listed = api.call("GET", "/topics").body["topics"]
    assert listed == [{"name": "orders", "description": "What becomes of orders."}, {"name": "quiet", "description": ""}]
    topic = api.call("GET", "/topics/orders").body
    assert [(one["name"], one["declared"]) for one in topic["subscriptions"]] == [("declared", True), ("thanks", False)]
    assert api.call("GET", "/topics/quiet").body["subscriptions"] == []


def test_a_declared_subscription_is_changed_by_a_deployment_only(api: Client) -> None:
    at = "/topics/orders/subscriptions/declared"
    for answer in (put(api, at), api.call("DELETE", at)):
        assert (answer.status, answer.body["type"]) == (409, "urn:jobline:problem:subscription-conflict")
        assert "queues.toml" in answer.body["detail"]
    assert api.call("GET", at).body["filter"] == "kind == 'order.lost'"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_topic_is_a_404_with_the_nearest_name(api: Client, method: str) -> None:
    answer = api.call(method, "/topics/order/subscriptions/thanks", THANKS if method == "PUT" else None)
    assert (answer.status, answer.body["type"]) == (404, "urn:jobline:problem:topic-not-found")
    assert "did you mean 'orders'" in answer.body["detail"]
    assert api.call("POST", "/topics/order/publish", {"event": PAID}).status == 404


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"queue": "nonesuch"}, "/queue"),
        ({"queue": "operations", "type": "purge"}, "/queue"),
        ({"type": "image_resize"}, "/type"),
        ({"filter": "kind =="}, "/filter"),
        ({"filter": "lenght(kind)"}, "/filter"),
        ({"filter": ""}, "/filter"),
        ({"filter": "a" * 1001}, "/filter"),
        ({"transform": "{to: }"}, "/transform"),
        ({"transform": 7}, "/transform"),
        ({"payload": {}}, "/payload"),
        ({"idempotency_key": "k"}, "/idempotency_key"),
        ({"unique": {"key": "k"}}, "/unique"),
        ({"scheduled_at": "2126-01-01T00:00:00Z"}, "/scheduled_at"),
        ({"priority": 11}, "/priority"),
        ({"timeout": 800}, "/timeout"),
        ({"queue": "letters", "delay": 5}, "/delay"),
        ({"fliter": "kind"}, "/fliter"),
    ],
)
def test_a_subscription_whose_jobs_would_be_refused_is_refused_and_the_place_is_named(
    api: Client, change: dict[str, Any], place: str
) -> None:
    answer = put(api, **change)
    assert answer.status == 422, answer.text
    assert [pointer for pointer, _ in answer.problems] == [place]
    assert api.call("GET", AT).status == 404


def test_preconditions_keep_two_people_from_undoing_each_others_change(api: Client) -> None:
    assert put(api, headers={"if-match": '"x"'}).status == 412
    tag = put(api, headers={"if-none-match": "*"}).headers["ETag"]
    assert put(api, headers={"if-none-match": "*"}).status == 412
    assert put(api, headers={"if-match": tag}, priority=2).status == 200
    for answer in (put(api, headers={"if-match": tag}), api.call("DELETE", AT, headers={"if-match": tag})):
        assert (answer.status, answer.body["type"]) == (412, "urn:jobline:problem:subscription-changed")
    now = api.call("GET", AT).headers["ETag"]
    assert api.call("GET", AT, headers={"if-none-match": now}).status == 304


def test_two_subscriptions_that_are_made_at_once_are_both_there(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store = api.publishing.topics.store
    read = store.read
    between = [lambda: put(api, "/topics/orders/subscriptions/other")]

    def interrupted(topic: str) -> Any:
        kept = read(topic)
        if between:
            between.pop()()
        return kept

    monkeypatch.setattr(store, "read", interrupted)
    assert put(api).status == 201
    assert {one["name"] for one in api.call("GET", "/topics/orders").body["subscriptions"]} == {"declared", "other", "thanks"}


def test_a_topic_has_so_many_subscriptions_and_no_more(api: Client) -> None:
    for number in range(MOST_SUBSCRIPTIONS - 1):
        assert put(api, f"/topics/orders/subscriptions/s{number}").status == 201
    full = put(api)
    assert (full.status, full.body["type"]) == (409, "urn:jobline:problem:subscription-conflict")
    assert put(api, "/topics/orders/subscriptions/s0", priority=3).status == 200


def test_as_many_subscriptions_as_there_may_be_of_the_largest_size_fit_into_one_item() -> None:
    assert MOST_SUBSCRIPTIONS * (LARGEST + 64 + 10) < 400_000 * 0.75, "DynamoDB's limit of an item, and room for escapes"


# ---------------------------------------------------------------------------------------------------- publishing


def test_a_publication_is_a_job_that_is_answered_at_once(api: Client) -> None:
    answer = api.call("POST", "/topics/orders/publish", {"event": PAID})
    assert (answer.status, answer.body["queue"], answer.body["type"]) == (202, "operations", "publish")
    assert answer.headers["Location"] == f"../../jobs/{answer.body['id']}"
    job = api.store.get(answer.body["id"])
    assert json.loads(job.payload) == {"topic": "orders", "event": PAID}


def test_an_event_is_kept_as_it_was_written_and_nobody_is_shown_it(api: Client) -> None:
    raw = '{"event": {"big": 9223372036854775808, "small": 1.0,  "tenth": 0.1}}'
    answer = api.call("POST", "/topics/quiet/publish", raw.encode())
    job = api.store.get(answer.body["id"])
    assert '{"big": 9223372036854775808, "small": 1.0,  "tenth": 0.1}' in job.payload
    assert answer.body["payload"] == "***"
    assert "9223372036854775808" not in api.call("GET", f"/jobs/{job.id}").text


def test_the_same_key_is_the_same_publication_and_another_event_under_it_is_refused(api: Client) -> None:
    first = api.call("POST", "/topics/orders/publish", {"event": PAID}, headers={"idempotency-key": "order-7"})
    again = api.call("POST", "/topics/orders/publish", {"event": PAID, "idempotency_key": "order-7"})
    assert (again.status, again.body["id"], again.headers["Idempotent-Replayed"]) == (200, first.body["id"], "true")
    other = api.call("POST", "/topics/orders/publish", {"event": {}}, headers={"idempotency-key": "order-7"})
    assert (other.status, other.body["type"]) == (422, "urn:jobline:problem:idempotency-key-reused")
    elsewhere = api.call("POST", "/topics/quiet/publish", {"event": PAID}, headers={"idempotency-key": "order-7"})
    assert elsewhere.status == 202
    assert elsewhere.body["id"] != first.body["id"]


@pytest.mark.parametrize(
    ("body", "place"),
    [({}, "/event"), ({"event": None}, "/event"), ({"event": []}, "/event"), ({"event": "x"}, "/event"), ({"event": {}, "to": 1}, "/to")],
)
def test_what_is_no_event_is_refused(api: Client, body: dict[str, Any], place: str) -> None:
    answer = api.call("POST", "/topics/orders/publish", body)
    assert (answer.status, [pointer for pointer, _ in answer.problems]) == (422, [place])
    assert not api.store.jobs
