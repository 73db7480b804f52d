"""A type of job: a handler and what it declares about its jobs, checked when the file is imported."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from jobline.errors import InvalidDefinitions
from jobline.retry import MAX_ATTEMPTS_LIMIT, RetryPolicy
from jobline.secret_fields import SECRET
from jobline.transitions import MAX_SNOOZES

if TYPE_CHECKING:
    from jobline.context import Context

LONGEST_JOB: Final = 870
"""Seconds: Lambda ends an invocation after 900 (Lambda quotas), and claim, finish and margin need the rest."""

MAX_SNOOZES_LIMIT: Final = 10_000
"""As often as a type may let its jobs be put off."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


Backoff = Callable[[int, BaseException], float]
"""`backoff(attempt, error)`: seconds until the next attempt; `attempt` is 0 after the first failure."""


class InvalidJobType(InvalidDefinitions):
    """A handler is declared wrongly, or its file cannot be imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """One registered type of job; calling it calls the handler, so that tests need no queue."""

    name: str
    handler: Callable[[Any, Context], Any]
    payload_type: Any
    """Annotation of the handler's first parameter: a `msgspec.Struct`, `dict`, or whatever else msgspec decodes."""
    timeout: int | None = None
    """Seconds that one attempt may take; `None`: the queue decides."""
    max_attempts: int | None = None
    """Starts in all; `None`: the queue decides."""
    retry: RetryPolicy | None = None
    """What the type says of retries, `max_attempts` apart; `None`: nothing."""
    backoff: Backoff | None = None
    """Seconds until the next attempt, given the number of the failed one (0 for the first) and its error; `None`: the policy decides."""
    max_snoozes: int = MAX_SNOOZES
    """Snoozes after which the job is dead."""
    summary: str = ""
    """The docstring's first line."""
    decoder: msgspec.json.Decoder[Any] = field(repr=False, compare=False)

    def __call__(self, payload: Any, ctx: Context) -> Any:
        return self.handler(payload, ctx)

    @property
    def place(self) -> str:
        """Where the handler is written: `functions/media/image_resize.py (image_resize)`."""
        return _place(self.handler)

    def describe(self) -> dict[str, Any]:
        """What the api and the docs say of the type: `summary`, `schema` (JSON Schema), `timeout`, `max_attempts`, `retry`."""
        if _crashes(self.payload_type, set()):
            raise InvalidJobType(
                f"{self.place}: a union of a list or dict and a string with a pattern crashes msgspec; check the pattern yourself"
            )
        if (lost := _unmarked(self.payload_type, set())) is not None:
            raise InvalidJobType(f"{self.place}: write Secret[{lost} | …] around the whole union: its schema would not know the secret")
        try:
            schema = msgspec.json.schema(self.payload_type)
        except TypeError as error:
            raise InvalidJobType(f"{self.place}: the payload type has no JSON Schema: {one_line(error)}") from error
        retry = None if self.retry is None else msgspec.to_builtins(self.retry)
        return {
            "summary": self.summary,
            "schema": schema,
            "timeout": self.timeout,
            "max_attempts": self.max_attempts,
            "retry": retry,
        }


def job(
    name: str,
    *,
    timeout: int | None = None,
    max_attempts: int | None = None,
    retry: RetryPolicy | Mapping[str, Any] | None = None,
    backoff: Backoff | None = None,
    max_snoozes: int = MAX_SNOOZES,
) -> Callable[[Callable[[Any, Context], Any]], JobType]:
    """Declares a handler: the function becomes the `JobType` called `name`.

    The handler takes the payload (annotated: its type is what clients must send) and a `Context`; what it returns, as JSON, is
    the job's result. `timeout` is in seconds, at most 870; `retry` has the fields of `RetryPolicy`, delays in milliseconds.
    `backoff(attempt, error)` answers the seconds until the next attempt, where no policy fits; `attempt` is 0 after the first failure.
    A job that was snoozed `max_snoozes` times, at most 10,000, is dead at the next snooze: so every job comes to an end.
    What is left out is decided by the queue. Raises InvalidJobType, which names the file and the function.
    """

    if callable(name):  # `@job` without the parentheses: the function itself arrives here, and would never be registered
        raise InvalidJobType(f'{_place(name)}: write @job("name"), with the name of the type')

    def declare(handler: Callable[[Any, Context], Any]) -> JobType:
        place = _place(handler)
        if not _NAME.fullmatch(name):
            raise InvalidJobType(f"{place}: {name!r} is no name of a type: a lower-case letter and at most 63 of a-z 0-9 _ -")
        _check_number(place, "timeout", timeout, LONGEST_JOB)
        _check_number(place, "max_attempts", max_attempts, MAX_ATTEMPTS_LIMIT)
        _check_number(place, "max_snoozes", max_snoozes, MAX_SNOOZES_LIMIT)
        attempts, policy = _split(place, max_attempts, _policy(place, retry))
        payload_type = _payload_type(place, handler)
        return JobType(
            name=name,
            handler=handler,
            payload_type=payload_type,
            timeout=timeout,
            max_attempts=attempts,
            retry=policy,
            backoff=backoff,
            max_snoozes=max_snoozes,
            summary=(inspect.getdoc(handler) or "").partition("\n")[0].strip(),
            decoder=_decoder(place, payload_type),
        )

    return declare


def _place(handler: Any) -> str:
    code = getattr(handler, "__code__", None)
    file = "an unknown file" if code is None else short_path(code.co_filename)
    return f"{file} ({getattr(handler, '__name__', repr(handler))})"


def short_path(file: str) -> str:
    """The path from the folder we are in, as a person writes it; else the last three parts."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(Path(*path.parts[-3:]))


def one_line(error: BaseException) -> str:
    """The error's message without line breaks, or its class when it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _check_number(place: str, what: str, value: int | None, most: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most):
        raise InvalidJobType(f"{place}: {what} is a whole number from 1 to {most}, not {value!r}")


def _policy(place: str, retry: RetryPolicy | Mapping[str, Any] | None) -> RetryPolicy | None:
    if retry is None:
        return None
    said = msgspec.to_builtins(retry) if isinstance(retry, RetryPolicy) else dict(retry)
    try:
        return msgspec.convert(said, RetryPolicy)
    except msgspec.ValidationError as error:
        raise InvalidJobType(f"{place}: retry: {error}") from error


def _split(place: str, attempts: int | None, policy: RetryPolicy | None) -> tuple[int | None, RetryPolicy | None]:
    """`max_attempts` wherever it was given, and the rest of the policy, if it says anything."""
    if policy is None:
        return attempts, None
    if None not in (attempts, policy.max_attempts) and attempts != policy.max_attempts:
        raise InvalidJobType(f"{place}: max_attempts is {attempts} and retry says {policy.max_attempts}; give one of them")
    rest = msgspec.structs.replace(policy, max_attempts=None)
    return attempts or policy.max_attempts, None if rest == RetryPolicy() else rest


def _payload_type(place: str, handler: Callable[..., Any]) -> Any:
    if not inspect.isfunction(handler) or inspect.iscoroutinefunction(handler) or inspect.isgeneratorfunction(handler):
        raise InvalidJobType(f"{place}: a handler is a plain function, neither async nor a generator")
    parameters = list(inspect.signature(handler).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    optional = [p for p in parameters[2:] if p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(positional) < 2 or len(parameters) - len(optional) != 2:
        raise InvalidJobType(f"{place}: a handler takes two parameters, (payload, ctx)")
    first = positional[0]
    if first.annotation is first.empty:
        raise InvalidJobType(f"{place}: say the type of {first.name!r}: clients must send what its annotation says")
    # Only this one annotation is evaluated: the others may name what exists for the type checker alone.
    holder = SimpleNamespace(__annotations__={first.name: first.annotation})
    try:
        return typing.get_type_hints(holder, globalns=handler.__globals__, include_extras=True)[first.name]
    except NameError as error:
        raise InvalidJobType(f"{place}: the type of {first.name!r}: {error}; define it in the module, before the handler") from error


def _decoder(place: str, payload_type: Any) -> msgspec.json.Decoder[Any]:
    try:
        return msgspec.json.Decoder(payload_type)
    except (TypeError, RuntimeError) as error:
        raise InvalidJobType(f"{place}: this payload type cannot be read from JSON: {one_line(error)}") from error


def _crashes(annotation: Any, seen: set[type]) -> bool:
    """Whether msgspec would corrupt memory over this type.

    0.22.0 does when it frees a decoder of a union of a list, set, tuple or dict and a string that has a `pattern`: a segmentation
    fault when the process ends, or before (reduced by us; compare https://github.com/jcrist/msgspec/issues/717). `msgspec.inspect`
    makes such a decoder itself, so the annotations are read here.
    """
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        if annotation in seen:
            return False
        seen.add(annotation)
        return any(_crashes(each, seen) for each in typing.get_type_hints(annotation, include_extras=True).values())
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        metas = [meta for part in parts for meta in getattr(part, "__metadata__", ())]
        bare = [getattr(part, "__origin__", part) if hasattr(part, "__metadata__") else part for part in parts]
        containers = any((typing.get_origin(part) or part) in (list, set, frozenset, tuple, dict) for part in bare)
        if containers and any(getattr(meta, "pattern", None) is not None for meta in metas):
            return True
    return any(_crashes(part, seen) for part in parts)


def _unmarked(annotation: Any, seen: set[type]) -> str | None:
    """The name of a struct that is marked secret inside a union: `msgspec.json.schema` (0.22.0) leaves that marker out."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        for part in parts:
            bare = getattr(part, "__origin__", part)
            if SECRET in getattr(part, "__metadata__", ()) and isinstance(bare, type) and issubclass(bare, msgspec.Struct):
                return bare.__name__
    kind = typing.get_origin(annotation) or annotation
    fields = ()
    if isinstance(kind, type) and hasattr(kind, "__annotations__") and kind not in seen:
        seen.add(kind)
        fields = tuple(typing.get_type_hints(kind, include_extras=True).values())
    found = (_unmarked(each, seen) for each in (*parts, *fields) if not isinstance(each, (str, int)))
    return next((name for name in found if name is not None), None)
