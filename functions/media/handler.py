"""What Lambda calls for the media worker."""

from jobline.worker import build

handler = build(__package__)
