"""The schemas of the API's requests and answers (JSON Schema 2020-12), by the names that `api_routes` uses.

Limits and words are the ones that the code checks by, never copies; tests hold the fields to those that are read and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec

from jobline import batch, batches, cron, fields, locks, publishing, queries, schedule, selection, topics, uploads
from jobline.bulk import MOST_JOBS
from jobline.job import Status
from jobline.payloads import LARGEST_UPLOAD
from jobline.retry import LONGEST_DELAY_MS, MAX_ATTEMPTS_LIMIT, RetryPolicy
from jobline.stats import QueueStats
from jobline.times import LONGEST_TEXT

Schema = dict[str, Any]

NAME: Final = r"^[a-z][a-z0-9_-]{0,63}$"
KEY: Final = rf"^[!-~]{{1,{fields.LONGEST_KEY}}}$"
URL: Final = {"maxLength": fields.LONGEST_URL, "pattern": r"^[!-\[\]-~]+$"}
"""Visible ASCII without the backslash, as `addresses.parse` has it."""
_AMOUNT: Final = r"[0-9]+(\.[0-9]+)?"
_SHORT: Final = "".join(rf"({_AMOUNT}{unit})?" for unit in ("w", "d", "h", "m", "s", "ms"))
_ISO_TIME: Final = "".join(rf"({_AMOUNT}{unit})?" for unit in "HMS")
DURATION: Final = rf"^(?=.)({_AMOUNT}|{_SHORT}|P(?=.)({_AMOUNT}W|({_AMOUNT}D)?(T(?=.){_ISO_TIME})?))$"


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _whole(description: str, least: int, most: int | None = None, **more: Any) -> Schema:
    limits = {"minimum": least} if most is None else {"minimum": least, "maximum": most}
    return {"type": "integer", "description": description, **limits, **more}


def _number(description: str, least: float = 0, most: float | None = None) -> Schema:
    return {"type": "number", "description": description, "minimum": least} | ({} if most is None else {"maximum": most})


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _instant(description: str) -> Schema:
    return _text(description, format="date-time")


def _list(items: Schema, description: str, **more: Any) -> Schema:
    return {"type": "array", "items": items, "description": description, **more}


def _or_null(schema: Schema) -> Schema:
    """The schema, or null: `null until known` in an answer, the same as leaving it out in a request."""
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "$ref" in schema:
        return {"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}]} | {name: each for name, each in schema.items() if name != "$ref"}
    nullable = schema | {"type": [schema["type"], "null"]}
    return nullable | {"enum": [*schema["enum"], None]} if "enum" in schema else nullable


def _request(properties: Mapping[str, Schema], *, required: tuple[str, ...] = (), description: str, **more: Any) -> Schema:
    """An object that is sent: unknown fields are refused, and what is not required may be null."""
    given = {name: each if name in required or name == "payload" else _or_null(each) for name, each in properties.items()}
    schema = {"type": "object", "description": description, "properties": given, "additionalProperties": False, **more}
    return schema | {"required": list(required)} if required else schema


def _answer(properties: Mapping[str, Schema], description: str, *, optional: tuple[str, ...] = ()) -> Schema:
    """An object that is answered: every field is there but the optional ones; later releases may add others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "properties": dict(properties), "required": required}


def _duration(description: str, most_seconds: float, *, whole: bool = False) -> Schema:
    """`whole`: of whole seconds, one at least."""
    text = {"type": "string", "pattern": DURATION, "maxLength": LONGEST_TEXT}
    least: Schema = {"type": "integer", "minimum": 1} if whole else {"type": "number", "minimum": 0}
    return {"description": description, "anyOf": [least | {"maximum": most_seconds}, text]}


def _object(description: str, properties: Mapping[str, Schema]) -> Schema:
    """An object inside a request: as for the request itself."""
    return _request(properties, description=description)


def _not_both(one: str, other: str) -> Schema:
    """Not both of two fields, unless one is null."""
    given = {name: {"not": {"type": "null"}} for name in (one, other)}
    return {"not": {"required": [one, other], "properties": given}}


def _when(field: str, value: str, *, needs: str) -> Schema:
    """A field that is needed when another one has this value."""
    needed = {"required": [needs], "properties": {needs: {"not": {"type": "null"}}}}
    return {"if": {"required": [field], "properties": {field: {"const": value}}}, "then": needed}


_NAMED: Final = "A lower-case letter and at most 63 of a-z 0-9 _ -."
_DAYS: Final = fields.LONGEST_EXPIRY.total_seconds()
_QUEUE: Final = _text(f"The queue's name. {_NAMED}", pattern=NAME)
_TYPE: Final = _text(f"The type's name, one of those that the queue takes (`GET /types`). {_NAMED}", pattern=NAME)
_RETRY: Final[dict[str, Schema]] = {
    "max_attempts": _whole("Starts in all, the first one included.", 1, MAX_ATTEMPTS_LIMIT),
    "backoff": _text("`immediate`: no delay; `fixed`: always base_delay; `exponential`: base_delay * 2 ** attempt, attempt counted from 0.")
    | {"enum": ["immediate", "fixed", "exponential"]},
    "base_delay": _whole("Milliseconds.", 0, LONGEST_DELAY_MS),
    "max_delay": _whole("Milliseconds; caps the delay after jitter.", 0, LONGEST_DELAY_MS),
    "jitter": _number("Spreads each delay evenly by plus or minus this fraction.", 0, 1),
}
_PAYLOAD_FIELD: Final = _text("A name, or a JSON pointer (RFC 6901), of a field of the payload.", minLength=1, maxLength=fields.LONGEST_KEY)
_UNIQUE: Final[dict[str, Schema]] = {
    "key": _text("A key of your choice.", pattern=KEY),
    "keys": _list(_PAYLOAD_FIELD, "Fields of the payload that make the key.", minItems=1, maxItems=fields.MOST_UNIQUE_KEYS),
    "for": _duration("How long the lock holds at most; needed with `until` `ttl`. Whole seconds, at least 1.", _DAYS, whole=True),
    "until": _text("Until the job is first started, until it is over (the default), or until the time is over.", enum=list(locks.UNTIL)),
    "on_conflict": _text("What a request gets whose key is held: the holder, its place, or a 409.", enum=list(locks.ON_CONFLICT)),
}
_CHANGES: Final[dict[str, Schema]] = {
    "delay": _duration(
        "Start after so much time: seconds, or text such as `10m` or `PT10M`. At most a year.", fields.LONGEST_DELAY.total_seconds()
    ),
    "scheduled_at": _instant("Start at this time (RFC 3339), at most a year from now; a time that has passed means now."),
    "priority": _whole("1 is the most urgent.", 1, 10),
}
_ENQUEUE: Final[dict[str, Schema]] = {
    "queue": _QUEUE,
    "type": _TYPE,
    "payload": {"description": "What the handler is given: any JSON that fits the type's schema; an empty object when left out."},
    "payload_ref": _text("In place of payload: the id of an upload (`POST /uploads`).", format="uuid"),
    **_CHANGES,
    "max_attempts": _whole("Starts in all, the first one included.", 1, MAX_ATTEMPTS_LIMIT),
    "retry": {
        "type": "object",
        "description": "When a failed attempt is tried again.",
        "properties": {n: _or_null(e) for n, e in _RETRY.items()},
    }
    | {"additionalProperties": False},
    "timeout": _duration(
        "An attempt is stopped after so long. Whole seconds, at least 1.", fields.LONGEST_TIMEOUT.total_seconds(), whole=True
    ),
    "expires_in": _duration("It expires when it has not started by then. Whole seconds, at least 1.", _DAYS, whole=True),
    "idempotency_key": _text("The same key in the same queue names the same job; the Idempotency-Key header says the same.", pattern=KEY),
    "group": _text("Whose job it is: no group keeps the others waiting.", pattern=KEY),
    "ordering_key": _text("Ordered queues only: jobs of one key run one after the other.", pattern=KEY),
    "tags": _list(
        _text("Printable characters.", minLength=1, maxLength=fields.LONGEST_TAG), "Words to find the job by.", maxItems=fields.MOST_TAGS
    ),
    "unique": {
        "type": "object",
        "description": "Keeps a second job from being made while this one is about.",
        "additionalProperties": False,
    }
    | {"properties": {name: _or_null(each) for name, each in _UNIQUE.items()}}
    | {"allOf": [_not_both("key", "keys"), _when("until", "ttl", needs="for")]},
    "callback_url": _text("A POST tells this URL the end of the job, however it ends: https on port 443 or 8443.", **URL),
    "reply_to": _text("A message in this reply queue, one that `queues.toml` declares, tells the end of the job.", pattern=NAME),
}
_EXCLUSIVE: Final = {"allOf": [_not_both("payload", "payload_ref"), _not_both("delay", "scheduled_at")]}
_STATUSES: Final = sorted(status.value for status in Status)
_SELECTION: Final[dict[str, Schema]] = {
    "type": _text("Only jobs of this type.", minLength=1, maxLength=64),
    "error": _text("Only jobs whose error has this text in it.", minLength=1, maxLength=selection.LONGEST_ERROR),
    "before": _instant("Only jobs created before this time (RFC 3339); later than now means now."),
    "limit": _whole("At most so many jobs are changed.", 1, selection.MOST),
    "rate": _number("Jobs changed per second at most.", selection.SLOWEST, selection.FASTEST),
    "dry_run": _flag("Whether to count only."),
    "idempotency_key": _ENQUEUE["idempotency_key"],
}
_JOB: Final[dict[str, Schema]] = {
    "id": _text("A UUIDv7, or a UUIDv8 when it comes from an idempotency key.", format="uuid"),
    "queue": _QUEUE,
    "type": _TYPE,
    "payload": {"description": "Byte for byte what was sent; null when over 1 MB (`payload_url`) or left out of a list (`omitted`)."},
    "priority": _whole("1 is the most urgent.", 1, 10),
    "status": _text("Where the job stands; done, dead, cancelled and expired are its end.", enum=_STATUSES),
    "attempts": _whole("Starts that came to an end of their own.", 0),
    "max_attempts": _whole("The job is dead after so many failed attempts.", 1, MAX_ATTEMPTS_LIMIT),
    "scheduled_at": _instant("Not started before this time."),
    "started_at": _or_null(_instant("When it was last started.")),
    "completed_at": _or_null(_instant("When it came to its end.")),
    "error": _or_null(_text("What the last failed attempt raised, `Type: message`.")),
    "result": {"description": "What the handler returned; null until then, and as for payload."},
    "created_at": _instant("When it was enqueued."),
    "expires_at": _or_null(_instant("When it expires if it has not started.")),
    "timeout": _whole("Seconds after which an attempt is stopped.", 1),
    "retry": {"type": "object", "description": "The retry policy that holds for this job.", "properties": _RETRY},
    "group": _or_null(_text("Whose job it is.")),
    "ordering_key": _or_null(_text("Jobs of one key run one after the other.")),
    "unique": _or_null(_answer(_UNIQUE | {"for": _whole("Seconds.", 1)}, "What the request said.", optional=tuple(_UNIQUE))),
    "tags": _list({"type": "string"}, "Words to find the job by."),
    "progress": {"description": "What the handler last said of its progress, `{percent, note}` and the time; null until then."},
    "cancel_requested": _flag("Whether somebody asked for a running job to be cancelled."),
    "callback_url": _or_null(_text("The URL that is told of its end; what comes after a `?` is hidden.")),
    "reply_to": _or_null(_text("The reply queue in which its end is told.")),
    "parent_id": _or_null(_text("The job whose handler enqueued this one.", format="uuid")),
    "batch_id": _or_null(_text("The batch that it is a member of.", format="uuid")),
    "occurrence": _or_null(
        _answer({"schedule": _text("Its name."), "at": _instant("When it was due.")}, "The run of a schedule that this job is.")
    ),
    "payload_url": _text("Where the payload is for 15 minutes, when it is larger than 1 MB.", format="uri"),
    "result_url": _text("Where the result is for 15 minutes, when it is larger than 1 MB.", format="uri"),
    "omitted": _list({"enum": ["payload", "result"]}, "Lists only: bodies that are not shown here."),
}
_SCHEDULE_TIMES: Final[dict[str, Schema]] = {
    "cron": _text(
        "When: five fields are unix cron (`0 9 * * MON-FRI`), six AWS's (`0 9 ? * MON-FRI *`); what would be misread is refused.",
        maxLength=cron.LONGEST,
    ),
    "rate": {
        "description": "Or how often: `5 minutes`, or a duration of whole minutes, counted from `start` or from now.",
        "anyOf": [_text("As AWS has it, or a duration.", maxLength=LONGEST_TEXT), _number("Seconds.", 60)],
    },
    "at": _text("Or once: a time as the zone's clocks show it (`2026-01-31T09:30:00`), or with an offset.", maxLength=LONGEST_TEXT),
    "timezone": _text("Of cron and at: a name of the tz database; UTC when left out.", maxLength=64),
    "start": _instant("No run before this time (RFC 3339)."),
    "end": _instant("No run at or after this time (RFC 3339)."),
    "flexible_window": _duration("A run may be so much late: whole minutes.", schedule.LONGEST_WINDOW.total_seconds()),
    "paused": _flag("Whether it does not run; left out, a new schedule runs and an old one stays as it is."),
}
_SCHEDULE_REQUEST: Final = _SCHEDULE_TIMES | {name: each for name, each in _ENQUEUE.items() if name in schedule.JOB_FIELDS}
_UNIQUE_GIVEN: Final = {name: _or_null(each) for name, each in _UNIQUE.items()}
_QUERIES: Final[dict[str, Schema]] = {
    "filter": _text(
        "JMESPath: the events of which this holds; left out, all. What is false, null, or an empty text, list or object does not hold.",
        minLength=1,
        maxLength=queries.LONGEST,
    ),
    "transform": _text("JMESPath: the payload, made of the event; left out, the event itself.", minLength=1, maxLength=queries.LONGEST),
}
_SUBSCRIPTION_REQUEST: Final = _QUERIES | {name: each for name, each in _ENQUEUE.items() if name in topics.JOB_FIELDS}
_SUBSCRIPTION: Final[dict[str, Schema]] = {
    "name": _text(f"Its name. {_NAMED}", pattern=NAME),
    "topic": _text(f"The topic's name. {_NAMED}", pattern=NAME),
    "declared": _flag("Whether `queues.toml` declares it, so that only a deployment changes it."),
    **{name: each if name in {"queue", "type"} else _or_null(each) for name, each in _SUBSCRIPTION_REQUEST.items()},
}
_TOPIC: Final[dict[str, Schema]] = {
    "name": _text(f"Its name. {_NAMED}", pattern=NAME),
    "description": _text("What is published there; may be empty."),
}
_SCHEDULE: Final[dict[str, Schema]] = {
    "name": _text(f"Its name. {_NAMED}", pattern=NAME),
    "cron": _or_null(_text("The six fields, in AWS's dialect.")),
    "rate": _or_null(_text("How often, in AWS's words.")),
    "at": _or_null(_text("The single time, as the zone's clocks show it.")),
    "timezone": _text("A name of the tz database."),
    "start": _or_null(_instant("No run before this time.")),
    "end": _or_null(_instant("No run at or after this time.")),
    "flexible_window": _whole("Seconds that a run may be late.", 0),
    "paused": _flag("Whether it does not run."),
    "declared": _flag("Whether `queues.toml` declares it, so that only a deployment changes it."),
    **{name: _or_null(each) for name, each in _ENQUEUE.items() if name in schedule.JOB_FIELDS.keys() - {"payload", "unique"}},
    "unique": {"type": ["object", "null"], "description": "Keeps a second job from being made.", "properties": _UNIQUE_GIVEN},
    "payload": {"description": "What its jobs are given, as it was written; null when that was left out. Secrets are hidden."},
    "next_runs": _list(_instant("UTC."), "The next five; none while it is paused, or when its time is over.", maxItems=schedule.RUNS_TOLD),
    "created_at": _or_null(_instant("When it was created.")),
    "changed_at": _or_null(_instant("When it was last changed, paused or resumed.")),
}
_LAST_RUN: Final[dict[str, Schema]] = {
    "due_at": _instant("When the schedule said."),
    "delivered_at": _instant("When EventBridge Scheduler called."),
    "job_id": _or_null(_text("The job that was made.", format="uuid")),
    "problem": _or_null(_text("Why none was made.")),
}
_RETRY_ANSWER: Final = {"type": "object", "description": "The queue's retry policy.", "properties": _RETRY}
_QUEUE_FIELDS: Final[dict[str, Schema]] = {
    "name": _QUEUE,
    "worker": _text("The function that runs its jobs."),
    "types": _list({"type": "string"}, "The types that it takes."),
    "concurrency": _whole("Jobs that run at the same time at most.", 1),
    "batch_size": _whole("Jobs that a worker takes at once at most.", 1),
    "lanes": _list({"enum": ["high", "normal", "low"]}, "Its lanes, by priority."),
    "ordered": _flag("Whether jobs of one ordering key run one after the other."),
    "low_latency": _flag("Whether messages are sent with the jobs' creation."),
    "max_attempts": _whole("Starts in all, where neither job nor type says otherwise.", 1, MAX_ATTEMPTS_LIMIT),
    "retry": _RETRY_ANSWER,
    "timeout": _whole("Seconds, where neither job nor type says otherwise.", 1),
}
_EVENT: Final[dict[str, Schema]] = {
    "at": _instant("When."),
    "event": _text("What: enqueued, due, started, done, failed, timeout, crash, snoozed, retried, rescheduled, cancelled …"),
    "attempt": _whole("The attempt that it belongs to; 0 before the first.", 0),
    "detail": _text("The cause, for people."),
    "seconds": _number("How long what it ended had lasted.", 0),
}
_WHY: Final[dict[str, Schema]] = {
    "id": _JOB["id"],
    "status": _JOB["status"],
    "code": _text("The reason, for programs (docs/why.md)."),
    "reason": _text("The reason, for people."),
    "facts": {"type": "object", "description": "What the reason rests on."},
}
_TYPE_INFO: Final[dict[str, Schema]] = {
    "name": _TYPE,
    "worker": _text("The function that runs it."),
    "queues": _list({"type": "string"}, "The queues that take it."),
    "summary": _text("The first line of the handler's docstring."),
    "timeout": _or_null(_whole("Seconds; null: the queue decides.", 1)),
    "max_attempts": _or_null(_whole("Null: the queue decides.", 1, MAX_ATTEMPTS_LIMIT)),
    "retry": _or_null(_RETRY_ANSWER),
    "schema": {"type": "object", "description": "JSON Schema (2020-12) of the payload."},
}
_OUTCOME: Final[dict[str, Schema]] = {
    "status": _whole("What a single request would have been answered: 202 made, 200 found, or a problem's.", 200, 599),
    "job": ref("Job"),
    "replayed": _flag("Whether the job was found by its idempotency key."),
    "returned": _flag("Whether the job was found by its unique key."),
    "problem": ref("Problem"),
}
_OF_BATCH: Final = {name: each for name, each in _ENQUEUE.items() if name not in batches.REFUSED}
_BATCH_REQUEST: Final[dict[str, Schema]] = {
    "jobs": _list(ref("BatchJob"), "The members, each as POST /jobs takes it.", minItems=1, maxItems=batch.MOST_MEMBERS),
    "on_success": ref("BatchJob") | {"description": "Made when all members are over, if all are done."},
    "on_complete": ref("BatchJob") | {"description": "Made when all members are over, however they ended."},
    "on_dead": ref("BatchJob") | {"description": "Made once, when the first dead member is seen."},
    "name": _text("What people call it. Printable characters.", minLength=1, maxLength=batch.LONGEST_NAME),
    "idempotency_key": _text("The same key names the same batch; the Idempotency-Key header says the same.", pattern=KEY),
}
_BATCH: Final[dict[str, Schema]] = {
    "id": _text("The id of the batch's own job, too.", format="uuid"),
    "name": _or_null(_text("What people call it.")),
    "status": _text(
        "open: members are being made or waited for; complete; cancelled; dead: nobody waits any more, a retry goes on.",
        enum=list(batches.BATCH_STATUSES),
    ),
    "error": _or_null(_text("Why its last run failed, or why it is dead.")),
    "total": _whole("Its members.", 1, batch.MOST_MEMBERS),
    "counts": _answer(
        {status: _whole(f"Members that are {status}.", 0) for status in batches.STATUSES},
        "How many members stand how; of a complete batch, how they stood when it completed.",
    ),
    "created_at": _instant("When it was asked for."),
    "completed_at": _or_null(_instant("When it came to its end.")),
    "on_success": _or_null(_text("The job that was made of on_success.", format="uuid")),
    "on_complete": _or_null(_text("The job that was made of on_complete.", format="uuid")),
    "on_dead": _or_null(_text("The job that was made of on_dead.", format="uuid")),
    "jobs": _list(
        _answer(
            {
                "id": _JOB["id"],
                "queue": _QUEUE,
                "type": _TYPE,
                "status": _text(
                    "Of the job, as it is now; unmade: not there yet; gone: its record is no longer kept.", enum=list(batches.STATUSES)
                ),
            },
            "A member.",
        ),
        "The members, in the order of the request.",
    ),
}
_PROBLEM: Final[dict[str, Schema]] = {
    "type": _text("The problem's name, `urn:jobline:problem:…`."),
    "title": _text("What kind of problem it is."),
    "status": _whole("The HTTP status.", 400, 599),
    "detail": _text("What is wrong this time, in one line."),
    "request_id": _text("Under this id it is in the API's log."),
    "errors": _list(
        _answer({"pointer": _text("RFC 6901."), "detail": _text("What is wrong there.")}, "One place and what is wrong there."),
        "The places of the body that are wrong, at most 20.",
    ),
    "offset": _whole("invalid-json: the byte at which the text stops being strict JSON.", 0),
    "limit": _whole("too-large: how many bytes are taken.", 1),
    "allow": _list({"type": "string"}, "method-not-allowed: the methods that the path takes."),
    "candidates": _list({"type": "string"}, "ambiguous-id: ids that begin so, at most 10."),
    "job_status": _text("conflict: the job's status.", enum=_STATUSES),
    "job_id": _text("unique-conflict: the job that holds the key.", format="uuid"),
}


def _stats() -> Schema:
    """The numbers of a queue, from the struct that is answered."""
    schemas, components = msgspec.json.schema_components([QueueStats], ref_template="#/components/schemas/{name}")
    del schemas
    described = dict(components["QueueStats"])
    return {"type": "object", "description": "A queue's numbers.", "properties": described["properties"], "required": described["required"]}


def _bulk(items: str) -> Schema:
    jobs = _list(ref(items), "Each as POST /jobs takes it.", maxItems=MOST_JOBS)
    return _request({"jobs": jobs}, required=("jobs",), description="Many jobs; what is wrong with one keeps no other out.")


def _in_queue(properties: Mapping[str, Schema]) -> Schema:
    """A request to enqueue whose queue is named by the path; it may name the same once more."""
    return _request(properties, required=("type",), description="A job to enqueue in the path's queue.", **_EXCLUSIVE)


SCHEMAS: Final[Mapping[str, Schema]] = {
    "EnqueueRequest": _request(_ENQUEUE, required=("queue", "type"), description="A job to enqueue.", **_EXCLUSIVE),
    "EnqueueRequestInQueue": _in_queue(_ENQUEUE),
    "BulkRequest": _bulk("EnqueueRequest"),
    "BulkRequestInQueue": _bulk("EnqueueRequestInQueue"),
    "RescheduleRequest": _request(_CHANGES, description="What is to be otherwise.", allOf=[_not_both("delay", "scheduled_at")]),
    "UploadRequest": {
        "type": "object",
        "description": "What is going to be uploaded.",
        "properties": {
            "size": _whole("Bytes.", 1, LARGEST_UPLOAD),
            "sha256": _text("Of the content, hexadecimal.", pattern="^[0-9a-f]{64}$"),
        },
        "required": ["size", "sha256"],
        "additionalProperties": False,
    },
    "PurgeRequest": _request(
        {"status": _text("Only jobs with this status; failed is retrying and dead.", enum=sorted(get_args(selection.Removable)))}
        | _SELECTION,
        description="Which jobs to purge; an empty object means all that do not run.",
    ),
    "RedriveRequest": _request(
        {"status": _text("Which jobs; dead when left out, failed is retrying and dead.", enum=sorted(get_args(selection.Ended)))}
        | _SELECTION,
        description="Which jobs to run again.",
    ),
    "Job": _answer(_JOB, "A job.", optional=("payload_url", "result_url", "omitted")),
    "BatchJob": _request(
        _OF_BATCH,
        required=("queue", "type"),
        description="A job of a batch: as POST /jobs takes it, without keys of its own and uploads.",
        allOf=[_not_both("delay", "scheduled_at")],
    ),
    "BatchRequest": _request(_BATCH_REQUEST, required=("jobs",), description="Jobs that belong together: all of them, or none."),
    "Batch": _answer(_BATCH, "A batch."),
    "JobPage": _answer(
        {"jobs": _list(ref("Job"), "May be empty, and more come."), "next": _or_null(_text("The next page's cursor."))}, "A page."
    ),
    "BulkAnswer": _answer({"items": _list(ref("BulkOutcome"), "In the order of the request.")}, "What became of each job."),
    "BulkOutcome": _answer(_OUTCOME, "What became of one job.", optional=("job", "replayed", "returned", "problem")),
    "Upload": _answer(
        {
            "upload": _text("The id: a job's payload_ref, for a day.", format="uuid"),
            "url": _text("Where to send the content.", format="uri"),
            "method": _text("How.", const="PUT"),
            "headers": {"type": "object", "description": "To be sent with it.", "additionalProperties": {"type": "string"}},
            "expires_at": _instant("The upload must have begun by then."),
        },
        "How to upload.",
    ),
    "Timeline": _answer(
        {
            "events": _list(_answer(_EVENT, "One thing that happened.", optional=("seconds",)), "Oldest first."),
            "truncated": _flag("True when the oldest entries are no longer kept."),
        },
        "What happened to a job.",
        optional=("truncated",),
    ),
    "Why": _answer(_WHY, "Why a job is not running."),
    "Cancelled": {
        "description": "What the cancellation came to.",
        "anyOf": [
            _answer({"cancelled": {"const": True, "description": "It will not start again."}}, "Cancelled."),
            _answer({"cancel_requested": {"const": True, "description": "It runs; no later attempt will start."}}, "Requested."),
        ],
    },
    "Queue": _answer(_QUEUE_FIELDS, "A queue."),
    "QueueList": _answer(
        {"queues": _list(_answer(_QUEUE_FIELDS | {"paused": _flag("Whether it is paused.")}, "A queue."), "By name.")}, "The queues."
    ),
    "QueueWithStats": _answer(_QUEUE_FIELDS | {"stats": ref("Stats")}, "A queue and its numbers."),
    "Stats": _stats(),
    "Switched": _answer(
        {"queue": _QUEUE, "paused": _flag("As it is now."), "detail": _text("When that takes effect.")},
        "A paused or resumed queue.",
    ),
    "ScheduleRequest": _request(_SCHEDULE_REQUEST, required=("queue", "type"), description="When to run, and the job of each run."),
    "Schedule": _answer(_SCHEDULE, "A schedule."),
    "ScheduleWithRun": _answer(
        _SCHEDULE | {"last_run": _or_null(_answer(_LAST_RUN, "What became of the last run."))}, "A schedule and its last run."
    ),
    "SchedulePage": _answer(
        {"schedules": _list(ref("Schedule"), "By name."), "next": _or_null(_text("The next page's cursor."))}, "A page."
    ),
    "DeletedSchedule": _answer({"deleted": {"const": True, "description": "It does not run again."}}, "A deleted schedule."),
    "PublishRequest": _request(
        {
            "event": {"type": "object", "description": "What has happened: given to each subscription as it was written."},
            "idempotency_key": _ENQUEUE["idempotency_key"],
        },
        required=("event",),
        description="An event.",
    ),
    "SubscriptionRequest": _request(
        _SUBSCRIPTION_REQUEST, required=("queue", "type"), description="Which events, and the job that each of them becomes."
    ),
    "Subscription": _answer(_SUBSCRIPTION, "A subscription."),
    "DeletedSubscription": _answer({"deleted": {"const": True, "description": "It makes no more jobs."}}, "A deleted subscription."),
    "Topic": _answer(_TOPIC | {"subscriptions": _list(ref("Subscription"), "By name.", maxItems=topics.MOST_SUBSCRIPTIONS)}, "A topic."),
    "TopicList": _answer({"topics": _list(_answer(_TOPIC, "A topic."), "By name.")}, "The topics."),
    "TypeList": _answer({"types": _list(_answer(_TYPE_INFO, "A type of job."), "By worker and name.")}, "The types."),
    "Health": _answer({"status": {"const": "ok", "description": "The API answers."}, "stage": _text("Its name.")}, "Liveness."),
    "OpenApi": {"type": "object", "description": "An OpenAPI 3.1 document.", "required": ["openapi", "info", "paths"]},
    "Problem": _answer(_PROBLEM, "What went wrong (RFC 9457).", optional=tuple(_PROBLEM)[5:]),
    "GatewayMessage": {
        "type": "object",
        "description": "What API Gateway itself says.",
        "properties": {"message": {"type": "string"}, "Message": {"type": "string"}},
    },
}
"""Every schema by its name."""
REQUEST_FIELDS: Final = {
    "EnqueueRequest": fields.ENQUEUE_FIELDS,
    "BatchRequest": batches.FIELDS,
    "PurgeRequest": selection.PURGE_FIELDS,
    "RedriveRequest": selection.REDRIVE_FIELDS,
    "UploadRequest": uploads.UPLOAD_FIELDS,
    "ScheduleRequest": schedule.SCHEDULE_FIELDS,
    "PublishRequest": publishing.PUBLISH_FIELDS,
    "SubscriptionRequest": topics.SUBSCRIPTION_FIELDS,
}
"""What reads each request, for the test that holds the schemas to it."""
RETRY_FIELDS: Final = RetryPolicy.__struct_fields__
