"""What Lambda calls for the notifications worker."""

from jobline.worker import build

handler = build(__package__)
