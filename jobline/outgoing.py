"""HTTP to a URL that a client named: to public addresses only, checked where the connection is made.

The name is resolved once, every address it has is checked (`addresses`), and the connection goes to one of those very addresses
with the name in TLS and in `Host`; so a name that resolves to something else a moment later gains nothing. No redirect is
followed, no proxy is used, no more than 64 KB of the answer are read, and the whole exchange has one time limit.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING, Final

from jobline.addresses import Refused, Rules, Target, check_address, parse
from jobline.errors import Unavailable

if TYPE_CHECKING:
    from ssl import SSLContext

    from urllib3.connection import HTTPConnection
    from urllib3.response import HTTPResponse

__all__ = ["Answer", "Outgoing", "Refused", "Rules", "Unreachable"]

LARGEST_ANSWER: Final = 64 * 1024
"""Bytes of an answer's body that are read unless the caller says otherwise; the rest is left."""
USER_AGENT: Final = "Jobline"

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host, best first; raises OSError when there are none."""


class Unreachable(Unavailable):
    """The other side did not answer, or not in time; the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said. Any status is an answer, a redirect too."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a repeated one the values are joined with commas."""
    body: bytes
    """As it was sent: neither decompressed nor decoded."""
    truncated: bool
    """Whether there was more."""
    seconds: float
    """From the resolving of the name to the last byte read."""

    @property
    def text(self) -> str:
        """The body as UTF-8; what is none is replaced."""
        return self.body.decode("utf-8", errors="replace")

    def retry_after(self, now: datetime) -> float | None:
        """Seconds that a `Retry-After` asks for, given as a number or as a date (RFC 9110, 10.2.3); `None` when there is none."""
        value = self.headers.get("retry-after", "")
        if value.strip().isdecimal():
            return float(value)
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())


def resolve(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver gives for TCP, each once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Outgoing:
    """Sends requests under `rules`; `tls` (certificates to trust) is the system's when left out."""

    def __init__(
        self, rules: Rules, *, resolve: Resolver = resolve, tls: SSLContext | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = rules
        self._resolve = resolve
        self._tls = tls
        self._clock = clock

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str],
        timeout: float,
        largest: int = LARGEST_ANSWER,
    ) -> Answer:
        """The answer of the one request, within `timeout` seconds in all; `largest` is how many bytes of its body are read.

        Raises Refused when the URL or one of its addresses is not allowed (nothing was connected to), Unreachable when there was
        no complete answer: no such name, no connection, a broken or untrusted one, or the time was over.
        """
        started = self._clock()
        ends = started + timeout
        target = parse(url, self._rules)
        addresses = self._addresses(target, timeout)
        connection = self._connected(target, addresses, ends)
        try:
            return self._exchange(connection, method, target, body, headers, largest, started, ends)
        finally:
            connection.close()

    def _addresses(self, target: Target, seconds: float) -> Sequence[str]:
        try:
            addresses = _within(seconds, lambda: self._resolve(target.host, target.port))
        except OSError as error:
            raise Unreachable(f"{target.host} cannot be resolved: {error}") from error
        for address in addresses:
            check_address(address, target.port, self._rules)
        if not addresses:
            raise Unreachable(f"{target.host} has no address")
        return addresses

    def _connected(self, target: Target, addresses: Sequence[str], ends: float) -> HTTPConnection:
        """A connection to the first of `addresses` that takes one."""
        # Imported here: a worker that never sends does not load an HTTP stack.
        from urllib3.exceptions import HTTPError

        failure: Exception | None = None
        for address in addresses:
            left = ends - self._clock()
            if left <= 0:
                break
            # Connecting and the TLS handshake may each take this long.
            connection = self._connection(target, address, left / 2)
            try:
                connection.connect()
            except (OSError, HTTPError) as error:
                connection.close()
                failure = error
                continue
            return connection
        raise Unreachable(f"{target.host_header} took no connection: {failure or 'the time was over'}") from failure

    def _connection(self, target: Target, address: str, timeout: float) -> HTTPConnection:
        from urllib3.connection import HTTPConnection, HTTPSConnection

        if target.scheme == "http":
            return HTTPConnection(address, target.port, timeout=timeout)
        return HTTPSConnection(address, target.port, timeout=timeout, server_hostname=target.host, ssl_context=self._tls)

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        target: Target,
        body: bytes | None,
        headers: Mapping[str, str],
        largest: int,
        started: float,
        ends: float,
    ) -> Answer:
        from urllib3.exceptions import HTTPError

        left = max(0.0, ends - self._clock())
        connection.timeout = left + 1  # of one wait for bytes; all of them together: `_shut_after`
        fixed = {"Host": target.host_header, "User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Connection": "close"}
        with _shut_after(connection, left) as over:
            try:
                connection.request(method, target.path, body=body, headers={**headers, **fixed}, preload_content=False)
                response = connection.getresponse()
                start = _start(response, largest)
            except (OSError, HTTPException, HTTPError) as error:
                reason = "the time was over" if over.is_set() else str(error)
                raise Unreachable(f"{target.host_header} gave no complete answer: {reason}") from error
            if over.is_set():  # cut off by us, which a body without a length cannot show
                raise Unreachable(f"{target.host_header} gave no complete answer: the time was over")
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=start[:largest],
            truncated=len(start) > largest,
            seconds=self._clock() - started,
        )


def _within(seconds: float, call: Callable[[], Sequence[str]]) -> Sequence[str]:
    """What `call` answers; TimeoutError when that takes longer, while it goes on in a thread that nobody waits for.

    The system's resolver has no time limit of ours, and whoever runs a domain's name server decides how long it is silent.
    """
    outcome: Future[Sequence[str]] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # handed over to whoever waits
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return outcome.result(seconds)
    except FutureTimeout:
        raise TimeoutError("the time was over") from None


def _start(response: HTTPResponse, largest: int) -> bytes:
    """The body, or one byte more of it than we take. A body that ends early raises: `read` says so once it has nothing to give."""
    start = b""
    while len(start) <= largest and (part := response.read(largest + 1 - len(start), decode_content=False)):
        start += part
    return start


@contextmanager
def _shut_after(connection: HTTPConnection, seconds: float) -> Iterator[Event]:
    """Shuts the connection's socket down when the time is over, and says so in the event.

    A socket's own timeout begins anew with every byte; a server that drips one each second would hold us for ever.
    """
    over = Event()
    sock = connection.sock  # kept: the connection forgets it once an answer has begun

    def shut() -> None:
        over.set()
        if sock is not None:
            with suppress(OSError):  # the other side may have closed it
                # Not SSLSocket's own, which would take the TLS state from under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
