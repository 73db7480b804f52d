"""The page of a day's report: HTML that needs nothing else, with charts as SVG inside it, light or dark as its reader has it.

It is written so that it is well-formed XML too, and runs no script. Whatever a chart shows is in a table as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

SERIES: Final = (("done", "done"), ("rest", "waiting, running, cancelled or expired"), ("dead", "dead"))
"""Class of the bars, and what they are."""
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 220, 56, 28
BAR_HEIGHT: Final = 22
STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1c2430; --dim: #5b6675; --line: #d5dae1; --done: #2f6fb3; --rest: #b9c3cf; --dead: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181f; --ink: #e6eaf0; --dim: #a3adba; --line: #39424e; --done: #6aa7e8; --rest: #56616e; --dead: #ff8a80; }
}
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { margin-bottom: 0; } .dim { color: var(--dim); } .wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; } caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.text { white-space: normal; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; } svg .axis { stroke: var(--line); }
.done { fill: var(--done); } .rest { fill: var(--rest); } .dead { fill: var(--dead); }
"""


def page(figures: Mapping[str, Any]) -> str:
    """The page as text; equal figures make an equal page."""
    day = escape(figures["day"])
    queues = figures["queues"]
    body = [
        f"<h1>Jobline on {day}</h1>",
        _span(figures),
        _incomplete(queues),
        f"<h2>All queues</h2>{_hours_chart(figures)}{_queues_chart(queues)}",
        _table("How the jobs of each queue ended", OVERVIEW, [*map(_overview, queues), _overview({"queue": "all", **figures["total"]})]),
        _table("How long they waited and ran, in seconds", TIMES, [*map(_times, queues), _times({"queue": "all", **figures["total"]})]),
        "<h2>By the hour</h2>",
        _table("Jobs by the hour in which they were enqueued", ("hour", "enqueued", "done", "dead"), _hours(figures)),
        "<h2>Queues</h2>",
        *map(_queue, (queue for queue in queues if queue["slowest_types"] or queue["top_errors"])),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
        f"<title>Jobline on {day}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{''.join(body)}\n</main>\n</body>\n</html>\n"
    )


def _span(figures: Mapping[str, Any]) -> str:
    start, end, zone, as_of = (escape(figures[name]) for name in ("from", "to", "timezone", "as_of"))
    span = f"{start} to {end} ({zone}, {len(figures['hours'])} hours)"
    return f'<p class="dim">Jobs that were enqueued from {span}, as they stood at {as_of}.</p>'


OVERVIEW: Final = ("queue", "enqueued", "done", "dead", "cancelled", "expired", "open", "retried", "attempts")
TIMES: Final = ("queue", "wait, average", "wait, p95", "run, average", "run, p95", "longest run")


def _overview(queue: Mapping[str, Any]) -> list[str]:
    return [queue["queue"], *(f"{queue[name]:,}" for name in OVERVIEW[1:])]


def _times(queue: Mapping[str, Any]) -> list[str]:
    wait, run = queue["wait"] or {}, queue["run"] or {}
    return [queue["queue"], *map(_seconds, (wait.get("avg"), wait.get("p95"), run.get("avg"), run.get("p95"), run.get("longest")))]


def _hours(figures: Mapping[str, Any]) -> list[list[str]]:
    hours = zip(figures["hours"], figures["total"]["hours"], strict=True)
    return [[label, *(f"{hour[name]:,}" for name in ("enqueued", "done", "dead"))] for label, hour in hours]


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:,.3f}" if seconds < 10 else f"{seconds:,.1f}"


def _incomplete(queues: Sequence[Mapping[str, Any]]) -> str:
    names = [escape(queue["queue"]) for queue in queues if queue["incomplete"]]
    if not names:
        return ""
    return f"<p><strong>Not complete:</strong> records of ended jobs are kept for less than a day or two in {', '.join(names)}.</p>"


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    first = '<td class="text">{}</td>' if text else '<th scope="row">{}</th>'
    lines = (f"<tr>{first.format(escape(row[0]))}{''.join(f'<td>{escape(value)}</td>' for value in row[1:])}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _queue(queue: Mapping[str, Any]) -> str:
    parts = [f"<h3>{escape(queue['queue'])}</h3>"]
    if queue["slowest_types"]:
        rows = [
            [one["type"], f"{one['jobs']:,}", *(_seconds(one["run"][name]) for name in ("avg", "p95", "longest"))]
            for one in queue["slowest_types"]
        ]
        parts.append(_table("Slowest types, in seconds", ("type", "jobs", "run, average", "run, p95", "longest run"), rows))
    if queue["top_errors"]:
        errors = [[one["error"], f"{one['attempts']:,}"] for one in queue["top_errors"]]
        parts.append(_table("Errors", ("error", "attempts"), errors, text=True))
    return "".join(parts)


# ---------------------------------------------------------------------------------------------------- charts


def _svg(id: str, height: int, title: str, description: str, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-labelledby="{id}-title {id}-desc"><title id="{id}-title">{escape(title)}</title>'
        f'<desc id="{id}-desc">{escape(description)}</desc>{"".join(parts)}</svg>'
    )


def _rectangle(kind: str, x: float, y: float, width: float, height: float, told: str) -> str:
    if width <= 0 or height <= 0:
        return ""
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {box}><title>{escape(told)}</title></rect>'


def _legend(y: int) -> str:
    places = (LEFT, LEFT + 80, LEFT + 380)
    return "".join(
        f'<rect class="{kind}" x="{x}" y="{y - 10}" width="12" height="12"/><text x="{x + 17}" y="{y}">{name}</text>'
        for x, (kind, name) in zip(places, SERIES, strict=True)
    )


def _shares(one: Mapping[str, int]) -> dict[str, int]:
    return {"done": one["done"], "rest": one["enqueued"] - one["done"] - one["dead"], "dead": one["dead"]}


def _hours_chart(figures: Mapping[str, Any]) -> str:
    hours, labels = figures["total"]["hours"], figures["hours"]
    most = max((hour["enqueued"] for hour in hours), default=0)
    plot, step = HEIGHT - BOTTOM - 20, (WIDTH - LEFT) / len(hours)
    parts = [_legend(HEIGHT + 18), f'<line class="axis" x1="{LEFT}" x2="{WIDTH}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>']
    parts.append(f'<text x="{LEFT - 6}" y="16" text-anchor="end">{most:,}</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{HEIGHT - BOTTOM}" text-anchor="end">0</text>')
    for number, (hour, label) in enumerate(zip(hours, labels, strict=True)):
        x, y = LEFT + number * step, float(HEIGHT - BOTTOM)
        for kind, count in _shares(hour).items():
            height = plot * count / most if most else 0
            y -= height
            parts.append(_rectangle(kind, x + 2, y, step - 4, height, f"{label}: {count:,} {kind if kind != 'rest' else 'other'}"))
        if number % 3 == 0:
            parts.append(f'<text x="{x + 2:.1f}" y="{HEIGHT - BOTTOM + 16}">{escape(label)}</text>')
    total = figures["total"]["enqueued"]
    told = f"{total:,} jobs over {len(hours)} hours, at most {most:,} in one; the table “By the hour” has the same numbers."
    return _svg("hours", HEIGHT + 24, "Jobs by the hour in which they were enqueued", told, parts)


def _queues_chart(queues: Sequence[Mapping[str, Any]]) -> str:
    shown = [queue for queue in queues if queue["enqueued"]]
    if not shown:
        return "<p>No job was enqueued on this day.</p>"
    most, left = max(queue["enqueued"] for queue in shown), 180
    parts = []
    for number, queue in enumerate(shown):
        x, y = float(left), number * (BAR_HEIGHT + 6)
        name = queue["queue"] if len(queue["queue"]) <= 24 else queue["queue"][:23] + "…"
        parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        for kind, count in _shares(queue).items():
            width = (WIDTH - left - 70) * count / most
            parts.append(_rectangle(kind, x, y, width, BAR_HEIGHT, f"{queue['queue']}: {count:,} {kind if kind != 'rest' else 'other'}"))
            x += width
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 16}">{queue["enqueued"]:,}</text>')
    height = len(shown) * (BAR_HEIGHT + 6) + 24
    parts.append(_legend(height - 6))
    told = f"{len(shown)} queues, the largest with {most:,} jobs; the table that follows has the same numbers."
    return _svg("queues", height, "Jobs by queue and outcome", told, parts)
