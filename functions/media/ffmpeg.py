"""ffmpeg, the program: what a video is, and how it is made into another one.

It reads strangers' files. So it may open local files alone, as containers that name no other file (a playlist could name
/proc/self/environ), and its environment is empty: this process's has credentials.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final

from jobline import NonRetryable

CONTAINERS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg"
"""Names of ffmpeg's demuxers."""
MOST_PIXELS: Final = 4096 * 2304
_READING: Final = ("-protocol_whitelist", "file", "-format_whitelist", CONTAINERS)


class NoVideo(NonRetryable):
    """ffmpeg can make nothing of a file."""


@dataclass(frozen=True)
class Video:
    width: int
    """Pixels as they are stored: a player may turn them."""
    height: int
    seconds: float


@cache
def program() -> str:
    """The path of the ffmpeg that this worker carries."""
    import imageio_ffmpeg

    (path,) = Path(imageio_ffmpeg.__file__).with_name("binaries").glob("ffmpeg-*")
    if not os.access(path, os.X_OK):  # the local AWS forgets modes when it unpacks an asset (ministack 1.5.33); Lambda keeps them
        path.chmod(0o755)
    return str(path)


def probe(path: Path) -> Video:
    """What the first video stream is, by going once through its packets, none of which is decoded; raises NoVideo.

    (The library brings no ffprobe, and what `ffmpeg -i` prints is for people. This format is for programs: `#dimensions 0: 320x240`,
    `#tb 0: 1/25`, then for each packet stream, dts, pts, duration, size and checksum.)
    """
    facts: dict[str, str] = {}
    first, last = None, 0

    def take(line: str) -> None:
        nonlocal first, last
        if line.startswith("#"):
            name, _, value = line[1:].partition(":")
            facts[name] = value.strip()
            return
        _, _, pts, duration, *_ = (part.strip() for part in line.split(","))
        first = int(pts) if first is None else min(first, int(pts))
        last = max(last, int(pts) + int(duration))

    run([*_READING, "-i", str(path), "-map", "0:V:0", "-c", "copy", "-f", "framecrc", "-"], take)
    if first is None or "dimensions 0" not in facts:
        raise NoVideo("the video has no pictures")
    width, height = (int(number) for number in facts["dimensions 0"].split("x"))
    return Video(width, height, float((last - first) * Fraction(facts["tb 0"])))


def convert(
    source: Path, options: Sequence[str], target: Path | None, told: Callable[[Mapping[str, str]], None], *, start: float = 0
) -> None:
    """Makes `target` of `source`, from second `start` on; without a target the work is done and thrown away.

    `told` gets ffmpeg's own report (`out_time_us`, `total_size` …) about twice a second, and may raise to stop it. Raises NoVideo.
    """
    report: dict[str, str] = {}

    def take(line: str) -> None:
        name, _, value = line.partition("=")
        report[name] = value.strip()
        if name == "progress":
            told(report)

    seek = ["-ss", f"{start:.3f}"] if start else []
    to = ["-f", "null", "-"] if target is None else ["-y", str(target)]
    run([*seek, *_READING, "-max_pixels", str(MOST_PIXELS), "-i", str(source), *options, "-progress", "pipe:1", *to], take)


def run(options: Sequence[str], take: Callable[[str], None]) -> None:
    """Runs ffmpeg; `take` gets each line of its output. Whatever is raised meanwhile, a timeout too, ffmpeg is gone afterwards."""
    command = [program(), "-nostdin", "-hide_banner", "-loglevel", "error", *options]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603  our own arguments
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True, env={}, process_group=0
        )
        try:
            with process:
                assert process.stdout is not None
                try:
                    for line in process.stdout:
                        take(line)
                except BaseException:
                    _kill(process)
                    raise
        finally:
            _kill(process)
        complaints.seek(0)
        said = complaints.read()[-1000:].decode(errors="replace").strip()
    if process.returncode < 0:
        raise RuntimeError(f"ffmpeg was ended by {signal.Signals(-process.returncode).name}: {said}")
    if process.returncode:
        raise NoVideo(f"ffmpeg cannot read or convert the video: {said}")


def _kill(process: subprocess.Popen[str]) -> None:
    """Ends ffmpeg and whatever it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
