"""Videos out of, and back into, S3 (moto's), by the real ffmpeg; the originals are a second of its own test picture."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from moto import mock_aws
from PIL import Image

from functions.media import video_transcode as module
from functions.media.ffmpeg import convert, probe, program
from functions.media.video_transcode import VideoTranscode, video_transcode
from jobline import Cancel, NonRetryable
from jobline.deadline import AttemptTimedOut, deadline
from jobline.errors import InvalidJob
from jobline.registry import Registry
from jobline.testing import RecordedLease, TrialDeployment, make_context
from tests.aws import REGION, client

BUCKET = "data"
REGISTRY = Registry([video_transcode])


@cache
def s3_client() -> Any:
    """Made once: making a client takes longer than a test."""
    return client("s3")


@cache
def clip(size: str = "320x180", seconds: float = 1, container: str = "mp4", *more: str) -> bytes:
    """A moving picture with a tone, made by ffmpeg itself."""
    picture, tone = f"testsrc=size={size}:rate=10:duration={seconds}", f"sine=duration={seconds}"
    with TemporaryDirectory() as folder:
        path = Path(folder, f"clip.{container}")
        made = [program(), "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, "-c:v", "mpeg4", *more, str(path)]
        subprocess.run(made, check=True)
        return path.read_bytes()


class Videos:
    """The data bucket: `put` originals, `transcode` them, look at what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.s3 = s3_client()
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(self, data: bytes) -> str:
        self.s3.put_object(Bucket=BUCKET, Key="original", Body=data)
        return "original"

    def transcode(self, data: bytes, *, lease: RecordedLease | None = None, timeout: int = 60, **payload: Any) -> Any:
        ctx = make_context("video_transcode", client={"s3": self.s3}.__getitem__, bucket=BUCKET, lease=lease, timeout=timeout)
        return video_transcode(VideoTranscode(source=self.put(data), **payload), ctx)

    def body(self, made: Any) -> bytes:
        body = bytes(self.s3.get_object(Bucket=BUCKET, Key=made["key"])["Body"].read())
        assert len(body) == made["bytes"]
        return body

    def facts(self, made: Any) -> str:
        """What ffmpeg tells people of a video."""
        path = self.folder / "made"
        path.write_bytes(self.body(made))
        return subprocess.run([program(), "-hide_banner", "-i", str(path)], capture_output=True, text=True).stderr

    @property
    def results(self) -> dict[str, str]:
        """ETag by key."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix="results/").get("Contents", [])
        return {item["Key"]: item["ETag"] for item in listed}


@pytest.fixture
def videos(tmp_path: Path) -> Iterator[Videos]:
    with mock_aws():
        yield Videos(tmp_path)


@pytest.fixture
def jobline_options(videos: Videos) -> dict[str, Any]:
    return {"client": {"s3": videos.s3}.__getitem__, "bucket": BUCKET}


# What is made


@pytest.mark.parametrize(("format", "codecs"), [("mp4", ("h264", "aac")), ("webm", ("vp9", "opus"))])
def test_the_result_has_the_codecs_of_its_format_and_a_thumbnail(videos: Videos, format: str, codecs: tuple[str, str]) -> None:
    result = videos.transcode(clip(), format=format)
    facts = videos.facts(result["video"])
    assert all(f": {codec}" in facts for codec in codecs)
    assert (result["video"]["width"], result["video"]["height"]) == (320, 180)
    assert result["duration_seconds"] == pytest.approx(1, abs=0.1)
    assert videos.s3.head_object(Bucket=BUCKET, Key=result["video"]["key"])["ContentType"] == f"video/{format}"
    with Image.open(BytesIO(videos.body(result["thumbnail"]))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (320, 180))


@pytest.mark.parametrize(
    ("original", "preset", "expected"),
    [
        ("960x540", "360p", (640, 360)),
        ("540x960", "360p", (360, 640)),
        ("320x180", "1080p", (320, 180)),
        ("321x241", "360p", (320, 240)),
        ("500x500", "480p", (480, 480)),
    ],
)
def test_the_shorter_side_gets_the_size_and_nothing_is_enlarged(
    videos: Videos, original: str, preset: str, expected: tuple[int, int]
) -> None:
    made = videos.transcode(clip(original), preset=preset)["video"]
    assert (made["width"], made["height"]) == expected


def test_a_phone_held_upright_makes_an_upright_video(videos: Videos) -> None:
    path = videos.folder / "flat.mp4"
    path.write_bytes(clip())
    turned = videos.folder / "turned.mp4"
    subprocess.run([program(), "-v", "error", "-display_rotation", "90", "-i", str(path), "-c", "copy", str(turned)], check=True)
    made = videos.transcode(turned.read_bytes())["video"]
    assert (made["width"], made["height"]) == (180, 320)


def test_sound_is_left_out_when_asked_and_nothing_tells_where_a_video_was_taken(videos: Videos) -> None:
    original = clip("320x180", 1, "mp4", "-metadata", "location=+51.5-0.1/", "-metadata", "title=Home")
    assert b"Home" in original
    made = videos.transcode(original, audio=False)["video"]
    assert "Audio" not in videos.facts(made)
    assert b"Home" not in videos.body(made)
    assert b"+51.5" not in videos.body(made)


def test_the_thumbnail_shows_the_second_that_was_asked_for(videos: Videos) -> None:
    bodies = {at: videos.body(videos.transcode(clip(), thumbnail_at=at)["thumbnail"]) for at in (0.0, 0.5, 0.99)}
    assert len(set(bodies.values())) > 1


# What the queue asks of a handler


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_a_worker_that_dies_after_the_work_leaves_the_same_bytes_once(jobs: TrialDeployment, videos: Videos, format: Any) -> None:
    jobs.crash_next(video_transcode)
    job = jobs.enqueue(VideoTranscode(source=videos.put(clip()), format=format), queue="videos")
    jobs.drain()
    before = videos.results
    assert len(before) == 2
    jobs.advance("30m")
    assert (job.status, job.attempts) == ("done", 2)
    assert videos.results == before


def test_progress_comes_from_ffmpeg(videos: Videos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_EVERY", 0)
    lease = RecordedLease()
    videos.transcode(clip("640x360", 4), format="webm", lease=lease)
    percents = [percent for percent, _ in lease.reports]
    assert percents == sorted(percents)
    assert (percents[0], percents[-2:]) == (5, [pytest.approx(90, abs=3), 95])


def ffmpegs() -> set[int]:
    """Every ffmpeg of this process that runs, by its number."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end meanwhile
            name, _, facts = (process / "stat").read_text().rpartition(")")
            state, parent = facts.split()[:2]
            if "(ffmpeg" in name and state != "Z" and int(parent) == os.getpid():
                found.add(int(process.name))
    return found


def test_a_cancelled_job_stops_ffmpeg(videos: Videos) -> None:
    class CancelledAtOnce(RecordedLease):
        def cancelled(self) -> bool:
            return True

    with pytest.raises(Cancel, match="cancelled when"):
        videos.transcode(clip("1280x720", 15), format="webm", lease=CancelledAtOnce())
    assert (ffmpegs(), videos.results) == (set(), {})


def test_the_job_s_timeout_stops_ffmpeg(videos: Videos) -> None:
    source, target = videos.folder / "source.mp4", videos.folder / "target.webm"
    source.write_bytes(clip("1280x720", 15))
    options = ["-c:v", "libvpx-vp9", "-cpu-used", "0"]
    started = time.monotonic()
    with pytest.raises(AttemptTimedOut), deadline(1):
        convert(source, options, target, lambda report: None)
    assert time.monotonic() - started < 5
    assert ffmpegs() == set()


def test_an_ffmpeg_that_is_killed_is_tried_again(videos: Videos) -> None:
    source, target = videos.folder / "source.mp4", videos.folder / "target.webm"
    source.write_bytes(clip("1280x720", 15))

    def kill(report: Any) -> None:
        for pid in ffmpegs():
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(RuntimeError, match="SIGKILL"):
        convert(source, ["-c:v", "libvpx-vp9"], target, kill)


def test_what_cannot_be_done_in_the_job_s_time_is_refused_after_a_trial(videos: Videos) -> None:
    started = time.monotonic()
    with pytest.raises(NonRetryable, match=r"this video of 300 s would take about \d+ s here, and the job has \d s left: choose"):
        videos.transcode(clip("640x360", 300), format="webm", timeout=18)
    assert time.monotonic() - started < 18
    assert videos.results == {}


def test_what_was_thought_to_fit_and_does_not_is_refused_when_the_time_is_over(videos: Videos) -> None:
    with pytest.raises(NonRetryable, match=r"not done in the job's time \(6 s\)"):
        videos.transcode(clip("1280x720", 15), format="webm", timeout=6)


# Originals that are none


def test_a_playlist_cannot_make_ffmpeg_read_other_files(videos: Videos) -> None:
    (videos.folder / "secret.ts").write_bytes(clip("320x180", 1, "ts"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{videos.folder}/secret.ts\n#EXT-X-ENDLIST\n"
    for data in (playlist, f"ffconcat version 1.0\nfile {videos.folder}/secret.ts\n"):
        with pytest.raises(NonRetryable, match="cannot read or convert"):
            videos.transcode(data.encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"no video at all", clip()[:2000], b"http://127.0.0.1/x.mp4"],
    ids=["empty", "text", "cut", "address"],
)
def test_what_is_no_video_is_dead_at_once(videos: Videos, data: bytes) -> None:
    with pytest.raises(NonRetryable):
        videos.transcode(data)
    assert videos.results == {}


def test_a_sound_alone_is_no_video(videos: Videos) -> None:
    with pytest.raises(NonRetryable, match="cannot read or convert"):
        videos.transcode(clip("320x180", 1, "ogg", "-vn", "-c:a", "libopus"))


def test_a_thumbnail_after_the_end_is_refused_before_the_work(videos: Videos) -> None:
    with pytest.raises(NonRetryable, match="thumbnail_at is 7 s, and the video takes 1"):
        videos.transcode(clip(), thumbnail_at=7)


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [("LARGEST_SOURCE", 100, "at most 100 are read"), ("MOST_PIXELS", 100, "320 x 180"), ("LARGEST_RESULT", 0, "larger than 0")],
)
def test_what_is_too_large_is_dead_at_once(videos: Videos, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, reason: str) -> None:
    monkeypatch.setattr(module, limit, value)
    with pytest.raises(NonRetryable, match=reason):
        videos.transcode(clip())
    assert videos.results == {}


def test_ffmpeg_sees_nothing_of_this_process_s_environment(videos: Videos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    source = videos.folder / "source.mp4"
    source.write_bytes(clip("1280x720", 15))
    seen: list[bytes] = []

    def look(report: Any) -> None:
        with suppress(OSError):  # it may end meanwhile
            seen.extend(Path(f"/proc/{pid}/environ").read_bytes() for pid in ffmpegs())

    convert(source, ["-c:v", "libx264"], None, look)
    assert set(seen) <= {b""}
    assert seen


def test_a_probe_tells_size_and_length(videos: Videos) -> None:
    for container in ("mp4", "mkv", "avi"):
        path = videos.folder / f"source.{container}"
        path.write_bytes(clip("320x180", 2, container))
        video = probe(path)
        assert (video.width, video.height) == (320, 180)
        assert video.seconds == pytest.approx(2, abs=0.11)


@pytest.mark.parametrize(
    "payload",
    [
        '{"source": ""}',
        '{"source": "a", "format": "avi"}',
        '{"source": "a", "preset": "4k"}',
        '{"source": "a", "thumbnail_at": -1}',
        '{"source": "a", "options": "-i /etc/passwd"}',
    ],
)
def test_a_payload_that_does_not_fit_is_refused(payload: str) -> None:
    with pytest.raises(InvalidJob):
        REGISTRY.decode("video_transcode", payload)
