"""JMESPath that comes to an end in the room there is: a short expression can ask for more than any memory holds.

`[@,@]` a few times over doubles what it is given each time, `to_string` and flattening make real text and lists of that. So what an
expression makes is counted while it is made, and one that makes too much is stopped.
"""

from __future__ import annotations

from typing import Any, Final

from jmespath.functions import Functions, signature
from jmespath.visitor import Options, TreeInterpreter

MOST: Final = 2_000_000
"""Elements, members and characters that one evaluation may make in all, and its result may have: less than a request's 2.5 MB."""


class TooMuch(ValueError):
    """The expression makes more than `MOST`."""

    def __init__(self) -> None:
        super().__init__(f"it makes more than {MOST:,} elements and characters of it")


def weight(value: Any) -> int:
    """Elements, members and characters of a JSON value, as its text will have them: what stands in it twice counts twice.

    Raises TooMuch once it is more than may be, however much more it is.
    """
    total, left = 0, [value]
    while left:
        one = left.pop()
        total += 1 + (len(one) if isinstance(one, (str, list, dict)) else 0)
        if total > MOST:
            raise TooMuch
        if isinstance(one, dict):
            total += sum(len(name) for name in one)
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return total


class _Functions(Functions):  # type: ignore[misc]  # the library has no types
    """The library's functions; those that make long text say so before they do."""

    @signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_to_string(self, arg: Any) -> Any:
        weight(arg)
        return Functions._func_to_string(self, arg)

    @signature({"types": ["string"]}, {"types": ["array-string"]})  # type: ignore[untyped-decorator]
    def _func_join(self, separator: str, array: list[str]) -> str:
        if sum(len(one) + len(separator) for one in array) > MOST:
            raise TooMuch
        return separator.join(array)


class BoundedInterpreter(TreeInterpreter):  # type: ignore[misc]  # the library has no types
    """Asks a parsed expression of one document, for one evaluation only."""

    def __init__(self) -> None:
        super().__init__(Options(custom_functions=_Functions()))
        self._made = 0

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        value = super().visit(node, *args, **kwargs)
        self._count(1 + (len(value) if isinstance(value, (str, list, dict)) else 0))
        return value

    def visit_flatten(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self._count(sum(len(one) if isinstance(one, list) else 1 for one in base))
        merged: list[Any] = []
        for one in base:
            merged += one if isinstance(one, list) else [one]
        return merged

    def _count(self, more: int) -> None:
        self._made += more
        if self._made > MOST:
            raise TooMuch
