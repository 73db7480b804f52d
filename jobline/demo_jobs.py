"""The jobs of `make demo`: what is asked for, and what has to come of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from PIL import Image

from jobline.local_aws import LocalAwsError
from jobline.local_server import serving

Json = dict[str, Any]

OVER: Final = frozenset({"done", "dead", "cancelled", "expired"})
AFTER_A_RUN: Final = frozenset({"done", "dead", "failed"})
LOOPBACK_PORTS: Final = (8181, 8182, 8183, 8184)
"""What functions/integrations/worker.toml lets webhooks reach on this machine, in the local stage only."""
PHOTO_SIZE: Final = (4000, 3000)
"""Twelve megapixels."""
PHOTO_KEY: Final = "photos/photo.jpeg"


class NotAsExpected(Exception):
    """A job of the demo came to another end than it should have."""


def expect(condition: bool, sentence: str) -> None:
    """Raises NotAsExpected, which says `sentence`, unless the condition holds."""
    if not condition:
        raise NotAsExpected(sentence)


@dataclass(frozen=True, kw_only=True)
class Act:
    """One job of the demo."""

    request: Json
    """The body of `POST /jobs`."""
    attempts: int
    """How many of them it takes to the end."""
    result: Callable[[Json], str]
    """Checks the finished job and says its result in a few words; raises NotAsExpected."""
    dies_first: bool = False
    """Whether it ends dead, and has to be retried by hand to be done."""


class Receiver(ThreadingHTTPServer):
    """Somebody's server, on this machine: refuses the first two deliveries and takes the third."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Delivery)
        self.url = f"http://127.0.0.1:{port}/orders"
        self.deliveries: list[str] = []
        """The `webhook-id` of each."""


class _Delivery(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.deliveries.append(self.headers["webhook-id"])
        taken = len(self.server.deliveries) > 2
        answer = b'{"received": true}' if taken else b"come back later"
        self.send_response(200 if taken else 503)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the demo's screen is its own."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens on the first free one of `LOOPBACK_PORTS`."""
    with serving(_listening(LOOPBACK_PORTS)) as server:
        yield server


def _listening(ports: Sequence[int]) -> Receiver:
    for port in ports:
        try:
            return Receiver(port)
        except OSError:
            continue
    raise LocalAwsError(f"The demo's webhook receiver needs one of the ports {', '.join(map(str, ports))}, and all are in use.")


def photo() -> bytes:
    """A JPEG of twelve megapixels, made here."""
    across = Image.linear_gradient("L").rotate(90).resize(PHOTO_SIZE)
    down = Image.linear_gradient("L").resize(PHOTO_SIZE)
    round_ = Image.radial_gradient("L").resize(PHOTO_SIZE)
    stream = io.BytesIO()
    Image.merge("RGB", (across, down, round_)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def acts(read_object: Callable[[str], bytes], deliveries: Receiver) -> list[Act]:
    """Every job of the demo. `read_object` reads an object of the data bucket by its key; the photo is in it, at `PHOTO_KEY`."""
    greeting = {"hello": "world", "exact": [0.1, 1.0, 9007199254740993]}
    return [
        Act(
            request={
                "queue": "images",
                "type": "image_resize",
                "payload": {"source": PHOTO_KEY, "sizes": [{"width": 1600}, {"width": 400}, {"width": 96, "height": 96, "fit": "cover"}]},
            },
            attempts=1,
            result=lambda job: _pictures_are_there(job, read_object),
        ),
        Act(
            request={
                "queue": "webhooks",
                "type": "webhook_delivery",
                "payload": {"url": deliveries.url, "body": {"order": 4711, "state": "shipped"}},
            },
            attempts=3,
            result=lambda job: _webhook_was_taken(job, deliveries),
        ),
        Act(
            request={"queue": "diagnostics", "type": "echo", "payload": greeting},
            attempts=1,
            result=lambda job: _echoed(job, greeting),
        ),
        Act(
            request={
                "queue": "diagnostics",
                "type": "fail",
                "payload": {"times": 3},
                "max_attempts": 3,
                "retry": {"backoff": "exponential", "base_delay": 500, "jitter": 0},
            },
            attempts=1,
            result=lambda job: _succeeded_at_last(job),
            dies_first=True,
        ),
    ]


def _pictures_are_there(job: Json, read_object: Callable[[str], bytes]) -> str:
    made = job["result"]["images"]
    sizes = [(image["width"], image["height"]) for image in made]
    expect(sizes == [(1600, 1200), (400, 300), (96, 96)], f"image_resize made other sizes than asked for: {sizes}")
    for image, size in zip(made, sizes, strict=True):
        with Image.open(io.BytesIO(read_object(image["key"]))) as picture:
            expect(picture.size == size, f"{image['key']} measures {picture.size}, not {size}")
    return "12 MP → " + ", ".join(f"{width}x{height}" for width, height in sizes)


def _webhook_was_taken(job: Json, deliveries: Receiver) -> str:
    ids = deliveries.deliveries
    expect(job["result"]["status"] == 200, f"the receiver answered {job['result']}")
    expect(len(ids) == 3 and len(set(ids)) == 1, f"the receiver should have met one webhook-id three times: {ids}")
    return "503, 503, 200; one webhook-id"


def _echoed(job: Json, payload: Json) -> str:
    expect(job["result"] == payload, f"echo returned {job['result']}")
    return "payload came back exactly"


def _succeeded_at_last(job: Json) -> str:
    expect(job["result"] == {"starts": 4}, f"fail returned {job['result']}")
    return "dead after 3, retried by hand, done"


@dataclass
class Progress:
    """What has been seen of one job so far."""

    act: Act
    id: str
    job: Json
    path: list[str] = field(default_factory=list)
    """The states it was seen in, each time it had changed."""
    retried: bool = False

    def saw(self, job: Json) -> list[str]:
        """Takes in the job as it is now; the states that are new, in order."""
        status = job["status"]
        if self.path[-1:] == [status]:
            new = []
        elif status in AFTER_A_RUN and self.path[-1:] != ["running"]:
            new = ["running", status]  # a short run fits between two looks; that there was one is on the record
        else:
            new = [status]
        self.job = job
        self.path += new
        return new

    @property
    def finished(self) -> bool:
        return self.job["status"] in OVER and (self.retried or not self.act.dies_first)
