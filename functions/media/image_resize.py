"""Pictures in other sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobline import Cancel, Context, NonRetryable, job
from jobline.objects import Source, read_object

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_FILE: Final = 50 * 1024 * 1024
"""Bytes of the original."""
MOST_PIXELS: Final = 50_000_000
"""Width times height of the original: a small file can unpack to gigabytes (a decompression bomb)."""
READ_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
"""Pillow reads many more; each is code that a stranger's file would run through."""
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height (EXIF 2.3, tag 0x0112)."""

MOST_ACROSS: Final = 16_383
"""Pixels of a result's longer side: what WebP can hold (https://developers.google.com/speed/webp/faq); JPEG can hold more."""

Pixels = Annotated[int, Meta(ge=1, le=8192)]


class Size(msgspec.Struct, forbid_unknown_fields=True):
    width: Annotated[Pixels, Meta(description="Pixels.")]
    height: Annotated[
        Pixels | UnsetType, Meta(description="Pixels; without it, what keeps the proportions (`contain`) or the width (`cover`).")
    ] = UNSET
    fit: Annotated[
        Literal["contain", "cover"],
        Meta(description="`contain`: the whole picture inside width and height, never enlarged; `cover`: exactly that size, cut to fit."),
    ] = "contain"


class ImageResize(msgspec.Struct, forbid_unknown_fields=True):
    source: Annotated[
        Source,
        Meta(description="The original: a key of the data bucket, or `s3://bucket/key`; JPEG, PNG, WebP or GIF, 50 MiB at most."),
    ]
    sizes: Annotated[list[Size], Meta(min_length=1, max_length=20, description="What to make of it.")]
    format: Annotated[
        Literal["jpeg", "png", "webp"], Meta(description="What the results are; in a JPEG transparent parts become white.")
    ] = "jpeg"
    quality: Annotated[int, Meta(ge=1, le=95, description="Of JPEG and WebP: 95 is the largest and best.")] = 85


@job("image_resize", timeout=120, max_attempts=3, retry={"backoff": "exponential"})
def image_resize(payload: ImageResize, ctx: Context) -> dict[str, Any]:
    """Makes other sizes of a picture in S3; returns where they are.

    The results are upright, without EXIF data (which may tell where a picture was taken), and always at the same keys for the same
    job, so an attempt that comes again writes the same objects. Of an animation the first picture is used.
    """
    data = read_object(ctx, payload.source, most=LARGEST_FILE)
    ctx.progress(5, f"read {len(data)} bytes")
    picture = _decoded(data, payload.sizes)
    images = []
    for number, size in enumerate(payload.sizes, start=1):
        if ctx.cancelled:
            raise Cancel(f"cancelled after {number - 1} of {len(payload.sizes)} sizes")
        resized = _resized(picture, size)
        encoded = _encoded(resized, payload.format, payload.quality)
        result_key = f"results/{ctx.id}/{number}-{resized.width}x{resized.height}.{payload.format}"
        ctx.aws("s3").put_object(Bucket=ctx.bucket, Key=result_key, Body=encoded, ContentType=f"image/{payload.format}")
        images.append({"key": result_key, "width": resized.width, "height": resized.height, "bytes": len(encoded)})
        ctx.progress(5 + 95 * number / len(payload.sizes), f"{resized.width}x{resized.height} is ready")
    return {"bucket": ctx.bucket, "images": images}


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever goes wrong inside, where only bytes are read that do not change, goes wrong again: NonRetryable."""
    try:
        yield
    except (NonRetryable, MemoryError, TimeoutError):
        raise
    except Exception as error:  # a decoder that meets a broken file raises nearly anything
        raise NonRetryable(f"the original cannot be read as a picture: {error}") from error


def _decoded(data: bytes, sizes: list[Size]) -> Image:
    """The picture, upright; a JPEG may come smaller than it is, yet never too small for `sizes`."""
    from PIL import Image, ImageOps

    with _reading():
        image = Image.open(BytesIO(data), formats=READ_FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise NonRetryable(f"the original has {image.width} x {image.height} pixels; at most {MOST_PIXELS} are read")
        width, height = image.width, image.height
        sideways = image.getexif().get(0x0112) in _SIDEWAYS
        scaled = [_scaled(height, width, size) if sideways else _scaled(width, height, size) for size in sizes]
        need = max(width for width, _ in scaled), max(height for _, height in scaled)
        # libjpeg can decode at 1/2, 1/4 or 1/8, for a fraction of the work; twice what is needed leaves the resizing its quality.
        image.draft(image.mode, (2 * need[1], 2 * need[0]) if sideways else (2 * need[0], 2 * need[1]))
        return _plain(ImageOps.exif_transpose(image))


def _plain(image: Image) -> Image:
    """The picture in RGB, or RGBA when parts of it are transparent; eight bits of each."""
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off instead of scaling them
        image = image.point(lambda value: value / 256).convert("L")
    if not image.mode.startswith(("RGB", "P")):
        image.info.pop("icc_profile", None)  # it describes the colours of the old mode
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _scaled(width: int, height: int, size: Size) -> tuple[int, int]:
    """What a picture of this width and height measures at `size`, before anything is cut off."""
    across = size.width / width
    if size.fit == "cover":
        down = (size.width if size.height is UNSET else size.height) / height
        scale = max(across, down)
    else:
        down = across if size.height is UNSET else size.height / height
        scale = min(across, down, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(picture: Image, size: Size) -> Image:
    from PIL import Image

    scaled = _scaled(picture.width, picture.height, size)
    if size.fit == "contain":
        if max(scaled) > MOST_ACROSS:
            raise NonRetryable(f"the result would have {scaled[0]} x {scaled[1]} pixels; at most {MOST_ACROSS} a side; give a height")
        return picture.resize(scaled, Image.Resampling.LANCZOS, reducing_gap=2.0)
    width, height = size.width, size.width if size.height is UNSET else size.height
    # The part of the original that will be seen, from the middle.
    part_width, part_height = picture.width * width / scaled[0], picture.height * height / scaled[1]
    left, top = (picture.width - part_width) / 2, (picture.height - part_height) / 2
    box = (max(0.0, left), max(0.0, top), min(float(picture.width), left + part_width), min(float(picture.height), top + part_height))
    return picture.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=2.0)


def _encoded(image: Image, format: str, quality: int) -> bytes:
    from PIL import Image

    if format == "jpeg" and image.mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    options: dict[str, Any] = {"quality": quality, "progressive": True} if format == "jpeg" else {"quality": quality}
    if profile := image.info.get("icc_profile"):
        options["icc_profile"] = profile
    stream = BytesIO()
    image.save(stream, format, **({} if format == "png" else options))
    return stream.getvalue()
