"""What `jobs` prints: tables for people, JSON for programs. Only what a command found goes to stdout.

On a terminal tables have colours and fit its width; elsewhere nothing is ever cut.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Json = Mapping[str, Any]

_COLOURS: Final = {
    "pending": "blue",
    "scheduled": "blue",
    "running": "cyan",
    "failed": "yellow",
    "done": "green",
    "dead": "red",
    "cancelled": "magenta",
    "expired": "magenta",
}
_WIDE: Final = 10_000


def show_json(text: str | bytes) -> None:
    """Prints JSON indented, every number and text as it came."""
    from msgspec import json

    encoded = text.encode() if isinstance(text, str) else text
    _write(json.format(encoded, indent=2).decode())


def show_enqueued(job: Json, *, replayed: bool) -> None:
    before = "already enqueued" if replayed else "enqueued"
    when = f", due {job['scheduled_at']}" if job["scheduled_at"] > job["created_at"] else ""
    _print(_line(before, job, when))


def show_rescheduled(job: Json) -> None:
    _print(_line("moved", job, f", due {job['scheduled_at']}, priority {job['priority']}"))


def show_retried(jobs: Iterable[Json]) -> None:
    for job in jobs:
        _print(_line("retried", job))


def show_cancelled(answers: Mapping[str, Json]) -> None:
    for id, answer in answers.items():
        word = "cancelled" if answer.get("cancelled") else "cancel requested; it is running and may still end done:"
        _write(f"{word} {_plain(id)}")


def show_switched(queue: str, answer: Json) -> None:
    word = "paused" if answer["paused"] else "resumed"
    _write(f"{word} {queue}. {_plain(str(answer.get('detail', '')))}".rstrip())


def show_operation(verb: str, queue: str, job: Json) -> None:
    """What an operation on many jobs came to: `purge emails: 3 cancelled, 120 deleted`."""
    result = job["result"]
    if job["status"] != "done" or not isinstance(result, dict):
        _print(_line(verb, job, f" {_plain(job['error'] or '')}".rstrip()))
        return
    counts = [f"{count} {_plain(str(name))}" for name, count in result.items() if name != "dry_run"]
    told = ", ".join(counts) or "no job fits"
    _write(f"{verb} {queue}{' (dry run: nothing was changed)' if result.get('dry_run') else ''}: {told}")


def show_progress(progress: Any) -> None:
    """A line on stderr."""
    if (told := _progress(progress)) is not None:
        print(_plain(told), file=sys.stderr, flush=True)


def show_job(job: Json) -> None:
    """A job's fields, those that are known, one a line."""
    from rich.text import Text

    table = _table()
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows: dict[str, Any] = {
        "id": job["id"],
        "type": job["type"],
        "queue": job["queue"],
        "status": _status(job["status"]),
        "error": job["error"],
        "attempts": f"{job['attempts']} of {job['max_attempts']}",
        "priority": job["priority"],
        "progress": _progress(job.get("progress")),
        "created": _when(job["created_at"]),
        "scheduled": _when(job["scheduled_at"]) if job["scheduled_at"] != job["created_at"] else None,
        "started": _when(job["started_at"]),
        "completed": _when(job["completed_at"]),
        "expires": _when(job.get("expires_at")),
        "tags": ", ".join(job.get("tags") or ()) or None,
        "payload": _json(job["payload"]) or job.get("payload_url"),
        "result": _json(job["result"]) or job.get("result_url"),
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, value if isinstance(value, Text) else Text(_plain(str(value))))
    _print(table)


def show_jobs(jobs: Iterable[Json], *, more: bool) -> None:
    """Jobs, one a line; a word on stderr when there are more than were asked for."""
    from rich.text import Text

    table = _table(show_header=True)
    for name in ("ID", "TYPE", "STATUS", "ATTEMPTS", "CREATED"):
        table.add_column(name, no_wrap=True)
    table.add_column("ERROR", overflow="ellipsis", no_wrap=True)
    for job in jobs:
        cells = (job["id"], job["type"], _status(job["status"]), f"{job['attempts']}/{job['max_attempts']}", _when(job["created_at"]))
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell or "") for cell in cells), Text(_plain(job["error"] or "")))
    if table.row_count:
        _print(table)
    else:
        print("No jobs.", file=sys.stderr)
    if more:
        print("There are more; --limit shows them.", file=sys.stderr)


def show_reason(reason: Json) -> None:
    """One sentence, after the job's status."""
    from rich.text import Text

    _print(Text.assemble(_status(reason["status"]), ": ", _plain(reason["reason"])))


def show_events(events: Iterable[Json], *, truncated: bool) -> None:
    """What happened to a job, one thing a line; a word on stderr when the record holds only the newest."""
    from rich.text import Text

    table = _table(show_header=True)
    for name in ("AT", "EVENT", "ATTEMPT", "TOOK"):
        table.add_column(name, no_wrap=True)
    table.add_column("DETAIL", overflow="fold")
    for event in events:
        took = _seconds(event["seconds"]) if "seconds" in event else ""
        table.add_row(_plain(event["at"]), _status(event["event"]), str(event["attempt"] or ""), took, Text(_plain(event["detail"])))
    _print(table)
    if truncated:
        print("There was more; a record keeps its newest entries.", file=sys.stderr)


def show_stats(queue: str, stats: Json) -> None:
    """A queue's numbers, with their units."""
    table = _table()
    table.add_column(style="dim")
    table.add_column()
    rows = {
        "queue": queue + ("  (paused)" if stats["paused"] else ""),
        "pending": stats["pending"],
        "scheduled": stats["scheduled"],
        "running": stats["running"],
        "failed": f"{stats['failed']}  ({stats['retrying']} retrying, {stats['dead']} dead)",
        "done": f"{stats['done']}  (last 24 h)",
        "wait": f"{_seconds(stats['avg_wait_time'])} average, {_seconds(stats['p95_wait_time'])} 95th percentile  (last 60 min)",
        "run": f"{_seconds(stats['avg_run_time'])} average  (last 60 min)",
        "oldest job": _seconds(stats["oldest_job_age"]),
        "rates": f"{stats['enqueue_rate']:g}/s in, {stats['dequeue_rate']:g}/s started  (last 5 min)",
        "errors": f"{stats['error_rate']:.1%} of attempts  (last 5 min)",
        "workers": stats["active_workers"],
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    _print(table)


# ---------------------------------------------------------------------------------------------------- words


def _line(verb: str, job: Json, more: str = "") -> Text:
    from rich.text import Text

    return Text.assemble(
        f"{verb} ", (_plain(job["id"]), "bold"), f" {_plain(job['type'])} on {_plain(job['queue'])}: ", _status(job["status"]), more
    )


def _status(status: str) -> Text:
    from rich.text import Text

    return Text(_plain(status), style=_COLOURS.get(status, ""))


def _when(at: str | None) -> str | None:
    """The time as it came, and how far from now: `2026-01-31T09:30:00Z (2 min ago)`."""
    if at is None:
        return None
    distance = (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()
    return f"{at} ({_seconds(distance)} ago)" if distance >= 0 else f"{at} (in {_seconds(-distance)})"


def _seconds(amount: float | None) -> str:
    """A duration in the largest unit that fits: `2.3 s`, `4 min`, `3 h`, `2 d`; a dash when it is not known."""
    if amount is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if amount >= 2 * size:
            return f"{amount / size:.0f} {unit}"
    return f"{amount:.3g} s"


def _progress(progress: Any) -> str | None:
    if not isinstance(progress, dict):
        return None
    return f"{progress.get('percent')} % {progress.get('note') or ''}".strip()


def _json(value: Any) -> str | None:
    from msgspec import json

    return None if value is None else json.encode(value).decode()


def _plain(text: str) -> str:
    """Text whose control characters cannot steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _table(*, show_header: bool = False) -> Table:
    from rich.table import Table

    return Table(box=None, show_header=show_header, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _print(what: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_WIDE, color_system=None)
    with console.capture() as capture:
        console.print(what)
    _write("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _write(text: str) -> None:
    try:
        # Flushed here, so that a reader who has gone (`jobs list emails | head`) is noticed here: it has seen enough.
        print(text, flush=True)
    except BrokenPipeError:
        import typer

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
