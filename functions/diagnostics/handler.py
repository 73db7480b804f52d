"""What Lambda calls for the diagnostics worker."""

from jobline.worker import build

handler = build(__package__)
