"""The table of the API's routes: the one place that says which there are, who may call them, what they take and answer.

The router, the deployed API, its access policies and the OpenAPI document (`openapi`) are all made from it. Schemas, parameters and
examples are named here and written down in `api_schemas`, so that a cold start pays for names only.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

OPENAPI_FILE: Final = "openapi.json"
"""In the api's asset, for `GET /openapi.json`; of the same name under `docs/`."""

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Access = Literal["read", "write", "admin"]
"""`read` changes nothing; `write` makes, moves and stops jobs, one by one; `admin` is done to a whole queue or to a schedule. Each
includes the former."""


def scopes(needed: Access) -> list[str]:
    """The scopes of a token of which one is enough for a route of this class."""
    classes = get_args(Access)
    return [f"jobs:{one}" for one in classes[classes.index(needed) :]]


class Answered(NamedTuple):
    """One success: its status, the schema of its body (`None`: no body), and the headers that it may have."""

    status: int
    schema: str | None
    headers: tuple[str, ...] = ()


class Route(NamedTuple):
    """One route of the API."""

    name: str
    """The operation's id, unique."""
    does: str
    """What answers it; a route of one queue is answered by what answers the same route of all."""
    method: Method
    path: str
    """With its parameters in braces, as API Gateway and OpenAPI write them."""
    tag: str
    access: Access
    summary: str
    answers: tuple[Answered, ...]
    problems: tuple[str, ...] = ()
    """Slugs of the errors that belong to this route; those that every route may answer are not listed."""
    parameters: tuple[str, ...] = ()
    """Of the query and the header."""
    takes: str | None = None
    """The schema of the body; `None`: it takes none."""
    body_required: bool = True


_ETAG: Final = ("ETag",)
_MADE: Final = ("Location", "ETag")
_REPLAYED: Final = (*_MADE, "Idempotent-Replayed")
_FOUND: Final = (*_REPLAYED, "Unique-Returned")
_BODY: Final = ("invalid-json", "invalid-request", "too-large")
_JOB: Final = ("invalid-request", "job-not-found", "ambiguous-id")
_NEW_JOB: Final = ("invalid-job", "unknown-queue", "unknown-type", "unknown-upload", "idempotency-key-reused")

_OF_JOBS: Final = (
    Route(
        name="enqueue",
        does="enqueue",
        method="POST",
        path="/jobs",
        tag="jobs",
        access="write",
        summary="Enqueue a job",
        parameters=("wait", "Idempotency-Key", "traceparent"),
        takes="EnqueueRequest",
        answers=(
            Answered(202, "Job", (*_MADE, "Idempotent-Replayed", "Unique-Returned")),
            Answered(200, "Job", _FOUND),
        ),
        problems=(*_BODY, *_NEW_JOB, "conflict", "unique-conflict"),
    ),
    Route(
        name="enqueue_many",
        does="enqueue_many",
        method="POST",
        path="/jobs/batch",
        tag="jobs",
        access="write",
        summary="Enqueue many jobs, each with an outcome of its own",
        takes="BulkRequest",
        answers=(Answered(200, "BulkAnswer"),),
        problems=_BODY,
    ),
    Route(
        name="start_upload",
        does="start_upload",
        method="POST",
        path="/uploads",
        tag="jobs",
        access="write",
        summary="Start the upload of a large payload",
        takes="UploadRequest",
        answers=(Answered(201, "Upload"),),
        problems=_BODY,
    ),
    Route(
        name="list_jobs",
        does="list_jobs",
        method="GET",
        path="/jobs",
        tag="jobs",
        access="read",
        summary="List a queue's jobs",
        parameters=("queue", "status", "type", "tag", "since", "limit", "cursor"),
        answers=(Answered(200, "JobPage"),),
        problems=("invalid-request", "not-found"),
    ),
    Route(
        name="get_job",
        does="get_job",
        method="GET",
        path="/jobs/{id}",
        tag="jobs",
        access="read",
        summary="Show a job, with payload and result",
        parameters=("wait", "If-None-Match"),
        answers=(Answered(200, "Job", _ETAG), Answered(202, "Job", _ETAG), Answered(304, None, _ETAG)),
        problems=_JOB,
    ),
    Route(
        name="list_events",
        does="list_events",
        method="GET",
        path="/jobs/{id}/events",
        tag="jobs",
        access="read",
        summary="Tell what happened to a job",
        answers=(Answered(200, "Timeline", _ETAG),),
        problems=_JOB,
    ),
    Route(
        name="explain_job",
        does="explain_job",
        method="GET",
        path="/jobs/{id}/why",
        tag="jobs",
        access="read",
        summary="Tell why a job is not running",
        answers=(Answered(200, "Why"),),
        problems=_JOB,
    ),
    Route(
        name="reschedule",
        does="reschedule",
        method="PATCH",
        path="/jobs/{id}",
        tag="jobs",
        access="write",
        summary="Move a job that has not started to another time or priority",
        parameters=("If-Match",),
        takes="RescheduleRequest",
        answers=(Answered(200, "Job", _ETAG),),
        problems=(*_BODY, "invalid-job", "job-not-found", "ambiguous-id", "conflict", "precondition-failed"),
    ),
    Route(
        name="cancel",
        does="cancel",
        method="DELETE",
        path="/jobs/{id}",
        tag="jobs",
        access="write",
        summary="Cancel a job",
        answers=(Answered(200, "Cancelled"),),
        problems=(*_JOB, "conflict"),
    ),
    Route(
        name="retry",
        does="retry",
        method="POST",
        path="/jobs/{id}/retry",
        tag="jobs",
        access="write",
        summary="Run a failed, dead, cancelled or expired job again now",
        parameters=("Idempotency-Key",),
        answers=(Answered(202, "Job", _ETAG),),
        problems=(*_JOB, "conflict", "too-large"),
    ),
    Route(
        name="replay",
        does="replay",
        method="POST",
        path="/jobs/{id}/replay",
        tag="jobs",
        access="write",
        summary="Make a new job with an old one's request",
        parameters=("Idempotency-Key",),
        answers=(Answered(202, "Job", _MADE), Answered(200, "Job", _FOUND)),
        problems=(*_JOB, *_NEW_JOB, "conflict", "unique-conflict", "too-large"),
    ),
)


def _of_queue(route: Route) -> Route:
    """The same route under the path of one queue, so that an IAM policy can grant one queue."""
    return route._replace(
        name=f"{route.name}_in_queue",
        path=f"/queues/{{queue}}{route.path}",
        summary=f"{route.summary}, in one queue",
        parameters=tuple(name for name in route.parameters if name != "queue"),
        takes=f"{route.takes}InQueue" if route.takes in {"EnqueueRequest", "BulkRequest"} else route.takes,
        problems=tuple(dict.fromkeys((*route.problems, "not-found"))),
    )


_SCHEDULE: Final = ("invalid-request", "schedule-not-found")
_SWITCHED_SCHEDULE: Final = (*_SCHEDULE, "schedule-conflict", "too-large")
_OF_SCHEDULES: Final = (
    Route(
        name="list_schedules",
        does="list_schedules",
        method="GET",
        path="/schedules",
        tag="schedules",
        access="read",
        summary="List the schedules",
        parameters=("limit", "cursor"),
        answers=(Answered(200, "SchedulePage"),),
        problems=("invalid-request",),
    ),
    Route(
        name="get_schedule",
        does="get_schedule",
        method="GET",
        path="/schedules/{name}",
        tag="schedules",
        access="read",
        summary="Show a schedule, with its next runs and what became of the last",
        parameters=("If-None-Match",),
        answers=(Answered(200, "ScheduleWithRun", _ETAG), Answered(304, None, _ETAG)),
        problems=_SCHEDULE,
    ),
    Route(
        name="put_schedule",
        does="put_schedule",
        method="PUT",
        path="/schedules/{name}",
        tag="schedules",
        access="admin",
        summary="Create a schedule, or replace the one of this name",
        parameters=("If-Match", "If-None-Match"),
        takes="ScheduleRequest",
        answers=(Answered(201, "Schedule", _ETAG), Answered(200, "Schedule", _ETAG)),
        problems=(*_BODY, "invalid-schedule", "invalid-job", "unknown-queue", "unknown-type", "schedule-conflict", "schedule-changed"),
    ),
    Route(
        name="delete_schedule",
        does="delete_schedule",
        method="DELETE",
        path="/schedules/{name}",
        tag="schedules",
        access="admin",
        summary="Delete a schedule; the jobs that it made go on",
        parameters=("If-Match",),
        answers=(Answered(200, "DeletedSchedule"),),
        problems=(*_SCHEDULE, "schedule-conflict", "schedule-changed"),
    ),
    Route(
        name="pause_schedule",
        does="pause_schedule",
        method="POST",
        path="/schedules/{name}/pause",
        tag="schedules",
        access="admin",
        summary="Keep a schedule from running",
        answers=(Answered(200, "Schedule", _ETAG),),
        problems=_SWITCHED_SCHEDULE,
    ),
    Route(
        name="resume_schedule",
        does="resume_schedule",
        method="POST",
        path="/schedules/{name}/resume",
        tag="schedules",
        access="admin",
        summary="Let a paused schedule run again",
        answers=(Answered(200, "Schedule", _ETAG),),
        problems=_SWITCHED_SCHEDULE,
    ),
    Route(
        name="run_schedule",
        does="run_schedule",
        method="POST",
        path="/schedules/{name}/run",
        tag="schedules",
        access="write",
        summary="Run a schedule now, out of turn",
        parameters=("Idempotency-Key",),
        answers=(Answered(202, "Job", (*_MADE, "Unique-Returned")), Answered(200, "Job", _FOUND)),
        problems=(
            *_SCHEDULE,
            *("invalid-job", "unknown-queue", "unknown-type", "idempotency-key-reused"),
            *("conflict", "unique-conflict", "too-large"),
        ),
    ),
)
_OF_BATCHES: Final = (
    Route(
        name="start_batch",
        does="start_batch",
        method="POST",
        path="/batches",
        tag="batches",
        access="write",
        summary="Make jobs that belong together, and jobs that follow from how they end: all of them, or none",
        parameters=("Idempotency-Key", "traceparent"),
        takes="BatchRequest",
        answers=(Answered(202, "Batch", ("Location",)), Answered(200, "Batch", ("Location", "Idempotent-Replayed"))),
        problems=(*_BODY, "invalid-job", "idempotency-key-reused"),
    ),
    Route(
        name="get_batch",
        does="get_batch",
        method="GET",
        path="/batches/{id}",
        tag="batches",
        access="read",
        summary="Show a batch and how each of its jobs stands",
        parameters=("wait",),
        answers=(Answered(200, "Batch"), Answered(202, "Batch")),
        problems=("invalid-request", "batch-not-found", "ambiguous-id"),
    ),
)
_TOPIC: Final = ("invalid-request", "topic-not-found")
_SUBSCRIPTION: Final = (*_TOPIC, "subscription-not-found")
_OF_TOPICS: Final = (
    Route(
        name="list_topics",
        does="list_topics",
        method="GET",
        path="/topics",
        tag="topics",
        access="read",
        summary="List the topics",
        answers=(Answered(200, "TopicList"),),
        problems=("invalid-request",),
    ),
    Route(
        name="get_topic",
        does="get_topic",
        method="GET",
        path="/topics/{topic}",
        tag="topics",
        access="read",
        summary="Show a topic, with its subscriptions",
        answers=(Answered(200, "Topic"),),
        problems=_TOPIC,
    ),
    Route(
        name="publish",
        does="publish",
        method="POST",
        path="/topics/{topic}/publish",
        tag="topics",
        access="write",
        summary="Publish an event: one job for each subscription that takes it",
        parameters=("Idempotency-Key", "traceparent"),
        takes="PublishRequest",
        answers=(Answered(202, "Job", _MADE), Answered(200, "Job", _REPLAYED)),
        problems=(*_BODY, "invalid-job", "idempotency-key-reused", "topic-not-found"),
    ),
    Route(
        name="get_subscription",
        does="get_subscription",
        method="GET",
        path="/topics/{topic}/subscriptions/{name}",
        tag="topics",
        access="read",
        summary="Show a subscription",
        parameters=("If-None-Match",),
        answers=(Answered(200, "Subscription", _ETAG), Answered(304, None, _ETAG)),
        problems=_SUBSCRIPTION,
    ),
    Route(
        name="put_subscription",
        does="put_subscription",
        method="PUT",
        path="/topics/{topic}/subscriptions/{name}",
        tag="topics",
        access="admin",
        summary="Create a subscription, or replace the one of this name",
        parameters=("If-Match", "If-None-Match"),
        takes="SubscriptionRequest",
        answers=(Answered(201, "Subscription", _ETAG), Answered(200, "Subscription", _ETAG)),
        problems=(
            *(*_BODY, "invalid-job", "unknown-queue", "unknown-type"),
            *("topic-not-found", "subscription-conflict", "subscription-changed"),
        ),
    ),
    Route(
        name="delete_subscription",
        does="delete_subscription",
        method="DELETE",
        path="/topics/{topic}/subscriptions/{name}",
        tag="topics",
        access="admin",
        summary="Delete a subscription; the jobs that it made go on",
        parameters=("If-Match",),
        answers=(Answered(200, "DeletedSubscription"),),
        problems=(*_SUBSCRIPTION, "subscription-conflict", "subscription-changed"),
    ),
)
_OPERATION: Final = (*_BODY, "invalid-job", "idempotency-key-reused", "not-found")
_STARTED: Final = (Answered(202, "Job", _MADE), Answered(200, "Job", _REPLAYED))

ROUTES: Final[tuple[Route, ...]] = (
    *_OF_JOBS,
    *(_of_queue(route) for route in _OF_JOBS),
    Route(
        name="list_queues",
        does="list_queues",
        method="GET",
        path="/queues",
        tag="queues",
        access="read",
        summary="List the queues",
        answers=(Answered(200, "QueueList"),),
        problems=("invalid-request",),
    ),
    Route(
        name="get_queue",
        does="get_queue",
        method="GET",
        path="/queues/{queue}",
        tag="queues",
        access="read",
        summary="Show a queue, with its numbers",
        answers=(Answered(200, "QueueWithStats"),),
        problems=("invalid-request", "not-found"),
    ),
    Route(
        name="get_stats",
        does="get_stats",
        method="GET",
        path="/queues/{queue}/stats",
        tag="queues",
        access="read",
        summary="Show a queue's numbers",
        answers=(Answered(200, "Stats"),),
        problems=("invalid-request", "not-found"),
    ),
    Route(
        name="pause",
        does="pause",
        method="POST",
        path="/queues/{queue}/pause",
        tag="queues",
        access="admin",
        summary="Stop starting a queue's jobs",
        answers=(Answered(200, "Switched"),),
        problems=("invalid-request", "not-found", "conflict", "too-large"),
    ),
    Route(
        name="resume",
        does="resume",
        method="POST",
        path="/queues/{queue}/resume",
        tag="queues",
        access="admin",
        summary="Start a queue's jobs again",
        answers=(Answered(200, "Switched"),),
        problems=("invalid-request", "not-found", "conflict", "too-large"),
    ),
    Route(
        name="purge",
        does="purge",
        method="POST",
        path="/queues/{queue}/purge",
        tag="queues",
        access="admin",
        summary="Cancel what waits and delete what is over, by filter",
        parameters=("Idempotency-Key",),
        takes="PurgeRequest",
        body_required=False,
        answers=_STARTED,
        problems=_OPERATION,
    ),
    Route(
        name="redrive",
        does="redrive",
        method="POST",
        path="/queues/{queue}/redrive",
        tag="queues",
        access="admin",
        summary="Run ended jobs again, by filter",
        parameters=("Idempotency-Key",),
        takes="RedriveRequest",
        body_required=False,
        answers=_STARTED,
        problems=_OPERATION,
    ),
    *_OF_BATCHES,
    *_OF_SCHEDULES,
    *_OF_TOPICS,
    Route(
        name="list_types",
        does="list_types",
        method="GET",
        path="/types",
        tag="about",
        access="read",
        summary="List the types of job, with the JSON Schema of their payloads",
        answers=(Answered(200, "TypeList"),),
        problems=("invalid-request",),
    ),
    Route(
        name="get_openapi",
        does="get_openapi",
        method="GET",
        path="/openapi.json",
        tag="about",
        access="read",
        summary="This document",
        parameters=("If-None-Match",),
        answers=(Answered(200, "OpenApi", _ETAG), Answered(304, None, _ETAG)),
        problems=("invalid-request",),
    ),
    Route(
        name="get_health",
        does="get_health",
        method="GET",
        path="/health",
        tag="about",
        access="read",
        summary="Tell whether the API answers",
        answers=(Answered(200, "Health"),),
        problems=("invalid-request",),
    ),
)
