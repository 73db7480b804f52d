"""Pictures out of, and back into, S3 (moto's)."""

from __future__ import annotations

import resource
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from typing import Any

import pytest
from moto import mock_aws
from PIL import Image, ImageDraw

from functions.media import image_resize as module
from functions.media.image_resize import ImageResize, Size, image_resize
from jobline import Cancel, NonRetryable
from jobline.errors import InvalidJob
from jobline.registry import Registry
from jobline.testing import RecordedLease, TrialDeployment, make_context
from tests.aws import REGION, client

BUCKET = "data"
REGISTRY = Registry([image_resize])
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION = 0x0112


@cache
def s3_client() -> Any:
    """Made once: making a client takes longer than a test."""
    return client("s3")


class Pictures:
    """The data bucket: `put` originals, `resize` them, look at what came of it."""

    def __init__(self) -> None:
        self.s3 = s3_client()
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(self, picture: Image.Image | bytes, format: str = "PNG", **options: Any) -> str:
        data = picture if isinstance(picture, bytes) else encoded(picture, format, **options)
        self.s3.put_object(Bucket=BUCKET, Key="original", Body=data)
        return "original"

    def resize(self, *sizes: Size, source: str = "original", lease: RecordedLease | None = None, **options: Any) -> Any:
        ctx = make_context("image_resize", client={"s3": self.s3}.__getitem__, bucket=BUCKET, lease=lease)
        return image_resize(ImageResize(source=source, sizes=list(sizes), **options), ctx)

    def made(self, result: Any) -> list[Image.Image]:
        """The pictures of a result, checked against what the result says of them."""
        pictures: list[Image.Image] = []
        for said in result["images"]:
            data = self.s3.get_object(Bucket=result["bucket"], Key=said["key"])["Body"].read()
            picture = Image.open(BytesIO(data))
            assert (said["width"], said["height"], said["bytes"]) == (*picture.size, len(data))
            pictures.append(picture)
        return pictures

    @property
    def results(self) -> dict[str, str]:
        """ETag by key of everything beside the original."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix="results/").get("Contents", [])
        return {item["Key"]: item["ETag"] for item in listed}


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    with mock_aws():
        yield Pictures()


@pytest.fixture
def jobline_options(pictures: Pictures) -> dict[str, Any]:
    return {"client": {"s3": pictures.s3}.__getitem__, "bucket": BUCKET}


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    stream = BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def quarters(width: int = 400, height: int = 200) -> Image.Image:
    """Red and green above, blue and white below."""
    picture = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width // 2 - 1, height // 2 - 1), RED)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height), BLUE)
    return picture


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """The colours near the corners: top left, top right, bottom left, bottom right; rounded, as JPEG is not exact."""
    small = picture.convert("RGB")
    width, height = small.size
    at = [(width // 8, height // 8), (width - 1 - width // 8, height // 8), (width // 8, height - 1 - height // 8)]
    at.append((width - 1 - width // 8, height - 1 - height // 8))
    near = {"RED": RED, "GREEN": GREEN, "BLUE": BLUE, "WHITE": WHITE}
    found = []
    for point in at:
        colour = small.getpixel(point)
        assert isinstance(colour, tuple)
        match = [known for known in near.values() if all(abs(a - b) < 20 for a, b in zip(known, colour, strict=True))]
        found.append(match[0] if match else colour)
    return found


# Sizes


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (Size(width=100), (100, 50)),
        (Size(width=100, height=100), (100, 50)),
        (Size(width=100, height=10), (20, 10)),
        (Size(width=1000), (400, 200)),
        (Size(width=100, fit="cover"), (100, 100)),
        (Size(width=30, height=90, fit="cover"), (30, 90)),
        (Size(width=800, height=800, fit="cover"), (800, 800)),
        (Size(width=1, height=1), (1, 1)),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_picture_gets_the_size_that_was_asked_for(pictures: Pictures, size: Size, expected: tuple[int, int], format: str) -> None:
    pictures.put(quarters(), format)
    (made,) = pictures.made(pictures.resize(size))
    assert made.size == expected


def test_cover_shows_the_middle(pictures: Pictures) -> None:
    stripes = Image.new("RGB", (400, 100), RED)
    stripes.paste(BLUE, (150, 0, 250, 100))
    pictures.put(stripes)
    (made,) = pictures.made(pictures.resize(Size(width=50, height=50, fit="cover"), format="png"))
    assert corners(made) == [BLUE] * 4


def test_contain_shows_everything_in_its_place(pictures: Pictures) -> None:
    pictures.put(quarters(), "JPEG", quality=95)
    (made,) = pictures.made(pictures.resize(Size(width=100)))
    assert corners(made) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_camera_held_in_any_way_makes_an_upright_picture_without_its_exif_data(pictures: Pictures, orientation: int, format: str) -> None:
    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes the orientation (Pillow's Transpose, EXIF 2.3 table 6)
    upright = quarters(1600, 800)
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(turned[orientation]))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "A camera"
    pictures.put(stored, format, exif=exif)
    (made,) = pictures.made(pictures.resize(Size(width=100)))
    assert made.size == (100, 50)
    assert corners(made) == [RED, GREEN, BLUE, WHITE]
    assert dict(made.getexif()) == {}


# Formats


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_the_result_has_the_format_that_was_asked_for(pictures: Pictures, format: str) -> None:
    pictures.put(quarters())
    result = pictures.resize(Size(width=50), format=format)
    (made,) = pictures.made(result)
    (said,) = result["images"]
    assert (made.format or "").lower() == format
    assert said["key"].endswith(f".{format}")
    assert pictures.s3.head_object(Bucket=BUCKET, Key=said["key"])["ContentType"] == f"image/{format}"


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_less_quality_makes_fewer_bytes(pictures: Pictures, format: str) -> None:
    pictures.put(Image.effect_noise((200, 200), 80))
    best, worst = (pictures.resize(Size(width=100), format=format, quality=quality)["images"][0]["bytes"] for quality in (95, 5))
    assert worst < best / 2


@pytest.mark.parametrize(
    "original",
    [
        quarters().convert("P"),
        quarters().convert("L"),
        quarters().convert("1"),
        quarters().convert("CMYK"),
        quarters().convert("RGBA"),
        quarters().convert("LA"),
        Image.new("I;16", (400, 200), 32768),
    ],
    ids=lambda picture: str(picture.mode),
)
@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_every_kind_of_colour_can_be_read_and_written(pictures: Pictures, original: Image.Image, format: str) -> None:
    pictures.put(original, "JPEG" if original.mode == "CMYK" else "PNG")
    (made,) = pictures.made(pictures.resize(Size(width=100), format=format))
    assert made.size == (100, 50)


def test_sixteen_bits_of_grey_become_eight_of_the_same_grey(pictures: Pictures) -> None:
    pictures.put(Image.new("I;16", (40, 40), 32768))
    (made,) = pictures.made(pictures.resize(Size(width=10), format="png"))
    assert made.convert("RGB").getpixel((5, 5)) == (128, 128, 128)


def test_transparent_parts_stay_so_where_the_format_can_and_else_become_white(pictures: Pictures) -> None:
    pictures.put(Image.new("RGBA", (40, 40), (255, 0, 0, 0)))
    (png,) = pictures.made(pictures.resize(Size(width=10), format="png"))
    (jpeg,) = pictures.made(pictures.resize(Size(width=10), format="jpeg"))
    assert png.getchannel("A").getextrema() == (0, 0)
    assert jpeg.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


def test_of_an_animation_the_first_picture_is_used(pictures: Pictures) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    pictures.put(frames[0], "GIF", save_all=True, append_images=frames[1:])
    (made,) = pictures.made(pictures.resize(Size(width=16), format="png"))
    assert corners(made) == [RED] * 4


def test_the_colour_profile_stays_with_the_colours_it_describes(pictures: Pictures) -> None:
    profile = b"a profile of the colours"
    pictures.put(quarters(), "JPEG", icc_profile=profile)
    (made,) = pictures.made(pictures.resize(Size(width=50)))
    pictures.put(quarters().convert("CMYK"), "JPEG", icc_profile=profile)
    (other,) = pictures.made(pictures.resize(Size(width=50)))
    assert (made.info.get("icc_profile"), other.info.get("icc_profile")) == (profile, None)


# What the queue asks of a handler


def test_an_attempt_that_comes_again_writes_the_same_objects(pictures: Pictures) -> None:
    pictures.put(quarters())
    first = pictures.resize(Size(width=100), Size(width=50, fit="cover"))
    kept = pictures.results
    assert len(kept) == 2
    assert pictures.resize(Size(width=100), Size(width=50, fit="cover")) == first
    assert pictures.results == kept


def test_a_worker_that_dies_after_the_work_leaves_the_same_bytes_once(jobs: TrialDeployment, pictures: Pictures) -> None:
    jobs.crash_next(image_resize)
    job = jobs.enqueue(ImageResize(source=pictures.put(quarters()), sizes=[Size(width=100), Size(width=50)], format="webp"), queue="images")
    jobs.drain()
    before = pictures.results
    assert len(before) == 2
    jobs.advance("10m")
    assert (job.status, job.attempts) == ("done", 2)
    assert pictures.results == before


def test_the_same_size_asked_for_twice_is_made_twice(pictures: Pictures) -> None:
    pictures.put(quarters())
    keys = [image["key"] for image in pictures.resize(Size(width=50), Size(width=50))["images"]]
    assert len(set(keys)) == 2


def test_each_size_is_told_as_progress(pictures: Pictures) -> None:
    pictures.put(quarters())
    lease = RecordedLease()
    pictures.resize(Size(width=100), Size(width=50), lease=lease)
    assert [percent for percent, _ in lease.reports] == [5, 52.5, 100]
    assert lease.reports[-1][1] == "50x25 is ready"


def test_a_cancelled_job_stops_between_two_sizes(pictures: Pictures) -> None:
    class CancelledAfterOne(RecordedLease):
        def progress(self, percent: float, note: str) -> bool:
            super().progress(percent, note)
            return len(self.reports) == 2

    pictures.put(quarters())
    with pytest.raises(Cancel, match="after 1 of 3 sizes"):
        pictures.resize(Size(width=100), Size(width=50), Size(width=25), lease=CancelledAfterOne())
    assert len(pictures.results) == 1


def test_a_picture_of_another_bucket_is_named_by_its_address(pictures: Pictures) -> None:
    pictures.s3.create_bucket(Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": REGION})
    pictures.s3.put_object(Bucket="elsewhere", Key="a/b.png", Body=encoded(quarters(), "PNG"))
    result = pictures.resize(Size(width=50), source="s3://elsewhere/a/b.png")
    assert (result["bucket"], len(pictures.results)) == (BUCKET, 1)


# Originals that are none


def bomb() -> bytes:
    """A PNG of 30,000 by 30,000 pixels in a few bytes: nothing is unpacked before the size is known."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot be read as a picture"),
        (b"no picture at all", "cannot be read as a picture"),
        (encoded(quarters(), "JPEG")[:800], "cannot be read as a picture"),
        (encoded(quarters(), "PNG")[:200], "cannot be read as a picture"),
        (encoded(quarters(), "PNG").replace(b"IDAT", b"IDAX"), "cannot be read as a picture"),
        (encoded(quarters(), "WEBP")[:100], "cannot be read as a picture"),
        (encoded(quarters(), "TIFF"), "cannot be read as a picture"),
        (bomb(), "30000|decompression bomb"),
        (encoded(Image.new("1", (9_000, 9_000)), "PNG"), "9000 x 9000 pixels"),
    ],
    ids=["empty", "text", "cut JPEG", "cut PNG", "broken PNG", "cut WebP", "TIFF", "bomb", "81 megapixels"],
)
def test_an_original_that_cannot_be_used_is_dead_at_once(pictures: Pictures, data: bytes, reason: str) -> None:
    pictures.put(data)
    with pytest.raises(NonRetryable, match=reason):
        pictures.resize(Size(width=10))
    assert pictures.results == {}


@pytest.mark.parametrize("source", ["missing", "s3://nowhere-at-all/key", "s3://data", "s3:///key", "s3://no_bucket!/key"])
def test_an_original_that_is_not_there_is_dead_at_once(pictures: Pictures, source: str) -> None:
    with pytest.raises(NonRetryable):
        pictures.resize(Size(width=10), source=source)


def test_a_file_that_is_too_large_is_not_even_read(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures.put(b"x" * 1001)
    monkeypatch.setattr(module, "LARGEST_FILE", 1000)
    with pytest.raises(NonRetryable, match="1,001 bytes; at most 1,000"):
        pictures.resize(Size(width=10))


def test_a_result_that_no_format_could_hold_is_dead_at_once(pictures: Pictures) -> None:
    pictures.put(Image.new("1", (1, 20_000)))
    with pytest.raises(NonRetryable, match="1 x 20000 pixels"):
        pictures.resize(Size(width=1))


@pytest.mark.parametrize(
    "payload",
    [
        '{"source": "a", "sizes": []}',
        '{"source": "a", "sizes": [{"width": 0}]}',
        '{"source": "a", "sizes": [{"width": 9000}]}',
        '{"source": "a", "sizes": [{"height": 10}]}',
        '{"source": "a", "sizes": [{"width": 10, "fit": "stretch"}]}',
        '{"source": "a", "sizes": [{"width": 10}], "format": "gif"}',
        '{"source": "a", "sizes": [{"width": 10}], "quality": 100}',
        '{"source": "", "sizes": [{"width": 10}]}',
        '{"sizes": [{"width": 10}]}',
    ],
)
def test_a_payload_that_does_not_fit_is_refused(payload: str) -> None:
    with pytest.raises(InvalidJob):
        REGISTRY.decode("image_resize", payload)


def test_twelve_megapixels_pass_and_a_jpeg_is_decoded_no_larger_than_needed(pictures: Pictures) -> None:
    pictures.put(Image.linear_gradient("L").resize((4000, 3000)).convert("RGB"), "JPEG")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    (small,) = pictures.made(pictures.resize(Size(width=100)))
    cheap = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    (large,) = pictures.made(pictures.resize(Size(width=3900)))
    dear = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    assert (small.size, large.size) == ((100, 75), (3900, 2925))
    assert cheap < dear


@pytest.mark.parametrize("source", ["bodies/x/payload.json", f"s3://{BUCKET}/bodies/x", "uploads/x", "quarantine/x", "receipts/x.json"])
def test_what_jobline_keeps_for_itself_cannot_be_named_as_a_picture(pictures: Pictures, source: str) -> None:
    pictures.s3.put_object(Bucket=BUCKET, Key=source.removeprefix(f"s3://{BUCKET}/"), Body=encoded(quarters(), "PNG"))
    with pytest.raises(NonRetryable, match="Jobline's own"):
        pictures.resize(Size(width=10), source=source)
