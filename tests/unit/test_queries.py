"""JMESPath from outside: a short expression cannot ask for more than there is room for, an honest one is asked as the library has it."""

from __future__ import annotations

import json
from typing import Any

import jmespath
import pytest

from jobline import queries
from jobline.bounded_queries import MOST

EVENT = {"a": [1, 2, {"b": "x"}], "n": 7, "names": ["ada", "bob"], "deep": [[1], [2, [3]]], "text": "x" * 50}


@pytest.mark.parametrize(
    "expression",
    [
        "|".join(["[@,@]"] * 40),
        "|".join(["to_string([@,@])"] * 40),
        "|".join(["[@,@]"] + ["[@[],@[]][]"] * 40),
        "|".join(["{a: @, b: @}"] * 40),
        "|".join(["join(text, [text, text])"] * 1) + "|" + "|".join(["join(@, [@, @, @])"] * 30),
        "|".join(["[@,@,@,@,@,@,@,@]"] * 30),
        "|".join(["[@,@]"] * 30) + " | length(to_string(@))",
        "[" + ",".join(["a"] * 100) + "] | " + " | ".join(["[@,@][]"] * 60),
    ],
)
def test_an_expression_that_doubles_itself_is_stopped(expression: str) -> None:
    assert len(expression) <= queries.LONGEST
    with pytest.raises(ValueError, match=f"more than {MOST:,}"):
        queries.ask(queries.compiled(expression), EVENT)


@pytest.mark.parametrize(
    "expression",
    [
        *("a[*].b", "a[?type(@) == 'number']", "names | join(', ', @)", "deep[]", "deep[][]", "{n: n, all: names[*]}", "length(a)"),
        *("to_string(a)", "sort_by(a[?b], &b)", "map(&to_string(@), names)", "max(a[?type(@) == 'number'])", "n > `5` && names[0]"),
        *("missing", "merge({a: n}, {b: n})", "names[::-1]", "keys(@) | sort(@)", "deep[*][0]", "not_null(missing, n)"),
    ],
)
def test_what_is_no_more_than_it_should_be_is_found_as_the_library_finds_it(expression: str) -> None:
    assert queries.ask(queries.compiled(expression), EVENT) == jmespath.search(expression, EVENT)


@pytest.mark.parametrize(("expression", "told"), [("length(n)", "length"), ("abs(text)", "abs"), ("sum(names)", "sum")])
def test_what_cannot_be_asked_of_a_document_says_why(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        queries.ask(queries.compiled(expression), EVENT)


def test_a_document_as_large_as_a_request_can_be_asked() -> None:
    event: dict[str, Any] = {"rows": [{"n": number, "text": "x" * 90} for number in range(20_000)]}
    assert len(json.dumps(event)) > 2_000_000
    assert queries.ask(queries.compiled("rows[?n == `7`].text | [0]"), event) == "x" * 90
    assert queries.ask(queries.compiled("length(rows)"), event) == 20_000
