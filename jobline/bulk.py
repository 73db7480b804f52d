"""Many jobs in one request: each has an outcome of its own, and what is wrong with one keeps no other out.

Plain jobs are created 25 to a call. Whatever that call does not settle by itself (a key that came before, a statement that was
throttled, an answer that got lost), and whatever needs more than one write, goes the way that a single request goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from jobline.creation import new_record
from jobline.enqueueing import Enqueued, Enqueueing
from jobline.errors import Conflict, FieldProblem, InvalidRequest, Unavailable
from jobline.job import Job
from jobline.payloads import INLINE_LIMIT
from jobline.request import EnqueueRequest, parse_request
from jobline.strict_json import Document

MOST_JOBS: Final = 500
LONGEST: Final = timedelta(seconds=20)
"""Later than this no further job is tried: who asks must still get an answer (an HTTP API waits for 30 s, API Gateway quotas)."""

Outcome = Enqueued | Exception
"""What became of one job of a bulk request: the job, or why there is none."""


def parse_requests(document: Document, *, queue: str | None = None) -> list[EnqueueRequest | InvalidRequest]:
    """The requests in a body `{"jobs": […]}`: each is right by itself, or is the error that says what is wrong with it.

    `queue` is the one that the route names, if it does. Raises InvalidRequest when the body is anything else, or has more than 500 jobs.
    """
    body = document.value
    wrong: FieldProblem | None = None
    if not isinstance(body, dict):
        wrong = FieldProblem("", "must be an object")
    elif "jobs" not in body:
        wrong = FieldProblem("/jobs", "is missing")
    elif not isinstance(body["jobs"], list) or len(body["jobs"]) > MOST_JOBS:
        wrong = FieldProblem("/jobs", f"must be an array of at most {MOST_JOBS} jobs")
    elif unknown := sorted(body.keys() - {"jobs"}):
        wrong = FieldProblem(f"/{unknown[0][:64]}", "is not a known field; there is jobs")
    if wrong is not None:
        raise InvalidRequest(f"{wrong['pointer'].removeprefix('/') or 'The body'} {wrong['detail']}", problems=(wrong,))
    return [_parsed(element, number, queue) for number, element in enumerate(document.elements("jobs"))]


def _parsed(element: Document, number: int, queue: str | None) -> EnqueueRequest | InvalidRequest:
    try:
        return parse_request(element, queue=queue)
    except InvalidRequest as error:
        return placed(error, number)


def placed(error: InvalidRequest, number: int) -> InvalidRequest:
    """The same error with its places named from the body's root."""
    error.problems = tuple(FieldProblem(f"/jobs/{number}{each['pointer']}", each["detail"]) for each in error.problems)
    return error


def enqueue_many(
    enqueueing: Enqueueing,
    requests: Sequence[EnqueueRequest | InvalidRequest],
    *,
    op: str,
    parent: Job | None = None,
    longest: timedelta = LONGEST,
) -> list[Outcome]:
    """What became of each request, in order. Raises nothing: an error of one is its outcome. `parent` is the job whose handler asks.
    After `longest` no further one is tried.

    Jobs of an ordered queue take their places in the order of the requests, so one that AWS did not take keeps those behind it out too.
    """
    give_up_at = enqueueing.now() + longest
    outcomes: dict[int, Outcome] = {}
    prepared: dict[int, tuple[EnqueueRequest, Job]] = {}
    for number, request in enumerate(requests):
        if isinstance(request, InvalidRequest):
            outcomes[number] = request
            continue
        try:
            # Each has its own op: two with one key would else take each other for their own lost reply (R30).
            prepared[number] = request, enqueueing.prepare(request, op=f"{op}/{number}", parent=parent)
        except InvalidRequest as error:
            outcomes[number] = placed(error, number)
    plain = [number for number in _firsts(prepared) if _is_plain(enqueueing, *prepared[number])]
    for number in _create_at_once(enqueueing, {number: prepared[number][1] for number in plain}):
        outcomes[number] = Enqueued(new_record(prepared[number][1], None))
    broken: set[tuple[str, str | None]] = set()
    for number, (request, job) in prepared.items():
        order = (job.queue, job.ordering_key)
        if order in broken:
            outcomes[number] = Unavailable("a job before it, with the same ordering key, was not taken")
        elif number not in outcomes:
            outcomes[number] = _alone(enqueueing, request, job, number, too_late=enqueueing.now() > give_up_at)
            if job.ordered and _may_come_again(outcomes[number]):
                broken.add(order)  # or those behind it would get in front of it
    return [outcomes[number] for number in range(len(requests))]


def _alone(enqueueing: Enqueueing, request: EnqueueRequest, job: Job, number: int, *, too_late: bool) -> Outcome:
    if too_late:
        return Unavailable("there was no time left for this job")
    try:
        return enqueueing.settle(request, job)
    except InvalidRequest as error:
        return placed(error, number)
    except Exception as error:
        # Also what is a fault of ours: the other jobs are there, and their answer must not be lost with this one's.
        return error


def _may_come_again(outcome: Outcome) -> bool:
    """Whether the request failed for no reason of its own."""
    return isinstance(outcome, Exception) and not isinstance(outcome, (InvalidRequest, Conflict))


def _firsts(prepared: dict[int, tuple[EnqueueRequest, Job]]) -> list[int]:
    """The first request for each id; others with the same key are its replays, or a misuse of the key."""
    firsts: dict[str, int] = {}
    for number, (_, job) in prepared.items():
        firsts.setdefault(job.id, number)
    return list(firsts.values())


def _is_plain(enqueueing: Enqueueing, request: EnqueueRequest, job: Job) -> bool:
    """Whether the job is made by one write of its record."""
    queue = enqueueing.definitions.queues[job.queue]
    sent_by_us = queue.ordered or queue.low_latency
    return request.unique is None and not request.is_apart and not sent_by_us and len(request.payload_text.encode()) <= INLINE_LIMIT


def _create_at_once(enqueueing: Enqueueing, jobs: dict[int, Job]) -> list[int]:
    """The numbers of the jobs that were certainly created; what got no verdict is tried once more."""
    created: list[int] = []
    open_ones = list(jobs)
    for _ in range(2):
        verdicts = enqueueing.store.create_many([jobs[number] for number in open_ones])
        created += [number for number, verdict in zip(open_ones, verdicts, strict=True) if verdict]
        open_ones = [number for number, verdict in zip(open_ones, verdicts, strict=True) if verdict is None]
        if not open_ones:
            break
    return created
