"""Reads what options say without pydantic, which Typer would import for it: more time than all the rest of a command takes.

Typer reads each value with a pydantic adapter that it builds when the first value comes. Every type that our commands use is
simple, so it is read here. A value of another type, or a Typer that keeps its types elsewhere, goes Typer's own way.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

from typer import BadParameter

_SIMPLE = (str, int, float, bool)


def spare(parameters: Sequence[Any]) -> None:
    """Makes each of these options and arguments of a command read its values here, if we know its type."""
    for parameter in parameters:
        annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
        if _is_simple(_element(annotation)) and "process_value" not in vars(parameter):
            parameter.process_value = _reader(parameter, _element(annotation), parameter.process_value)


def _reader(parameter: Any, kind: Any, typers_own: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    limits = getattr(parameter.type_descriptor, "parameter_info", None)
    many = parameter.multiple or parameter.nargs == -1

    def process_value(context: Any, value: Any) -> Any:
        if value is None or (many and not value):
            if parameter.required:
                return typers_own(context, value)  # which says what is missing
            value = () if many else None
        elif many:
            value = [_read(kind, each, limits, context, parameter) for each in value]
        else:
            value = _read(kind, value, limits, context, parameter)
        return value if parameter.callback is None else parameter.callback(context, parameter, value)

    return process_value


def _read(kind: Any, value: Any, limits: Any, context: Any, parameter: Any) -> Any:
    """The value that a text means. Raises BadParameter."""

    def wrong(why: str) -> BadParameter:
        return BadParameter(why, ctx=context, param=parameter)

    if isinstance(value, kind):
        return value
    if issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError:
            raise wrong(f"{value!r} is not one of {', '.join(str(each.value) for each in kind)}") from None
    if kind is bool:
        raise wrong(f"{value!r} is neither yes nor no")
    try:
        number = kind(value)
    except ValueError:
        raise wrong(f"{value!r} is not a {'whole ' if kind is int else ''}number") from None
    least, most = getattr(limits, "min", None), getattr(limits, "max", None)
    if not ((least is None or number >= least) and (most is None or number <= most)):  # so that NaN is refused, too
        raise wrong(f"{value} is not {_range(least, most)}")
    return number


def _range(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return f"at most {most}" if least is None else f"at least {least}"
    return f"from {least} to {most}"


def _element(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is list else annotation


def _is_simple(kind: Any) -> bool:
    return kind in _SIMPLE or (isinstance(kind, type) and issubclass(kind, enum.Enum))
