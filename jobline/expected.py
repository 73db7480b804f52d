"""What a request expects of the thing that it changes: the entity tags of If-Match, and If-None-Match: *."""

from __future__ import annotations

from typing import Final, NamedTuple

from jobline.errors import PreconditionFailed


class Expected(NamedTuple):
    """What a request expects of the thing that it is about."""

    tags: frozenset[str] | None = None
    """If it is there, it has one of these entity tags; `None`: whatever it has."""
    present: bool = False
    """It is there (If-Match)."""
    absent: bool = False
    """There is none (If-None-Match: *)."""

    def check(self, what: str, tag: str | None, error: type[PreconditionFailed]) -> None:
        """Raises `error` when it is otherwise: `tag` is that of what is there, `None` when nothing is, `what` its kind and name."""
        if tag is None and self.present:
            raise error(f"There is no {what}.")
        if tag is not None and self.absent:
            raise error(f"There is a {what} already.")
        if tag is not None and self.tags is not None and tag not in self.tags:
            raise error(f"The {what} has changed since it was read.")


ANYHOW: Final = Expected()
