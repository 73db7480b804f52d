"""The types of a trial deployment, by whatever a test calls them: their name, the declared handler, or the class of their payload."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any

import msgspec

from jobline.errors import UnknownType
from jobline.job_type import JobType

What = str | JobType | type
"""A type of job: its name, its handler, or the class of its payload."""


class Catalogue:
    """Finds types; whoever asks for one that is not there hears it, so that a typing error makes no test pass."""

    def __init__(self, types: Iterable[JobType]) -> None:
        self._types = {found.name: found for found in types}

    def names(self, what: What) -> tuple[str, ...]:
        """The names of the types that are meant; several when several take this class of payload. Raises UnknownType."""
        if isinstance(what, type):
            names = tuple(name for name, found in self._types.items() if _takes(found.payload_type, what))
        else:
            name = what.name if isinstance(what, JobType) else what
            names = (name,) if name in self._types else ()
        if not names:
            raise UnknownType(f"no type is, or takes, {label(what)}; there are {', '.join(sorted(self._types)) or 'none'}")
        return names

    def name(self, what: What) -> str:
        """The one type that is meant. Raises UnknownType when there is none, or a choice."""
        names = self.names(what)
        if len(names) > 1:
            raise UnknownType(f"{label(what)} is the payload of {', '.join(sorted(names))}: say which by its name")
        return names[0]

    def request(self, what: Any, payload: Any) -> tuple[str, Any]:
        """Name and payload of a request, which is a type and its payload, or a payload alone whose class says the type."""
        if isinstance(what, (str, JobType, type)):
            return self.name(what), payload
        if payload is not None:
            raise TypeError(f"{label(type(what))} is a payload already, and there is another one")
        return self.name(type(what)), what

    def handed(self, name: str, payload: Any) -> Any:
        """A stored payload as the handler gets it, defaults filled in; as stored if it cannot be read so."""
        try:
            return self._types[name].decoder.decode(msgspec.json.encode(payload))
        except (KeyError, msgspec.MsgspecError):
            return payload

    def check_fields(self, names: Iterable[str], fields: Iterable[str]) -> None:
        """Raises TypeError when none of these types has a payload with one of the fields."""
        for field in fields:
            known = [_fields(self._types[name].payload_type) for name in names]
            if all(each is not None and field not in each for each in known):
                listed = ", ".join(dict.fromkeys(name for each in known for name in each or ()))
                raise TypeError(f"the payload of {', '.join(names)} has no field {field!r}; it has {listed}")


def fields_of(payload: Any) -> Mapping[str, Any]:
    """The fields of a payload as the handler gets it, as JSON says them, by the names that Python and JSON have for them."""
    said = msgspec.to_builtins(payload)
    fields = dict(said) if isinstance(said, dict) else {}
    if isinstance(payload, msgspec.Struct):
        encoded = zip(payload.__struct_fields__, payload.__struct_encode_fields__, strict=True)
        fields |= {name: fields[other] for name, other in encoded if other in fields}
    return fields


def label(what: What) -> str:
    """What a test called the type, for a message."""
    return what.__name__ if isinstance(what, type) else what.name if isinstance(what, JobType) else repr(what)


def _parts(payload_type: Any) -> list[Any]:
    """The members of a union, the class behind an annotation, or the type itself."""
    origin = typing.get_origin(payload_type)
    if origin is typing.Annotated:
        return _parts(typing.get_args(payload_type)[0])
    parts = typing.get_args(payload_type) if origin in (typing.Union, UnionType) else ()
    return [each for part in parts for each in _parts(part)] or [payload_type]


def _takes(payload_type: Any, wanted: type) -> bool:
    return any(part is wanted for part in _parts(payload_type))


def _fields(payload_type: Any) -> list[str] | None:
    """Every name of a field of the payload; `None`: it may have any."""
    parts = _parts(payload_type)
    if not all(isinstance(part, type) and issubclass(part, msgspec.Struct) for part in parts):
        return None
    return [name for part in parts for name in (*part.__struct_fields__, *part.__struct_encode_fields__)]
