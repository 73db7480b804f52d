"""The page of states is what the code says, no more and no less."""

from __future__ import annotations

import re

from jobline import diagram
from jobline.job import TERMINAL, TRANSITIONS, Status


def test_the_committed_page_is_what_the_code_makes() -> None:
    assert diagram.PAGE.read_text(encoding="utf-8") == diagram.page(), "the states have changed: run `python -m jobline.diagram`"


def test_every_move_of_every_event_is_an_arrow_and_nothing_else_is() -> None:
    drawn = {
        (source, target, event)
        for source, target, events in re.findall(r"^    (\S+) --> (\S+): (.+)$", diagram.page(), re.MULTILINE)
        for event in events.split(", ")
    }
    moves = {(*move, event) for event, row in TRANSITIONS.items() for move in row.moves}
    created = {(diagram.NOWHERE, status, "enqueue") for status in TRANSITIONS["enqueue"].targets}
    assert drawn == moves | created | {(status, diagram.NOWHERE, "retention") for status in TERMINAL}


def test_every_state_says_what_it_is() -> None:
    assert list(diagram.meanings()) == list(Status)
    assert diagram.meanings()[Status.FAILED].startswith("The last attempt failed")


def test_what_an_event_leaves_as_it_is_is_no_way_to_anywhere() -> None:
    assert TRANSITIONS["watch"].moves == {(status, status) for status in TRANSITIONS["watch"].sources}
    assert (Status.FAILED, Status.PENDING) not in TRANSITIONS["reschedule"].moves
    assert (Status.PENDING, Status.FAILED) not in TRANSITIONS["reschedule"].moves
    assert (Status.PENDING, Status.SCHEDULED) in TRANSITIONS["reschedule"].moves
