"""The states of a job as a page of documentation, made from `TRANSITIONS`: `python -m jobline.diagram` writes docs/states.md.

Everything is in the order of the code, so the same code gives the same page.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jobline.job import TERMINAL, TRANSITIONS, Status

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "states.md"
NOWHERE: Final = "[*]"
"""Before the enqueue and after the retention, as Mermaid writes it (Mermaid documentation, "State diagrams")."""


def page() -> str:
    """The page's text: a Mermaid diagram, every state with its docstring, and every event with who does it, from where to where."""
    return "\n".join([*_head(), *_diagram(), "", *_states(), "", *_events(), ""])


def arrows() -> dict[tuple[str, str], list[str]]:
    """The events of each arrow, (from, to); a job comes from and goes to `[*]`."""
    found: dict[tuple[str, str], list[str]] = {}
    for event, row in TRANSITIONS.items():
        for source, target in [(NOWHERE, target) for target in row.targets if not row.sources] + list(row.moves):
            found.setdefault((source, target), []).append(event)
    found |= {(status, NOWHERE): ["retention"] for status in TERMINAL}
    order = [NOWHERE, *Status]
    return dict(sorted(found.items(), key=lambda arrow: (order.index(arrow[0][0]), order.index(arrow[0][1]))))


def meanings() -> dict[Status, str]:
    """What each state is: the docstring under it in the code."""
    (enum,) = ast.parse(inspect.getsource(Status)).body
    assert isinstance(enum, ast.ClassDef)
    found: dict[Status, str] = {}
    for member, text in zip(enum.body, enum.body[1:], strict=False):
        match member, text:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(docstring))):
                found[Status[name]] = " ".join(docstring.split())
    return found


def _head() -> Iterator[str]:
    yield "# The states of a job"
    yield ""
    yield "> Generated from `TRANSITIONS` in `jobline/job.py` by `python -m jobline.diagram`; a test holds the two together."
    yield "> What each event asks for and writes is in [the protocol](protocol.md). Whatever is not here is refused."
    yield ""


def _diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    for (source, target), events in arrows().items():
        yield f"    {source} --> {target}: {', '.join(events)}"
    yield "```"


def _states() -> Iterator[str]:
    yield "| state | terminal | what it is |"
    yield "|---|---|---|"
    for status, meaning in meanings().items():
        yield f"| `{status}` | {'yes' if status in TERMINAL else ''} | {meaning} |"


def _events() -> Iterator[str]:
    yield "| event | who | from | to |"
    yield "|---|---|---|---|"
    for event, row in TRANSITIONS.items():
        stays = "stays as it is" if row.kept == row.sources else _names(row.targets - row.kept)
        if row.kept and row.kept != row.sources:
            stays += f"; {_names(row.kept)} stays"
        yield f"| {event} | {row.actor} | {_names(row.sources) or 'nothing'} | {stays if row.sources else _names(row.targets)} |"


def _names(statuses: frozenset[Status]) -> str:
    return ", ".join(f"`{status}`" for status in Status if status in statuses)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
