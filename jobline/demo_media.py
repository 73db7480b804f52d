"""The demo's jobs that make files: what is asked for, and what has to come of it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from jobline.demo_jobs import Act, Json, expect

INVOICE: Final[Json] = {
    "number": "2026-0042",
    "date": "2026-11-24",
    "currency": "EUR",
    "tax_rate": 19,
    "seller": {"name": "Babbage & Co", "address": "1 Dorset Street\nLondon"},
    "buyer": {"name": "Ada Lovelace", "address": "12 St James's Square\nLondon"},
    "items": [{"description": "Cog wheel", "quantity": 3, "unit_price": 33333}],
}


CLIP_KEY: Final = "videos/clip.mp4"


def clip() -> bytes:
    """Two seconds of ffmpeg's own test picture, with a tone; made here."""
    import imageio_ffmpeg

    picture, tone = "testsrc=size=640x360:rate=25:duration=2", "sine=duration=2"
    with TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603  our own arguments
        return path.read_bytes()


def acts(read_object: Callable[[str], bytes]) -> list[Act]:
    """`read_object` reads an object of the data bucket by its key; the clip is in it, at `CLIP_KEY`."""
    return [
        Act(
            request={"queue": "videos", "type": "video_transcode", "payload": {"source": CLIP_KEY, "format": "webm", "preset": "360p"}},
            attempts=1,
            result=lambda job: _video_is_there(job, read_object),
        ),
        Act(
            request={
                "queue": "documents",
                "type": "pdf_generate",
                "payload": {"template": "invoice", "data": INVOICE, "name": "invoice.pdf"},
            },
            attempts=1,
            result=lambda job: _document_is_there(job, read_object),
        ),
    ]


def _video_is_there(job: Json, read_object: Callable[[str], bytes]) -> str:
    said, thumbnail = job["result"]["video"], job["result"]["thumbnail"]
    for file, begin in ((said, b"\x1a\x45\xdf\xa3"), (thumbnail, b"\xff\xd8")):  # what Matroska and JPEG begin with
        body = read_object(file["key"])
        expect(
            body.startswith(begin) and hashlib.sha256(body).hexdigest() == file["sha256"], f"video_transcode left something else: {file}"
        )
    return f"{said['width']}x{said['height']}, {job['result']['duration_seconds']:g} s, VP9, and a thumbnail"


def _document_is_there(job: Json, read_object: Callable[[str], bytes]) -> str:
    said = job["result"]
    pdf = read_object(said["key"])
    expect(pdf.startswith(b"%PDF-") and hashlib.sha256(pdf).hexdigest() == said["sha256"], f"pdf_generate left something else: {said}")
    return f"invoice.pdf, {said['pages']} page, {said['bytes']:,} bytes"
