"""Which jobs of a queue an operator means: a filter, as a purge or a redrive is asked with it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from jobline.fields import Reader
from jobline.job import Job
from jobline.listing import FILTERS
from jobline.times import LONGEST_TEXT, format_instant, parse_instant

LONGEST_ERROR: Final = 2048
SLOWEST: Final = 0.1
FASTEST: Final = 1000
MOST: Final = 1_000_000_000

Ended = Literal["failed", "retrying", "dead", "cancelled", "expired"]
"""What can be run again, by the names of `GET /jobs`: `failed` is both `retrying` and `dead`."""
Removable = Literal["pending", "scheduled", "retrying", "failed", "dead", "done", "cancelled", "expired"]


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What narrows an operation on many jobs; what is left out narrows nothing."""

    queue: Annotated[str, Meta(min_length=1, max_length=64, description="The queue whose jobs are meant.")]
    type: Annotated[Annotated[str, Meta(min_length=1, max_length=64)] | None, Meta(description="Only jobs of this type.")] = None
    error: Annotated[
        Annotated[str, Meta(min_length=1, max_length=LONGEST_ERROR)] | None,
        Meta(description="Part of the error's text; `TimeoutError:` takes a whole kind of error."),
    ] = None
    before: Annotated[
        Annotated[str, Meta(max_length=LONGEST_TEXT)] | None,
        Meta(description="Only jobs created before this time (RFC 3339); the operation's own creation when left out, and never later."),
    ] = None
    limit: Annotated[Annotated[int, Meta(ge=1, le=MOST)] | None, Meta(description="At most so many jobs are changed.")] = None
    rate: Annotated[Annotated[float, Meta(ge=SLOWEST, le=FASTEST)] | None, Meta(description="Jobs changed per second at most.")] = None
    dry_run: Annotated[bool, Meta(description="Whether to count only.")] = False

    @property
    def statuses(self) -> str | None:
        """The status asked for, by the names of `GET /jobs`; `None`: every one."""
        return None

    def wants(self, job: Job, *, began: datetime) -> bool:
        """Whether this record is meant, by an operation that was asked for at `began`.

        Jobs that were created or ended since then are not: so an operation that is repeated, or that meets its own work again, does
        nothing twice (R31).
        """
        before = began if self.before is None else min(began, parse_instant(self.before))
        return (
            job.status in FILTERS[self.statuses][1]
            and self.type in {None, job.type}
            and (self.error is None or self.error in (job.error or ""))
            and job.created_at < before
            and (job.completed_at is None or job.completed_at < began)
        )


class Purge(Selection, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Which jobs to purge."""

    status: Annotated[
        Removable | None, Meta(description="Only jobs with this status; failed is retrying and dead. All that do not run when left out.")
    ] = None

    @property
    def statuses(self) -> str | None:
        return self.status


class Redrive(Selection, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Which jobs to run again."""

    status: Annotated[Ended, Meta(description="Which jobs; failed is retrying and dead.")] = "dead"

    @property
    def statuses(self) -> str | None:
        return self.status

    def wants(self, job: Job, *, began: datetime) -> bool:
        """As of any selection; and a job that has started since the operation began is not meant, even when it failed again."""
        return super().wants(job, began=began) and (job.started_at is None or job.started_at < began)


# ---------------------------------------------------------------------------------------------------- as a request writes it


def _text(most: int) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= most:
            raise ValueError(f"must be text of 1 to {most} characters")
        return value

    return read


def _one_of(names: tuple[str, ...]) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"must be one of {', '.join(sorted(names))}")
        return value

    return read


def _rate(value: Any) -> float:
    if type(value) not in {int, float} or not SLOWEST <= value <= FASTEST:
        raise ValueError(f"must be a number of jobs per second, from {SLOWEST} to {FASTEST}")
    return float(value)


def _limit(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MOST:
        raise ValueError(f"must be a whole number from 1 to {MOST}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


_FIELDS: Final[dict[str, Reader]] = {
    "type": _text(64),
    "error": _text(LONGEST_ERROR),
    "before": lambda value: format_instant(parse_instant(value)),
    "limit": _limit,
    "rate": _rate,
    "dry_run": _flag,
}
PURGE_FIELDS: Final[dict[str, Reader]] = {"status": _one_of(get_args(Removable)), **_FIELDS}
"""The fields of a purge's body, each read by itself."""
REDRIVE_FIELDS: Final[dict[str, Reader]] = {"status": _one_of(get_args(Ended)), **_FIELDS}
