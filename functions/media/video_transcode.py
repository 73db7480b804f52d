"""Videos for the web: another size, H.264 or VP9, and a picture to show before they play."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.media.ffmpeg import MOST_PIXELS, NoVideo, Video, convert, probe
from jobline import Cancel, Context, NonRetryable, job
from jobline.objects import Source, download

LARGEST_SOURCE: Final = 200 * 1024 * 1024
"""Bytes of the original; with the result it has to fit into Lambda's /tmp, 512 MB."""
LARGEST_RESULT: Final = 250 * 1024 * 1024
TO_STORE: Final = 10.0
"""Seconds of the job's time that are kept for what follows the conversion."""
TRIED: Final = 3.0
"""Seconds of a long video that are converted first, to know how fast that goes here."""
SHORT: Final = 20.0
"""Seconds of a video that is not tried first."""
REPORT_EVERY: Final = 5.0
"""Seconds; each report is a write of the job's record."""
THUMBNAIL_SIDE: Final = 640

# As many threads wherever it runs: their number shows in the bytes.
_H264: Final = "-c:v libx264 -preset veryfast -crf 23 -threads 4 -movflags +faststart"
_VP9: Final = "-c:v libvpx-vp9 -crf 33 -b:v 0 -deadline good -cpu-used 5 -row-mt 1 -tile-columns 1 -threads 4"
_CODECS: Final = {"mp4": (_H264, "-c:a aac -b:a 128k -ac 2"), "webm": (_VP9, "-c:a libopus -b:a 96k -ac 2")}
# No metadata, which may tell where a video was taken; and nothing random or of the clock in the file: equal work, equal bytes.
_PLAIN: Final = "-sn -dn -map_metadata -1 -map_chapters -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -fpsmax 60"


class VideoTranscode(msgspec.Struct, forbid_unknown_fields=True):
    source: Annotated[
        Source,
        Meta(
            description="The original: a key of the data bucket, or `s3://bucket/key`; MP4, MOV, WebM, MKV, AVI, MPEG, FLV or Ogg, at most "
            "200 MiB."
        ),
    ]
    format: Annotated[Literal["mp4", "webm"], Meta(description="`mp4`: H.264 and AAC; `webm`: VP9 and Opus, smaller and slower.")] = "mp4"
    preset: Annotated[
        Literal["360p", "480p", "720p", "1080p"],
        Meta(description="Pixels of the result's shorter side; a smaller original is not enlarged."),
    ] = "720p"
    audio: Annotated[bool, Meta(description="Whether the sound is kept.")] = True
    thumbnail_at: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)] | UnsetType,
        Meta(description="Second of the video that the thumbnail shows; without it, after a tenth of it."),
    ] = UNSET


@job("video_transcode", timeout=870, max_attempts=2, retry={"backoff": "exponential"})
def video_transcode(payload: VideoTranscode, ctx: Context) -> dict[str, Any]:
    """Makes a video for the web and a thumbnail of a video in S3; returns where they are.

    A long video is tried for three seconds first: one that cannot be done in the job's time is refused then, and not after a
    quarter of an hour. The same job always makes the same bytes at the same keys, so an attempt that comes again changes nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target, thumbnail = (Path(folder, name) for name in ("source", f"video.{payload.format}", "thumbnail.jpeg"))
        size = download(ctx, payload.source, source, most=LARGEST_SOURCE)
        original = _original(source, payload)
        ctx.progress(5, f"read {size} bytes, {original.seconds:.0f} s of video")
        options = _options(payload)
        if original.seconds > SHORT:
            _refuse_what_takes_too_long(source, options, original, ctx)
        convert(source, options, target, _Watch(ctx, original).told)
        source.unlink()
        video = probe(target)
        _picture(target, thumbnail, payload.thumbnail_at, video.seconds)
        ctx.progress(95, "storing it")
        return {
            "bucket": ctx.bucket,
            "video": {**_stored(ctx, target, f"video/{payload.format}"), "width": video.width, "height": video.height},
            "thumbnail": _stored(ctx, thumbnail, "image/jpeg"),
            "duration_seconds": round(video.seconds, 3),
        }


def _original(source: Path, payload: VideoTranscode) -> Video:
    original = probe(source)
    if original.width * original.height > MOST_PIXELS:
        raise NonRetryable(f"source has {original.width} x {original.height} pixels; at most {MOST_PIXELS} are read")
    if payload.thumbnail_at is not UNSET and payload.thumbnail_at >= original.seconds:
        raise NonRetryable(f"thumbnail_at is {payload.thumbnail_at:g} s, and the video takes {original.seconds:.3f} s")
    return original


def _options(payload: VideoTranscode) -> list[str]:
    side = int(payload.preset.removesuffix("p"))
    video, audio = _CODECS[payload.format]
    sound = f"-map 0:a:0? {audio}" if payload.audio else "-an"
    return [*f"-map 0:V:0 {video} {sound} {_PLAIN}".split(), "-vf", f"{_scale(side)},format=yuv420p"]


def _scale(side: int) -> str:
    """The filter that brings the shorter side to `side` pixels, an even number, or leaves it when it is smaller."""
    width, height = (f"max(2,2*trunc(min({side},{length})/2))" for length in ("iw", "ih"))
    return f"scale=w='if(gt(iw,ih),-2,{width})':h='if(gt(iw,ih),{height},-2)'"


def _refuse_what_takes_too_long(source: Path, options: list[str], original: Video, ctx: Context) -> None:
    """Converts a piece from the middle and throws it away. Raises NonRetryable when all of it would take longer than there is time."""
    started = time.monotonic()
    convert(source, [*options, "-t", f"{TRIED:g}"], None, _Watch(ctx, original).heed, start=original.seconds / 2)
    needed = (time.monotonic() - started) / TRIED * original.seconds
    left = ctx.remaining() - TO_STORE
    if needed > left:
        raise NonRetryable(
            f"this video of {original.seconds:.0f} s would take about {needed:.0f} s here, and the job has {left:.0f} s left: "
            "choose a smaller preset or mp4, cut the video, or give the worker more memory (it gets more CPU with it)"
        )


class _Watch:
    """Looks at a conversion as it goes on: tells the progress; stops what nobody wants, what gets too large and what takes too long."""

    def __init__(self, ctx: Context, original: Video, clock: Callable[[], float] = time.monotonic) -> None:
        self.ctx, self.original, self.clock = ctx, original, clock
        self.reported_at = clock()
        self.share = 0.0
        """How much is converted; ffmpeg does not know it in every report."""

    def told(self, report: Mapping[str, str]) -> None:
        self.share = min(1.0, max(self.share, _number(report, "out_time_us") / 1e6 / max(self.original.seconds, 0.001)))
        if _number(report, "total_size") > LARGEST_RESULT:
            raise NonRetryable(
                f"the result is larger than {LARGEST_RESULT} bytes, with {self.share:.0%} converted: choose a smaller preset"
            )
        self.heed(report)
        if self.clock() - self.reported_at >= REPORT_EVERY or report.get("progress") == "end":
            self.reported_at = self.clock()
            self.ctx.progress(5 + 85 * self.share, f"{self.share:.0%} is converted")

    def heed(self, report: Mapping[str, str]) -> None:
        """Raises Cancel when the job is to be cancelled, NonRetryable when its time is over."""
        if self.ctx.cancelled:
            raise Cancel(f"cancelled when {self.share:.0%} was converted")
        if self.ctx.remaining() < TO_STORE / 2:
            raise NonRetryable(f"not done in the job's time ({self.ctx.job.timeout} s): {self.share:.0%} was converted")


def _number(report: Mapping[str, str], name: str) -> int:
    """0 for what is not known yet (`N/A`) and for what lies before the beginning."""
    text = report.get(name, "")
    return int(text) if text.isdigit() else 0


def _picture(video: Path, thumbnail: Path, at: float | UnsetType, seconds: float) -> None:
    side = f"min(1,{THUMBNAIL_SIDE}/max(iw,ih))"
    options = [
        "-map",
        "0:V:0",
        "-frames:v",
        "1",
        "-vf",
        f"scale=w='trunc(iw*{side})':h='trunc(ih*{side})':out_range=full,format=yuvj420p",
        "-q:v",
        "4",
        "-f",
        "image2",
    ]
    options += ["-update", "1", "-map_metadata", "-1", "-flags:v", "+bitexact", "-threads", "1"]
    with suppress(NoVideo):
        convert(video, options, thumbnail, lambda report: None, start=seconds / 10 if at is UNSET else at)
    if not thumbnail.exists():  # after the beginning of the last picture there is no other
        convert(video, options, thumbnail, lambda report: None)


def _stored(ctx: Context, path: Path, content_type: str) -> dict[str, Any]:
    key = f"results/{ctx.id}/{path.name}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        ctx.aws("s3").put_object(Bucket=ctx.bucket, Key=key, Body=file, ContentType=content_type)
    return {"key": key, "bytes": path.stat().st_size, "sha256": digest}
