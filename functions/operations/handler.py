"""What Lambda calls for the operations worker: with a batch of its queue, or directly with a request to pause."""

from jobline.wiring import operations_handler

handler = operations_handler(__package__)
