"""What Lambda calls for the documents worker."""

from jobline.wiring import worker_handler

handler = worker_handler(__package__)
