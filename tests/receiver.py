"""Somebody's HTTP server, on a loopback port of its own: it answers what a test tells it to and keeps what it was sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Script = Callable[[socket.socket], None]
"""Says something on a connection whose request has been read."""


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire."""

    line: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


def answer(status: int, body: bytes = b"", **headers: str) -> Script:
    """A well-formed answer; `Retry_After="3"` becomes the header `Retry-After: 3`."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return say("\r\n".join([*lines, "", ""]).encode() + body)


def say(data: bytes) -> Script:
    """Sends `data` as it is and hangs up."""
    return lambda connection: connection.sendall(data)


def drip(data: bytes, *, endless: bytes, pause: float) -> Script:
    """Sends `data`, then `endless` again and again, with pauses, until the other side has had enough."""

    def script(connection: socket.socket) -> None:
        connection.sendall(data)
        for _ in range(1000):
            time.sleep(pause)
            connection.sendall(endless)

    return script


@dataclass
class Receiver:
    """A server that gives its `answers` one after the other, and the last one for ever."""

    listener: socket.socket
    port: int
    tls: ssl.SSLContext | None = None
    answers: list[Script] = field(default_factory=lambda: [answer(200)])
    received: list[Received] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """The name asked for in each TLS handshake."""

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end of the test
            while True:
                connection, _ = self.listener.accept()
                with connection, contextlib.suppress(OSError):
                    self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        if self.tls is not None:
            with self.tls.wrap_socket(connection, server_side=True) as wrapped:
                self._answer(wrapped)
        else:
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            line = stream.readline().decode().strip()
            headers = {}
            while text := stream.readline().decode().strip():
                name, _, value = text.partition(":")
                headers[name.lower()] = value.strip()
            body = stream.read(int(headers.get("content-length", 0)))
        self.received.append(Received(line, headers, body))
        script = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        script(connection)


@contextmanager
def receiver(*answers: Script, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """A server on 127.0.0.1 that gives `answers` (200 when there are none), over TLS when given a context; on a free port unless told."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = Receiver(listener, listener.getsockname()[1], tls)
        if answers:
            server.answers = list(answers)
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: server.names.append(name)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            # Closing alone does not wake a thread that waits in accept.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(5)
