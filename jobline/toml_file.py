"""A TOML file whose mistakes are told in one sentence: which file, which key, what is wrong, what may have been meant."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from jobline.errors import InvalidDefinitions
from jobline.times import parse_duration

Table = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class TomlFile:
    """One file under `root`; keys are told as `a.b.c` from the file's own root."""

    root: Path
    name: str
    """The path from `root`, as a person writes it."""
    remark: str = ""
    """What to say after the key when a value may come from elsewhere in the file."""

    def read(self) -> Table:
        """The whole document; raises InvalidDefinitions when the file is missing or is no TOML."""
        try:
            return tomllib.loads((self.root / self.name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InvalidDefinitions(f"{self.name}: there is no such file in {self.root}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidDefinitions(f"{self.name}: this is not TOML: {error}") from error

    def wrong(self, key: str, sentence: str) -> InvalidDefinitions:
        """The error that says `sentence` of `key`, to be raised."""
        return InvalidDefinitions(f"{self.name}: {key}{self.remark}: {sentence}")

    def know(self, table: Table, keys: Iterable[str], key: str) -> None:
        """Refuses a key of `table` (which is at `key`) that is not among `keys`, and suggests the nearest."""
        known = tuple(keys)
        for name in table:
            if name not in known:
                raise self.wrong(_joined(key, name), f"there is no such key{near(name, known)}")

    def table(self, parent: Table, name: str, key: str = "") -> Table:
        """The table `name` of `parent` (which is at `key`); empty when it is not there."""
        value = parent.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(_joined(key, name), "this must be a table")
        return value

    def array(self, parent: Table, name: str) -> list[Any]:
        """The array `name` of the file's root; empty when it is not there."""
        value = parent.get(name, [])
        if not isinstance(value, list):
            raise self.wrong(name, "this must be an array")
        return value

    def tables(self, parent: Table, name: str) -> dict[str, Table]:
        """The table of tables `name` of the file's root (`[name.x]`, `[name.y]`); empty when it is not there."""
        outer = self.table(parent, name)
        return {inner: self.table(outer, inner, name) for inner in outer}

    def seconds(self, value: object, key: str) -> int:
        """A duration (number of seconds, `"10m"` or `"PT10M"`) in whole seconds."""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self.wrong(key, 'a duration is a number of seconds, or a string such as "10m" or "PT10M"')
        try:
            seconds = parse_duration(value).total_seconds()
        except ValueError as error:
            raise self.wrong(key, str(error)) from error
        if seconds != int(seconds):
            raise self.wrong(key, "whole seconds only")
        return int(seconds)

    def convert(self, value: object, into: type[T], key: str) -> T:
        """`value` (which is at `key`) as a typed one; raises InvalidDefinitions that names the field."""
        try:
            return msgspec.convert(value, into)
        except msgspec.ValidationError as error:
            # msgspec ends its message with the place: "Expected `int` - at `$.concurrency`".
            reason, _, place = str(error).partition(" - at `$")
            raise self.wrong(_joined(key, place.rstrip("`").lstrip(".")).rstrip("."), reason) from error


def laid_over(under: Table, over: Table) -> Table:
    """`under` with the values of `over`, table by table; everything that is not a table is replaced whole."""
    result = dict(under)
    for name, value in over.items():
        below = result.get(name)
        result[name] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def near(word: str, words: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `words`, or nothing when none is near."""
    found = get_close_matches(word, list(words), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
