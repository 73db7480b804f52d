"""What Lambda calls for the media worker."""

from jobline.wiring import worker_handler

handler = worker_handler(__package__)
