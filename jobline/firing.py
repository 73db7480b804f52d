"""The run of a schedule: EventBridge Scheduler calls the operations function, and one job is made, however often it calls."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from jobline import strict_json
from jobline.enqueueing import Enqueueing
from jobline.errors import IdempotencyKeyReused, JoblineError, Unavailable
from jobline.ids import derived_id
from jobline.log import Log
from jobline.occurrence import Occurrence
from jobline.queue import Queues
from jobline.request import parse_request
from jobline.schedule_notes import RunNote
from jobline.times import parse_instant

DELIVERY: Final = "schedule"
"""The key by which the operations function tells a run of a schedule from what else it is called with (`schedule.Schedule.input`)."""
LONGEST_SKEW: Final = timedelta(seconds=60)
"""So much may our clock be behind Scheduler's: it is waited out, so that no job starts early."""

FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(minutes=15)
"""Between deliveries that fail; after ten the message goes to the dead-letter queue, and from there into quarantine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """Makes the jobs of schedules."""

    enqueueing: Enqueueing
    note: Callable[[str, RunNote], None]
    """Notes what became of a schedule's run."""
    clock: Callable[[], datetime]
    log: Log
    queues: Callable[[], Queues]
    """SQS, which keeps deliveries that have failed."""
    sleep: Callable[[float], None] = time.sleep

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Makes the job of one run, or finds the one that an earlier delivery of it made: `{"job_id": …}`, or `{"problem": why not}`.

        A run that can never become a job (its queue or type is gone, its payload does not fit any more, its unique key is held) is
        logged and noted. Raises Unavailable when the same delivery may succeed later: who calls repeats it.
        """
        occurrence = Occurrence(str(event[DELIVERY]), parse_instant(event["scheduled_at"]))
        self._wait_for(occurrence)
        job_id = problem = None
        try:
            job_id = self._enqueue(occurrence, str(event["job"]), op=str(event["execution"]))
        except Unavailable:
            raise
        except JoblineError as error:
            problem = error.detail
            self.log.error(
                "a run of a schedule made no job",
                schedule=occurrence.schedule,
                due_at=occurrence.document()["at"],
                problem=error.slug,
                detail=problem,
            )
        note = RunNote(due_at=occurrence.at, delivered_at=self.clock(), job_id=job_id, problem=problem)
        self.note(occurrence.schedule, note)
        return {"job_id": job_id} if problem is None else {"problem": problem}

    def repeat(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Makes the job of a run whose delivery failed (`failed_delivery`); where that fails again, SQS keeps it for a while longer."""
        [record] = event["Records"]
        delivery = failed_delivery(event)
        assert delivery is not None
        try:
            self.handle(delivery)
        except Unavailable as error:
            self.log.warning("a run of a schedule has no job yet", schedule=delivery[DELIVERY], detail=error.detail)
            pause = min(FIRST_PAUSE * 2 ** (int(record["attributes"]["ApproximateReceiveCount"]) - 1), LONGEST_PAUSE)
            queue, now = record["eventSourceARN"].rsplit(":", 1)[-1], self.clock()
            self.queues().hide(queue, record["receiptHandle"], now + pause, now)
            return {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
        return {"batchItemFailures": []}

    def _enqueue(self, occurrence: Occurrence, job: str, *, op: str) -> str:
        request = replace(
            parse_request(strict_json.parse(job.encode())),
            idempotency_key=occurrence.text,
            occurrence=occurrence.text,
            hash=hashlib.sha256(job.encode()).hexdigest()[:32],
        )
        try:
            return self.enqueueing.enqueue(request, op=op).job.id
        except IdempotencyKeyReused:
            # The schedule was changed between two deliveries of this run: the first one made its job.
            return derived_id(request.queue, occurrence.text)

    def _wait_for(self, occurrence: Occurrence) -> None:
        early = occurrence.at - self.clock()
        if early > LONGEST_SKEW:
            raise Unavailable(f"the run of {occurrence.text} is {early.total_seconds():g} s early: the clocks do not agree")
        if early > timedelta(0):
            self.sleep(early.total_seconds())


def failed_delivery(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The delivery in a batch of the operations queue that tells of a failed call of the function; `None` for any other event.

    (AWS Lambda developer guide, "Retaining records of asynchronous invocations": `requestPayload` is the event.)
    """
    if len(event.get("Records", ())) != 1:  # the batch size of that queue is 1
        return None
    try:
        delivery = json.loads(event["Records"][0]["body"])["requestPayload"]
    except (ValueError, KeyError, TypeError):
        return None
    return delivery if isinstance(delivery, dict) and DELIVERY in delivery else None
