"""What Lambda calls for the diagnostics worker."""

from jobline.wiring import worker_handler

handler = worker_handler(__package__)
