"""One attempt: runs a handler and says how it ended. Whatever the handler does is this job's ending and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from jobline.context import Context
from jobline.deadline import AttemptTimedOut, deadline
from jobline.errors import InvalidJob, Unavailable, UnknownType
from jobline.log import RUNNING_JOB
from jobline.redaction import Redactor
from jobline.registry import Registry
from jobline.steering import LONGEST_WAIT, Cancel, Continue, NonRetryable, RetryAfter, Snooze
from jobline.transitions import MAX_SNOOZES, Cause, clip_error

RESULT_LIMIT = 2_500_000
"""Bytes of JSON that a result may take."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The handler returned; `result` is its JSON text."""

    result: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed. `retry_after`: seconds that the handler asked for; `None`: the policy decides."""

    error: str
    retryable: bool = True
    retry_after: float | None = None
    cause: Cause = "failed"


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The handler put its job off by `seconds`; `most`: so often it may, by its type."""

    seconds: float
    most: int = MAX_SNOOZES


@dataclass(frozen=True, slots=True)
class Continued:
    """The handler stopped at a checkpoint, and goes on from there in another run."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The handler asked for its job to be cancelled."""

    reason: str


Ending = Returned | Failed | Snoozed | Continued | Abandoned


@dataclass(frozen=True, slots=True)
class Unstarted:
    """No attempt: AWS did not give the payload this time, so the handler was not started."""

    reason: str


def attempt(registry: Registry, payload: Callable[[], str], context: Context, seconds: float) -> Ending | Unstarted:
    """Runs the handler of the context's job for at most `seconds`; never raises.

    `payload()` gives the payload's JSON text. When it raises `Unavailable` nothing is started; whatever else it raises fails the
    attempt. An unknown type is a failed attempt and not the end: during a deployment an older worker may meet a newer job.
    No ending tells a secret that the context's redactor knows of when the attempt ends.
    """
    redactor = context.tools.redactor
    running = RUNNING_JOB.set(context.id)
    try:
        with deadline(seconds):
            job_type = registry.get(context.type)
            try:
                text = payload()
            except Unavailable as error:
                return Unstarted(redactor.redact(error.detail))
            value = job_type(registry.decode(context.type, text), context)
            return Returned(encode_result(value))
    except RetryAfter as steering:
        return Failed(describe(steering, redactor), retry_after=steering.seconds)
    except Snooze as steering:
        return Snoozed(steering.seconds, registry.get(context.type).max_snoozes)
    except NonRetryable as steering:
        return Failed(describe(steering, redactor), retryable=False)
    except Cancel as steering:
        return Abandoned(redactor.redact(steering.reason))
    except Continue:
        return Continued()
    except UnknownType as error:
        return Failed(describe(error, redactor))
    except InvalidJob as error:
        return Failed(describe(error, redactor), retryable=False)
    except AttemptTimedOut as error:
        return Failed(f"AttemptTimedOut: took longer than {seconds:g} s", cause="timeout", retry_after=_backoff(registry, context, error))
    except BaseException as error:  # `sys.exit` and the like end this job, not its neighbours
        cause: Cause = "exit" if isinstance(error, SystemExit) else "failed"
        return Failed(describe(error, redactor), cause=cause, retry_after=_backoff(registry, context, error))
    finally:
        RUNNING_JOB.reset(running)


def _backoff(registry: Registry, context: Context, error: BaseException) -> float | None:
    """Seconds until the next attempt as the type's own `backoff` says; `None` leaves it to the policy.

    A backoff that raises or answers no number of seconds must not cost the job its next attempt: it is logged, and the policy decides.
    """
    backoff = registry.get(context.type).backoff
    if backoff is None:
        return None
    try:
        seconds = float(backoff(context.attempt - 1, error))
        if not 0 <= seconds <= LONGEST_WAIT:
            raise ValueError(f"{seconds!r} is not a number of seconds from 0 to {LONGEST_WAIT}")
    except Exception as reason:
        context.logger.warning(f"the backoff of type {context.type} cannot be used: {describe(reason, context.tools.redactor)}")
        return None
    return seconds


def encode_result(value: Any) -> str:
    """A handler's return value as JSON text; raises ValueError or TypeError for what JSON cannot say exactly."""
    text = json.dumps(msgspec.to_builtins(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    if size > RESULT_LIMIT:
        raise ValueError(f"the result takes {size:,} bytes of JSON; the limit is {RESULT_LIMIT:,}: return a reference to it")
    return text


def describe(error: BaseException, redactor: Redactor) -> str:
    """`Type: message` of an exception without secrets, cut to what a record keeps; one that cannot be shown is only named."""
    try:
        message = str(error)
    except Exception:
        message = "(its message cannot be shown)"
    # Redacted first: of a secret that is cut in two nobody would recognise the half.
    return clip_error(redactor.redact(f"{type(error).__name__}: {message}" if message else type(error).__name__))
