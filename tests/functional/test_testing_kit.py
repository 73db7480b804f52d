"""The testing kit, verb by verb, on a few types of its own: what it runs, what it raises, what it says when a test is wrong."""

from __future__ import annotations

import logging
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import msgspec
import pytest

from jobline import Cancel, Context, NonRetryable, RetryAfter, Snooze, job
from jobline.errors import Conflict, InvalidJob, InvalidSettings, UnknownType
from jobline.testing import Project, TrialDeployment, make_deployment
from jobline.testing.mishaps import ProcessDied
from jobline.testing.trial import START

ROOT = Path(__file__).parents[2]


class Letter(msgspec.Struct, forbid_unknown_fields=True, rename={"reply_to": "replyTo"}):
    to: str
    copies: int = 1
    reply_to: str = "us@example.com"
    urgent: bool = False


class Parcel(msgspec.Struct):
    queue: str
    kilos: Annotated[float, msgspec.Meta(ge=0)] = 1.0


class Postcard(msgspec.Struct, tag=True):
    picture: str


class Telegram(msgspec.Struct, tag=True):
    text: str


sent: list[str] = []


@job("post", max_attempts=3, retry={"backoff": "fixed", "base_delay": 60_000, "jitter": 0})
def post(payload: Letter, ctx: Context) -> dict[str, Any]:
    sent.append(payload.to)
    return {"to": payload.to, "attempt": ctx.attempt}


@job("ship")
def ship(payload: Parcel, ctx: Context) -> str:
    """Writes to whoever gets the parcel; a parcel too heavy is refused."""
    if payload.kilos > 30:
        raise NonRetryable("too heavy")
    return ctx.enqueue(post, Letter(to=f"the {payload.queue} queue"), priority=2, tags=["parcel", "auto"])


@job("greet")
def greet(payload: Postcard | Telegram, ctx: Context) -> str:
    return type(payload).__name__


@job("echo")
def echo(payload: Any, ctx: Context) -> Any:
    return payload


@pytest.fixture
def jobs() -> TrialDeployment:
    sent.clear()
    return make_deployment(post, ship, greet, echo)


def complaint(call: Callable[[], object]) -> list[str]:
    """The lines of the AssertionError that the call raises."""
    with pytest.raises(AssertionError) as raised:
        call()
    return str(raised.value).splitlines()


# Enqueue


@pytest.mark.parametrize(
    "request_",
    [(Letter(to="Ada"),), (post, Letter(to="Ada")), (post, {"to": "Ada"}), ("post", {"to": "Ada"}), (Letter, {"to": "Ada"})],
    ids=["payload", "handler and payload", "handler", "name", "class"],
)
def test_a_job_is_enqueued_by_whatever_names_its_type(jobs: TrialDeployment, request_: tuple[Any, ...]) -> None:
    made = jobs.enqueue(*request_, priority=3, tags=["a"])
    assert (made.type, made.queue, made.status, made.priority, made.tags) == ("post", "test", "pending", 3, ("a",))
    assert made.payload["to"] == "Ada"
    assert (made.created_at, made.scheduled_at, made.started_at, made.result) == (START, START, None, None)


def test_enqueue_refuses_what_the_api_refuses(jobs: TrialDeployment) -> None:
    with pytest.raises(InvalidJob, match="payload/to is missing"):
        jobs.enqueue("post", {})
    with pytest.raises(InvalidJob, match="dealy"):
        jobs.enqueue(Letter(to="Ada"), dealy=5)
    with pytest.raises(InvalidJob, match="queue"):
        jobs.enqueue(Letter(to="Ada"), queue="other")
    assert jobs.all() == []


def test_a_type_that_is_not_there_is_named(jobs: TrialDeployment) -> None:
    with pytest.raises(UnknownType, match="no type is, or takes, 'pots'; there are echo, greet, post, ship"):
        jobs.enqueue("pots")
    with pytest.raises(UnknownType, match="datetime"):
        jobs.enqueue(START)
    with pytest.raises(TypeError, match="Letter is a payload already"):
        jobs.enqueue(Letter(to="Ada"), {"to": "Bob"})


def test_a_class_that_two_types_take_must_be_told_by_name() -> None:
    @job("post_again")
    def post_again(payload: Letter, ctx: Context) -> None: ...

    jobs = make_deployment(post, post_again)
    with pytest.raises(UnknownType, match="Letter is the payload of post, post_again: say which by its name"):
        jobs.enqueue(Letter(to="Ada"))
    jobs.enqueue(post_again, Letter(to="Ada"))
    jobs.assert_enqueued(Letter, to="Ada")


def test_a_member_of_a_union_names_its_type(jobs: TrialDeployment) -> None:
    jobs.enqueue(Telegram(text="stop"))
    (telegram,) = jobs.drain()
    assert telegram.result == "Telegram"
    jobs.assert_enqueued(Telegram, text="stop")


# Drain and advance


def test_nothing_runs_until_it_is_drained_and_then_what_ended_is_told_in_order(jobs: TrialDeployment) -> None:
    low, high = (jobs.enqueue(Letter(to=to), priority=priority) for to, priority in (("low", 9), ("high", 1)))
    later = jobs.enqueue(Letter(to="later"), delay="1s")
    assert sent == []
    assert jobs.drain() == [high, low]
    assert (sent, later.status) == (["high", "low"], "pending")
    assert jobs.drain() == []


def test_drain_runs_what_handlers_enqueue(jobs: TrialDeployment) -> None:
    parcel = jobs.enqueue(Parcel(queue="next"))
    assert [each.type for each in jobs.drain()] == ["ship", "post"]
    (letter,) = jobs.assert_enqueued(post, to="the next queue", priority=2, tags=["parcel"], count=1)
    assert (letter.parent_id, parcel.result) == (parcel.id, letter.id)


@pytest.mark.parametrize("hour", ["1h", 3600, timedelta(hours=1)])
def test_time_passes_when_it_is_told_to(jobs: TrialDeployment, hour: timedelta | float | str) -> None:
    made = jobs.enqueue(Letter(to="Ada"), delay="1h")
    assert jobs.advance(59 * 60) == []
    assert jobs.advance(hour) == [made]
    assert (made.started_at, jobs.now) == (START + timedelta(hours=1), START + timedelta(hours=1, minutes=59))


def test_the_time_at_first_and_chance_are_given() -> None:
    @job("chancy", retry={"backoff": "fixed", "base_delay": 60_000, "jitter": 1.0})
    def chancy(payload: Any, ctx: Context) -> None:
        raise ValueError

    def second_start(seed: int) -> datetime:
        jobs = make_deployment(chancy, seed=seed, start=datetime(2030, 5, 1, tzinfo=UTC))
        made = jobs.enqueue(chancy)
        jobs.drain()
        return made.scheduled_at

    assert second_start(1).year == 2030
    assert second_start(1) == second_start(1) != second_start(2)


# A job


def test_a_job_tells_how_it_went(jobs: TrialDeployment) -> None:
    error = ValueError("no stamp")
    jobs.fail_next(post, error)
    made = jobs.enqueue(Letter(to="Ada"))
    jobs.drain()
    assert (made.status, made.error, made.attempts, made.result) == ("failed", "ValueError: no stamp", 1, None)
    assert made.exception is error
    assert repr(made) == f"<post {made.id}: failed, ValueError: no stamp>"
    jobs.advance("1m")
    assert (made.status, made.attempts, made.result) == ("done", 2, {"to": "Ada", "attempt": 2})
    assert jobs.job(made.id).exception is None
    assert [(each.event, each.at - START) for each in made.history] == [
        ("enqueued", timedelta(0)),
        ("started", timedelta(0)),
        ("failed", timedelta(0)),
        ("started", timedelta(minutes=1)),
        ("done", timedelta(minutes=1)),
    ]
    assert made.completed_at == jobs.now
    assert jobs.job(made.id) == made
    with pytest.raises(KeyError):
        jobs.job("another")


def test_a_job_can_be_cancelled_and_retried(jobs: TrialDeployment) -> None:
    made = jobs.enqueue(Letter(to="Ada"))
    made.cancel()
    assert (jobs.drain(), made.status, sent) == ([], "cancelled", [])
    made.retry()
    assert (jobs.drain(), made.status) == ([made], "done")
    with pytest.raises(Conflict):
        made.cancel()
    with pytest.raises(Conflict):
        made.retry()


def test_progress_is_what_was_last_reported() -> None:
    @job("slow")
    def slow(payload: Any, ctx: Context) -> None:
        ctx.progress(40, "on the way")

    jobs = make_deployment(slow)
    made = jobs.enqueue(slow)
    assert made.progress is None
    jobs.drain()
    assert made.progress == {"percent": 40, "note": "on the way", "at": "2026-01-01T00:00:00Z"}


def test_jobs_are_listed_by_type_status_and_queue(jobs: TrialDeployment) -> None:
    first = jobs.enqueue(Letter(to="Ada"))
    jobs.drain()
    second, third = jobs.enqueue(Letter(to="Bob")), jobs.enqueue(echo, 1)
    assert jobs.all() == [first, second, third]
    assert jobs.all(Letter) == jobs.all("post") == [first, second]
    assert jobs.all(status="done") == [first]
    assert jobs.all(post, status="pending", queue="test") == [second]
    assert jobs.all(queue="other") == []
    assert jobs.report().splitlines()[-1] == "echo 1 in test, pending"


def test_a_queues_numbers_are_those_of_this_moment(jobs: TrialDeployment) -> None:
    jobs.enqueue(Letter(to="Ada"))
    assert (jobs.stats("test").pending, jobs.stats("test").done) == (1, 0)
    jobs.drain()
    assert (jobs.stats("test").pending, jobs.stats("test").done) == (0, 1)


# Perform


def test_perform_answers_the_result_and_runs_nothing_else(jobs: TrialDeployment) -> None:
    other = jobs.enqueue(Letter(to="other"))
    assert jobs.perform(Letter(to="Ada")) == {"to": "Ada", "attempt": 1}
    assert jobs.perform("echo", [1, {"a": None}]) == [1, {"a": None}]
    assert (sent, other.status) == (["Ada"], "pending")
    assert jobs.drain() == [other]


@pytest.mark.parametrize("error", [ValueError("no"), NonRetryable("no"), RetryAfter(5), Snooze(60), Cancel("no"), KeyboardInterrupt()])
def test_perform_raises_what_the_handler_raised_and_leaves_nothing_behind(error: BaseException) -> None:
    @job("fail")
    def fail(payload: Any, ctx: Context) -> None:
        raise error

    jobs = make_deployment(fail)
    with pytest.raises(type(error)) as raised:
        jobs.perform(fail)
    assert raised.value is error
    jobs.advance("1d")
    (made,) = jobs.all()
    assert made.record.token == 1, "it was started once"
    assert made.record.over


def test_perform_does_not_count_as_enqueued_but_what_its_handler_enqueues_does(jobs: TrialDeployment) -> None:
    jobs.perform(Parcel(queue="x"))
    jobs.refute_enqueued(Parcel)
    jobs.assert_enqueued(Letter, to="the x queue", count=1)


def test_perform_says_why_an_attempt_failed_that_the_handler_did_not_fail() -> None:
    @job("odd")
    def odd(payload: Any, ctx: Context) -> Any:
        return {1, object()}

    with pytest.raises(RuntimeError, match="odd did not end well: failed, TypeError"):
        make_deployment(odd).perform(odd)
    with pytest.raises(RuntimeError, match="odd did not end well: pending"):
        make_deployment(odd).perform(odd, delay="1m")


def test_perform_goes_on_from_checkpoints_to_the_end() -> None:
    @job("long", timeout=60)
    def long(payload: Any, ctx: Context) -> list[int]:
        for piece in range(ctx.cursor or 0, 10):
            trial.deployment.now += timedelta(seconds=20)
            ctx.checkpoint(piece + 1)
        return [ctx.cursor, ctx.starts]

    trial = make_deployment(long)
    cursor, starts = trial.perform(long)
    assert cursor == 10
    assert starts > 1


def test_perform_takes_any_queue_of_a_type_that_several_have() -> None:
    jobs = Project.discover(ROOT).deploy()
    assert jobs.perform("echo", {"a": 1}) == {"a": 1}
    with pytest.raises(UnknownType, match="say queue="):
        jobs.enqueue("echo", {"a": 1})


@pytest.mark.parametrize("kind", [{"ordered": True}, {"low_latency": True}, {"batch_size": 10}, {"lanes": 1}])
def test_queues_of_every_kind_can_be_tried(kind: dict[str, Any]) -> None:
    sent.clear()
    jobs = make_deployment(post, queue=kind)
    assert jobs.perform(Letter(to="Ada"))["to"] == "Ada"
    made = [jobs.enqueue(Letter(to=to)) for to in ("Bob", "Cy")]
    assert jobs.drain() == made
    assert sent == ["Ada", "Bob", "Cy"]


# Mishaps


def test_the_next_starts_fail_without_running_the_handler(jobs: TrialDeployment) -> None:
    jobs.fail_next("post", times=2)
    jobs.fail_next(Letter, OSError)
    made = jobs.enqueue(Letter(to="Ada"))
    jobs.enqueue(echo, 1)
    jobs.advance("1h")
    assert (made.status, made.attempts, made.error, sent) == ("dead", 3, "OSError", [])
    assert jobs.all(echo)[0].status == "done"
    planned = ["RuntimeError: planned by the test"] * 2
    assert [each.detail for each in made.history if each.event == "failed"] == [*planned, "OSError"]
    jobs.enqueue(Letter(to="Bob"))
    jobs.drain()
    assert sent == ["Bob"]


def test_a_planned_failure_may_be_said_by_its_message_or_steer(jobs: TrialDeployment) -> None:
    jobs.fail_next(post, "the box is full")
    jobs.fail_next(post, Snooze(30))
    made = jobs.enqueue(Letter(to="Ada"))
    jobs.drain()
    assert made.error == "RuntimeError: the box is full"
    jobs.advance("1m")
    assert (made.status, made.attempts) == ("pending", 1)
    jobs.advance("30s")
    assert (made.status, made.attempts) == ("done", 2)


@pytest.mark.parametrize(("at", "times_run"), [("start", 1), ("end", 2)])
def test_a_process_that_dies_leaves_the_job_running_until_its_lease_is_over(jobs: TrialDeployment, at: Any, times_run: int) -> None:
    jobs.crash_next(post, at=at)
    made = jobs.enqueue(Letter(to="Ada"), timeout=30)
    assert jobs.drain() == []
    assert (made.status, made.error, made.exception.__class__) == ("running", None, ProcessDied)
    assert jobs.advance("40s") == [made]
    assert (made.status, made.attempts, sent) == ("done", 2, ["Ada"] * times_run)
    assert [each.event for each in made.history] == ["enqueued", "started", "crash", "started", "done"]


def test_a_process_that_dies_takes_its_batch_with_it_and_the_neighbours_lose_no_attempt() -> None:
    sent.clear()
    jobs = make_deployment(post, queue={"batch_size": 10})
    made = [jobs.enqueue(Letter(to=str(number))) for number in range(4)]
    jobs.crash_next(post)
    assert jobs.drain() == []
    assert {each.status for each in made} == {"running"}
    jobs.advance("20m")
    assert [(each.status, each.attempts) for each in made] == [("done", 1)] * 4
    assert sorted(sent) == ["0", "0", "1", "2", "3"]


def test_a_job_whose_process_always_dies_is_dead_at_last(jobs: TrialDeployment) -> None:
    jobs.crash_next(post, times=9)
    made = jobs.enqueue(Letter(to="Ada"))
    jobs.advance("1h")
    assert (made.status, made.attempts) == ("dead", 3)


def test_perform_says_that_the_process_died(jobs: TrialDeployment) -> None:
    jobs.crash_next(post)
    with pytest.raises(ProcessDied):
        jobs.perform(Letter(to="Ada"))
    assert jobs.perform(Letter(to="Bob"))["to"] == "Bob"


def test_a_mishap_of_no_type_or_no_times_is_refused(jobs: TrialDeployment) -> None:
    with pytest.raises(UnknownType):
        jobs.fail_next("pots")
    with pytest.raises(ValueError, match="times is at least 1, not 0"):
        jobs.crash_next(post, times=0)


# Assertions and what they say


def test_what_was_enqueued_is_found_by_what_is_said_of_it(jobs: TrialDeployment) -> None:
    ada = jobs.enqueue("post", {"to": "Ada"}, delay="1h", tags=["a", "b"], priority=2)
    bob = jobs.enqueue(Letter(to="Bob", copies=2, reply_to="me@example.com", urgent=True))
    found = jobs.assert_enqueued
    assert found(Letter) == found("post", count=2) == [ada, bob]
    assert found(post, to="Ada", copies=1, reply_to="us@example.com") == [ada], "as the handler gets it: defaults filled in"
    assert found(post, payload={"replyTo": "me@example.com"}) == [bob], "by JSON's name of the field too"
    assert found(post, payload=Letter(to="Bob", copies=2, reply_to="me@example.com", urgent=True)) == [bob]
    assert found(post, to=mock.ANY, copies=2) == [bob]
    assert found(post, delay="1h") == found(post, at=START + timedelta(hours=1)) == found(post, delay=3600) == [ada]
    assert found(post, delay=0) == [bob]
    assert found(post, tags=["b"]) == found(post, priority=2) == [ada]
    jobs.drain()
    assert found(post, status="done", queue="test") == [bob]
    assert found(post, count=0, to="Cy") == []


def test_payloads_that_are_no_objects_are_compared_whole(jobs: TrialDeployment) -> None:
    three = jobs.enqueue(echo, [1, 2, 3])
    jobs.enqueue(echo, "text")
    assert jobs.assert_enqueued(echo, payload=[1, 2, 3]) == [three]
    assert complaint(lambda: jobs.assert_enqueued(echo, payload=[1]))[2] == "  the payload is [1, 2, 3], not [1]"
    assert complaint(lambda: jobs.assert_enqueued(echo, n=1))[2] == "  n is missing, not 1"


def test_a_field_whose_name_is_taken_is_said_in_the_payload(jobs: TrialDeployment) -> None:
    jobs.enqueue(Parcel(queue="next", kilos=2))
    jobs.assert_enqueued(Parcel, queue="test", payload={"queue": "next"}, kilos=2)
    jobs.refute_enqueued(Parcel, payload={"queue": "test"})


def test_jsons_true_is_not_one(jobs: TrialDeployment) -> None:
    jobs.enqueue(Letter(to="Ada", urgent=True))
    jobs.assert_enqueued(Letter, urgent=True, copies=1)
    jobs.refute_enqueued(Letter, urgent=1)
    jobs.refute_enqueued(Letter, copies=True)


def test_when_nothing_was_enqueued_the_complaint_says_so(jobs: TrialDeployment) -> None:
    assert complaint(lambda: jobs.assert_enqueued(Letter, to="Ada")) == [
        "no job was enqueued that is Letter with to='Ada'",
        "nothing was enqueued",
    ]


def test_the_complaint_shows_how_the_nearest_differs_and_what_there_was(jobs: TrialDeployment) -> None:
    jobs.enqueue(Letter(to="Cy", copies=7))
    near = jobs.enqueue("post", {"to": "Bob"}, priority=2, tags=["b"], delay="1h")
    jobs.enqueue(echo, "x" * 500)
    said = complaint(lambda: jobs.assert_enqueued(post, to="Ada", priority=2, delay="2h", tags=["b", "c"]))
    assert said[:8] == [
        "no job was enqueued that is post with delay='2h', priority=2, tags=['b', 'c'], to='Ada'",
        f"nearest is post {near.id}:",
        "  delay is 3600 s, not 7200 s",
        "  tags are ['b'], without 'c'",
        "  to is 'Bob', not 'Ada'",
        "enqueued were:",
        '  post {"to":"Cy","copies":7,"replyTo":"us@example.com","urgent":false} in test, pending',
        '  post {"to":"Bob"} in test, scheduled, due 2026-01-01T01:00:00Z',
    ]
    assert said[8].startswith('  echo "xxx') and said[8].endswith("xxx… in test, pending") and len(said[8]) < 250


def test_the_complaint_names_every_other_thing_that_differs(jobs: TrialDeployment) -> None:
    jobs.enqueue(Letter(to="Ada"))
    jobs.drain()
    said = complaint(lambda: jobs.assert_enqueued(post, queue="other", status="dead", at=START + timedelta(days=1), priority=1))
    assert said[2:6] == [
        "  queue is test, not other",
        "  at is 2026-01-01T00:00:00Z, not 2026-01-02T00:00:00Z",
        "  priority is 5, not 1",
        "  status is done, not dead",
    ]


def test_a_wrong_count_is_told_with_what_there_was(jobs: TrialDeployment) -> None:
    for number in range(25):
        jobs.enqueue(echo, number)
    said = complaint(lambda: jobs.assert_enqueued(echo, count=24))
    assert said[:3] == ["25 and not 24 jobs were enqueued that are echo", "enqueued were:", "  echo 0 in test, pending"]
    assert said[-1] == "  and 5 more"


def test_a_job_that_should_not_be_is_shown(jobs: TrialDeployment) -> None:
    jobs.fail_next(post, "why")
    jobs.enqueue(Letter(to="Ada"), max_attempts=1)
    jobs.enqueue(Letter(to="Bob"))
    jobs.drain()
    assert complaint(lambda: jobs.refute_enqueued(Letter, to="Ada", queue="test")) == [
        "a job was enqueued that is Letter with queue='test', to='Ada'",
        '  post {"to":"Ada","copies":1,"replyTo":"us@example.com","urgent":false} in test, dead, RuntimeError: why',
    ]
    jobs.refute_enqueued(Letter, to="Cy")


@pytest.mark.parametrize("verb", ["assert_enqueued", "refute_enqueued"])
def test_a_typing_error_makes_no_assertion_pass(jobs: TrialDeployment, verb: str) -> None:
    with pytest.raises(UnknownType, match="'pots'"):
        getattr(jobs, verb)("pots")
    with pytest.raises(TypeError, match="the payload of post has no field 'too'; it has to, copies, reply_to, urgent, replyTo"):
        getattr(jobs, verb)(Letter, too="Ada")
    with pytest.raises(TypeError, match="has no field 'a'"):
        getattr(jobs, verb)(Letter, payload={"a": 1})


# What handlers are given


def test_a_handler_gets_clients_settings_secrets_bucket_and_log(caplog: pytest.LogCaptureFixture) -> None:
    @job("curious")
    def curious(payload: Any, ctx: Context) -> list[str | None]:
        ctx.logger.warning("client %s", ctx.aws("s3"))
        return [ctx.setting("A"), ctx.setting("B", None), ctx.secret("key"), ctx.bucket, ctx.stage]

    made: list[str] = []

    def client(service: str) -> str:
        made.append(service)
        return f"<{service}>"

    jobs = make_deployment(curious, client=client, settings={"A": "1"}, secrets={"key": "hush"}, bucket="mine")
    for _ in range(2):
        assert jobs.perform(curious) == ["1", None, "hush", "mine", "local"]
    assert made == ["s3"]
    assert caplog.record_tuples[0] == ("jobline.trial", logging.WARNING, "client <s3>")


def test_what_a_handler_was_not_given_is_named() -> None:
    @job("curious")
    def curious(payload: str, ctx: Context) -> Any:
        return getattr(ctx, payload)("x")

    jobs = make_deployment(curious)
    with pytest.raises(AssertionError, match="the handler uses x: give the trial deployment a client= factory"):
        jobs.perform(curious, "aws")
    for what in ("setting", "secret"):
        with pytest.raises(InvalidSettings, match="'x'"):
            jobs.perform(curious, what)


def test_settings_come_from_the_workers_own_file_unless_they_are_given() -> None:
    project = Project.discover(ROOT)
    assert project.deploy().deployment.settings("notifications")["SENDER"] == "jobline@example.com"
    assert project.deploy(settings={"SENDER": "me"}).deployment.settings("notifications")["SENDER"] == "me"


# The package


def test_the_kit_needs_no_pytest() -> None:
    program = "import sys; sys.modules['pytest'] = None; from jobline.testing import make_deployment; print(make_deployment().all())"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_pip_install_registers_the_plugin_under_its_modules_name() -> None:
    """Any other name would make pytest refuse a conftest.py that names the module too."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert points == {"jobline.pytest_plugin": "jobline.pytest_plugin"}
