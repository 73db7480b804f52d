"""Zips that are equal, byte for byte, when what is in them is equal."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can say."""
READABLE: Final = 0o644
"""Lambda runs as a user of its own, so every file must be readable by others."""
EXECUTABLE: Final = 0o755
"""A program among the libraries, such as ffmpeg; /var/task cannot be written to, so it must be one when it comes."""
ALREADY_COMPRESSED: Final = (".gz", ".zip", ".png", ".jpg", ".woff2")


def write_tree(archive: Path, folder: Path) -> None:
    """Writes every file below `folder` into a new zip, under its path from there."""
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                mode = EXECUTABLE if path.stat().st_mode & 0o100 else READABLE
                add(zipped, path.relative_to(folder).as_posix(), path.read_bytes(), mode)


def add(zipped: zipfile.ZipFile, name: str, content: bytes, mode: int = READABLE) -> None:
    """Adds one file."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = mode << 16
    # Level 6 is zlib's own default; Lambda reads what is stored as fast, and models (.gz) only get larger.
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(ALREADY_COMPRESSED) else zipfile.ZIP_DEFLATED
    zipped.writestr(entry, content, compresslevel=6)
