"""Headers that a client gives for a request of ours: their shape, and the ones that it cannot give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from msgspec import Meta

from jobline import SECRET, NonRetryable

OUR_HEADERS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}
)
"""What the connection itself is kept in order by; in lower case."""

HeaderName = Annotated[str, Meta(max_length=100, pattern=r"^[A-Za-z0-9-]+(?![\s\S])")]
HeaderValue = Annotated[str, Meta(max_length=4000, pattern=r"^[ -~]*(?![\s\S])"), SECRET]
Headers = Annotated[dict[HeaderName, HeaderValue], Meta(max_length=20)]


def refuse_ours(names: Iterable[str], ours: frozenset[str] = OUR_HEADERS) -> None:
    """Raises NonRetryable that names the first header among `names` which is ours to give."""
    if refused := sorted(name for name in names if name.lower() in ours):
        raise NonRetryable(f"the header {refused[0]} cannot be given")
