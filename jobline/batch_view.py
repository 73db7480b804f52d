"""A batch as both Python clients show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


class BatchView:
    """A batch as the API last told it; `document` is the whole answer."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)

    @property
    def id(self) -> str:
        """Also the id of the batch's own job."""
        return str(self.document["id"])

    @property
    def name(self) -> str | None:
        name: str | None = self.document["name"]
        return name

    @property
    def status(self) -> str:
        """`open`, `complete`, `cancelled` or `dead`."""
        return str(self.document["status"])

    @property
    def over(self) -> bool:
        """Whether it waits for nothing any more."""
        return self.status != "open"

    @property
    def succeeded(self) -> bool:
        """Whether it is complete and every member is done."""
        return self.status == "complete" and self.counts["done"] == self.document["total"]

    @property
    def error(self) -> str | None:
        """Why its last run failed, or why it is dead."""
        error: str | None = self.document["error"]
        return error

    @property
    def counts(self) -> Mapping[str, int]:
        """How many members are `pending`, `done`, `dead` and so on; of a complete batch, as they were then."""
        return dict(self.document["counts"])

    @property
    def jobs(self) -> Sequence[Mapping[str, Any]]:
        """Each member, in the order of the request: `{"id", "queue", "type", "status"}`."""
        return list(self.document["jobs"])

    @property
    def on_success(self) -> str | None:
        """The id of the job that was made of it; so with the others."""
        return self._made("on_success")

    @property
    def on_complete(self) -> str | None:
        return self._made("on_complete")

    @property
    def on_dead(self) -> str | None:
        return self._made("on_dead")

    @property
    def created_at(self) -> datetime:
        return datetime.fromisoformat(self.document["created_at"])

    def _made(self, name: str) -> str | None:
        id: str | None = self.document[name]
        return id

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.id} {self.status}>"
