"""What can go wrong while the app is synthesized, beside a wrong definition file."""

from __future__ import annotations


class BundlingError(Exception):
    """A function's asset cannot be made; the text is a sentence for people."""


class OpenDoor(Exception):
    """Something that would be deployed can be called by anybody; the text is a sentence for people."""
