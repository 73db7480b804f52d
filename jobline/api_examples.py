"""Examples of the API's requests and answers, by schema: the OpenAPI document shows them, and a test holds them to their schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ID: Final = "0197a000-0000-7000-8000-000000000000"
_RETRY: Final = {"max_attempts": 3, "backoff": "exponential", "base_delay": 1000, "max_delay": 3_600_000, "jitter": 0.25}
_JOB: Final[dict[str, Any]] = {
    "id": _ID,
    "queue": "emails",
    "type": "send_email",
    "payload": {"to": "ada@example.com"},
    "priority": 5,
    "status": "pending",
    "attempts": 0,
    "max_attempts": 3,
    "scheduled_at": "2026-01-31T09:30:00Z",
    "started_at": None,
    "completed_at": None,
    "error": None,
    "result": None,
    "created_at": "2026-01-31T09:30:00Z",
    "expires_at": None,
    "timeout": 30,
    "retry": _RETRY,
    "group": None,
    "ordering_key": None,
    "unique": None,
    "tags": [],
    "progress": None,
    "cancel_requested": False,
    "callback_url": None,
    "reply_to": None,
    "parent_id": None,
    "batch_id": None,
    "occurrence": None,
}
_DONE: Final = _JOB | {
    "status": "done",
    "attempts": 1,
    "started_at": "2026-01-31T09:30:00.120Z",
    "completed_at": "2026-01-31T09:30:00.480Z",
    "result": {"message_id": "0100018d"},
}
_QUEUE: Final = {
    "name": "emails",
    "worker": "notifications",
    "types": ["send_email"],
    "concurrency": 10,
    "batch_size": 1,
    "lanes": ["high", "normal", "low"],
    "ordered": False,
    "low_latency": False,
    "max_attempts": 3,
    "retry": _RETRY,
    "timeout": 60,
}
_STATS: Final = {
    "pending": 3,
    "running": 1,
    "failed": 2,
    "retrying": 1,
    "scheduled": 0,
    "dead": 1,
    "done": 1200,
    "avg_wait_time": 0.21,
    "p95_wait_time": 0.9,
    "avg_run_time": 0.36,
    "oldest_job_age": 4.2,
    "enqueue_rate": 0.5,
    "dequeue_rate": 0.5,
    "error_rate": 0.01,
    "active_workers": 1,
    "paused": False,
}
_EMAIL: Final = {"queue": "emails", "type": "send_email", "payload": {"to": "ada@example.com"}}
_BATCH: Final[dict[str, Any]] = {
    "id": _ID,
    "name": "invitations",
    "status": "open",
    "error": None,
    "total": 2,
    "counts": dict.fromkeys(("running", "failed", "dead", "cancelled", "expired", "unmade", "gone"), 0)
    | {"pending": 0, "scheduled": 1, "done": 1},
    "created_at": "2026-01-31T09:30:00Z",
    "completed_at": None,
    "on_success": None,
    "on_complete": None,
    "on_dead": None,
    "jobs": [
        {"id": "7d8c1a50-31c1-8f0e-9c6e-0a7f0c3b6f11", "queue": "emails", "type": "send_email", "status": "done"},
        {"id": "c2b6e0a1-5b7a-8d43-8a1d-6f1f0b9f4e02", "queue": "emails", "type": "send_email", "status": "scheduled"},
    ],
}
_SUBSCRIBED: Final[dict[str, Any]] = {
    "queue": "emails",
    "type": "send_email",
    "filter": "kind == 'order.paid' && amount > `100`",
    "transform": "{to: customer.email, subject: 'Thank you'}",
}
_SUBSCRIPTION: Final[dict[str, Any]] = {
    "name": "thanks",
    "topic": "orders",
    "declared": False,
    **_SUBSCRIBED,
    **dict.fromkeys(("priority", "delay", "max_attempts", "retry", "timeout", "expires_in", "group", "ordering_key", "tags")),
    **dict.fromkeys(("callback_url", "reply_to")),
}
_TOPIC: Final = {"name": "orders", "description": "What becomes of orders."}
_SCHEDULE: Final[dict[str, Any]] = {
    "name": "nightly",
    "cron": "0 9 ? * MON-FRI *",
    "rate": None,
    "at": None,
    "timezone": "Europe/Berlin",
    "start": None,
    "end": None,
    "flexible_window": 0,
    "paused": False,
    "declared": False,
    "queue": "emails",
    "type": "send_email",
    "payload": {"to": "ada@example.com"},
    **dict.fromkeys(("priority", "max_attempts", "retry", "timeout", "expires_in", "group", "ordering_key", "tags", "unique")),
    **dict.fromkeys(("callback_url", "reply_to")),
    "next_runs": ["2026-02-02T08:00:00Z", "2026-02-03T08:00:00Z", "2026-02-04T08:00:00Z", "2026-02-05T08:00:00Z", "2026-02-06T08:00:00Z"],
    "created_at": "2026-01-15T10:12:00Z",
    "changed_at": "2026-01-15T10:12:00Z",
}

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "EnqueueRequest": {
        "shortest": _EMAIL,
        "later, with a key": {
            "queue": "emails",
            "type": "send_email",
            "payload": {"to": "ada@example.com", "subject": "Hello"},
            "delay": "10m",
            "priority": 3,
            "max_attempts": 5,
            "retry": {"backoff": "fixed", "base_delay": 60_000},
            "expires_in": "1d",
            "idempotency_key": "welcome-17",
            "tags": ["welcome"],
        },
        "told of its end": _EMAIL | {"callback_url": "https://shop.example.com/jobs?order=17", "reply_to": "answers"},
    },
    "EnqueueRequestInQueue": {"shortest": {"type": "send_email", "payload": {"to": "ada@example.com"}}},
    "BulkRequest": {"two": {"jobs": [_EMAIL, _EMAIL | {"priority": 1}]}},
    "BulkRequestInQueue": {"one": {"jobs": [{"type": "send_email", "payload": {"to": "ada@example.com"}}]}},
    "BatchRequest": {
        "two letters, and what follows": {
            "jobs": [_EMAIL, _EMAIL | {"delay": "10m"}],
            "on_success": _EMAIL | {"priority": 1},
            "on_dead": _EMAIL,
            "name": "invitations",
            "idempotency_key": "invitations-7",
        },
    },
    "RescheduleRequest": {"in ten minutes": {"delay": "10m"}, "more urgent": {"priority": 1}},
    "UploadRequest": {"two megabytes": {"size": 2_000_000, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}},
    "PurgeRequest": {"count only": {"status": "failed", "dry_run": True}},
    "RedriveRequest": {"what timed out": {"error": "TimeoutError:", "rate": 10}},
    "Job": {"waiting": _JOB, "done": _DONE},
    "BatchJob": {"shortest": _EMAIL},
    "Batch": {"open": _BATCH},
    "JobPage": {"last page": {"jobs": [_DONE], "next": None}},
    "BulkAnswer": {
        "one made, one refused": {
            "items": [
                {"status": 202, "job": _JOB},
                {
                    "status": 422,
                    "problem": {
                        "type": "urn:jobline:problem:invalid-job",
                        "title": "The request is understood, but this job cannot be accepted.",
                        "status": 422,
                        "detail": "priority must be a whole number from 1 to 10",
                        "request_id": "T9hTfgzmliAEMBA=",
                        "errors": [{"pointer": "/jobs/1/priority", "detail": "must be a whole number from 1 to 10"}],
                    },
                },
            ]
        }
    },
    "Upload": {
        "a link": {
            "upload": _ID,
            "url": "https://bucket.s3.amazonaws.com/uploads/…",
            "method": "PUT",
            "headers": {"Content-Type": "application/json"},
            "expires_at": "2026-01-31T09:45:00Z",
        }
    },
    "Timeline": {
        "straight": {
            "events": [
                {"at": "2026-01-31T09:30:00Z", "event": "enqueued", "attempt": 0, "detail": ""},
                {"at": "2026-01-31T09:30:00.120Z", "event": "started", "attempt": 1, "detail": "", "seconds": 0.12},
                {"at": "2026-01-31T09:30:00.480Z", "event": "done", "attempt": 1, "detail": "", "seconds": 0.36},
            ]
        }
    },
    "Why": {"over": {"id": _ID, "status": "done", "code": "done", "reason": "It is over: done.", "facts": {}}},
    "Cancelled": {"waiting": {"cancelled": True}, "running": {"cancel_requested": True}},
    "QueueList": {"one queue": {"queues": [_QUEUE | {"paused": False}]}},
    "QueueWithStats": {"a queue": _QUEUE | {"stats": _STATS}},
    "Stats": {"numbers": _STATS},
    "Switched": {"paused": {"queue": "emails", "paused": True, "detail": "Jobs stop starting within about a minute."}},
    "ScheduleRequest": {
        "weekdays at nine": _EMAIL | {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"},
        "every five minutes": _EMAIL | {"rate": "5 minutes", "flexible_window": "2m"},
        "once": _EMAIL | {"at": "2126-01-31T09:30:00", "timezone": "America/New_York"},
    },
    "Schedule": {"weekdays at nine": _SCHEDULE},
    "ScheduleWithRun": {
        "weekdays at nine": _SCHEDULE
        | {"last_run": {"due_at": "2026-01-30T08:00:00Z", "delivered_at": "2026-01-30T08:00:12.250Z", "job_id": _ID, "problem": None}}
    },
    "SchedulePage": {"one": {"schedules": [_SCHEDULE], "next": None}},
    "DeletedSchedule": {"deleted": {"deleted": True}},
    "PublishRequest": {"a paid order": {"event": {"kind": "order.paid", "amount": 120, "customer": {"email": "ada@example.com"}}}},
    "SubscriptionRequest": {"a mail for large orders": _SUBSCRIBED},
    "Subscription": {"a mail for large orders": _SUBSCRIPTION},
    "DeletedSubscription": {"deleted": {"deleted": True}},
    "Topic": {"orders": _TOPIC | {"subscriptions": [_SUBSCRIPTION]}},
    "TopicList": {"one": {"topics": [_TOPIC]}},
    "TypeList": {
        "one type": {
            "types": [
                {
                    "name": "send_email",
                    "worker": "notifications",
                    "queues": ["emails"],
                    "summary": "Send one message through SES; returns its message id.",
                    "timeout": 30,
                    "max_attempts": None,
                    "retry": None,
                    "schema": {"$ref": "#/$defs/SendEmail", "$defs": {"SendEmail": {"type": "object"}}},
                }
            ]
        }
    },
    "Health": {"alive": {"status": "ok", "stage": "prod"}},
    "OpenApi": {"beginning": {"openapi": "3.1.0", "info": {"title": "Jobline", "version": "1"}, "paths": {}}},
}
"""Every example by its schema and its own name."""
