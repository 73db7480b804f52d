"""What `jobs` prints: tables for people, JSON for programs. Only what a command found goes to stdout.

On a terminal tables have colours and fit its width; elsewhere nothing is ever cut.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
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
_CONTROLS: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def show_json(text: str | bytes) -> None:
    """Prints JSON indented, every number and text as it came."""
    from msgspec import json

    encoded = text.encode() if isinstance(text, str) else text
    write(_tame(json.format(encoded, indent=2).decode()))


def show_line(text: str | bytes) -> None:
    """Prints JSON on one line, every number and text as it came."""
    from msgspec import json

    write(_tame(json.format(text.encode() if isinstance(text, str) else text, indent=-1).decode()))


def show_enqueued(job: Json, *, replayed: bool) -> None:
    before = "already enqueued" if replayed else "enqueued"
    when = f", due {job['scheduled_at']}" if job["scheduled_at"] > job["created_at"] else ""
    show(_line(before, job, when))


def show_rescheduled(job: Json) -> None:
    show(_line("moved", job, f", due {job['scheduled_at']}, priority {job['priority']}"))


def show_retried(jobs: Iterable[Json]) -> None:
    for job in jobs:
        show(_line("retried", job))


def show_cancelled(answers: Mapping[str, Json]) -> None:
    for id, answer in answers.items():
        word = "cancelled" if answer.get("cancelled") else "cancel requested; it is running and may still end done:"
        write(f"{word} {plain(id)}")


def show_switched(queue: str, answer: Json) -> None:
    word = "paused" if answer["paused"] else "resumed"
    write(f"{word} {queue}. {plain(str(answer.get('detail', '')))}".rstrip())


def show_operation(verb: str, queue: str, job: Json) -> None:
    """What an operation on many jobs came to: `purge emails: 3 cancelled, 120 deleted`."""
    result = job["result"]
    if job["status"] != "done" or not isinstance(result, dict):
        show(_line(verb, job, f" {plain(job['error'] or '')}".rstrip()))
        return
    counts = [f"{count} {plain(str(name))}" for name, count in result.items() if name != "dry_run"]
    told = ", ".join(counts) or "no job fits"
    write(f"{verb} {queue}{' (dry run: nothing was changed)' if result.get('dry_run') else ''}: {told}")


def show_job(job: Json) -> None:
    show(job_table(job))


def job_table(job: Json) -> Table:
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
        "progress": progress_words(job.get("progress")),
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
            table.add_row(name, value if isinstance(value, Text) else Text(plain(str(value))))
    return table


def show_jobs(jobs: Iterable[Json], *, more: bool) -> None:
    """Jobs, one a line; a word on stderr when there are more than were asked for."""
    table = jobs_table(jobs)
    if table.row_count:
        show(table)
    else:
        note("No jobs.")
    if more:
        note("There are more; --limit shows them.")


def jobs_table(jobs: Iterable[Json]) -> Table:
    """Jobs, one a line."""
    from rich.text import Text

    table = _table(show_header=True)
    for name in ("ID", "TYPE", "STATUS", "ATTEMPTS", "CREATED"):
        table.add_column(name, no_wrap=True)
    table.add_column("ERROR", overflow="ellipsis", no_wrap=True)
    for job in jobs:
        cells = (
            plain(job["id"]),
            plain(job["type"]),
            _status(job["status"]),
            f"{job['attempts']}/{job['max_attempts']}",
            _when(job["created_at"]),
        )
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell or "") for cell in cells), Text(plain(job["error"] or "")))
    return table


def show_reason(reason: Json) -> None:
    """One sentence, after the job's status."""
    from rich.text import Text

    show(Text.assemble(_status(reason["status"]), ": ", plain(reason["reason"])))


def show_events(events: Iterable[Json], *, truncated: bool) -> None:
    """What happened to a job, one thing a line; a word on stderr when the record holds only the newest."""
    from rich.text import Text

    table = _table(show_header=True)
    for name in ("AT", "EVENT", "ATTEMPT", "TOOK"):
        table.add_column(name, no_wrap=True)
    table.add_column("DETAIL", overflow="fold")
    for event in events:
        took = _seconds(event["seconds"]) if "seconds" in event else ""
        table.add_row(plain(event["at"]), _status(event["event"]), str(event["attempt"] or ""), took, Text(plain(event["detail"])))
    show(table)
    if truncated:
        note("There was more; a record keeps its newest entries.")


def show_stats(queue: str, stats: Json) -> None:
    show(stats_table(queue, stats))


def stats_table(queue: str, stats: Json) -> Table:
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
        table.add_row(name, plain(str(value)))
    return table


# ---------------------------------------------------------------------------------------------------- words


def _line(verb: str, job: Json, more: str = "") -> Text:
    from rich.text import Text

    return Text.assemble(
        f"{verb} ", (plain(job["id"]), "bold"), f" {plain(job['type'])} on {plain(job['queue'])}: ", _status(job["status"]), more
    )


def _status(status: str) -> Text:
    from rich.text import Text

    return Text(plain(status), style=_COLOURS.get(status, ""))


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


def _json(value: Any) -> str | None:
    from msgspec import json

    return None if value is None else json.encode(value).decode()


def plain(text: str) -> str:
    """Text whose control characters cannot steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _tame(text: str) -> str:
    """JSON whose texts cannot steer the terminal: what JSON itself does not escape of control characters is escaped."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def progress_words(progress: Any) -> str | None:
    """`50 % half`; `None` when nothing was reported."""
    if not isinstance(progress, dict):
        return None
    return plain(f"{progress.get('percent')} % {progress.get('note') or ''}".strip())


def pairs_table(rows: Mapping[str, Any]) -> Table:
    """A table of names and what they are, one a line."""
    from rich.text import Text

    table = _table()
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value if isinstance(value, Text) else Text(plain(str(value))))
    return table


def rows_table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    """A table of texts, the last column folded where the terminal is narrow."""
    from rich.text import Text

    table, names = _table(show_header=True), list(header)
    for name in names[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(names[-1], overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(plain("" if cell is None else str(cell))) for cell in row))
    return table


def _table(*, show_header: bool = False) -> Table:
    from rich.table import Table

    return Table(box=None, show_header=show_header, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def console() -> Console:
    """Where stdout is a terminal: its width and, unless NO_COLOR is set, its colours. Elsewhere nothing is cut or coloured."""
    from rich.console import Console

    found = Console(highlight=False, markup=False, emoji=False)
    if found.is_terminal:
        return found
    return Console(highlight=False, markup=False, emoji=False, width=_WIDE, color_system=None, force_terminal=False)


def show(what: Any) -> None:
    """Prints a table or a text of Rich's."""
    paper = console()
    with paper.capture() as capture:
        paper.print(what)
    write("\n".join(line.rstrip() for line in capture.get().splitlines()))


def note(sentence: str) -> None:
    """A word to whoever sits there, on stderr: it is no part of what was asked for."""
    with contextlib.suppress(BrokenPipeError):
        print(plain(sentence), file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Prints a text as it is; whoever has the text from elsewhere makes it `plain` first."""
    try:
        # Flushed here, so that a reader who has gone (`jobs list emails | head`) is noticed here: it has seen enough.
        print(text, flush=True)
    except BrokenPipeError:
        import typer

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
