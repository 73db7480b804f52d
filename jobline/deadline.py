"""Stops a handler that takes too long, from inside: after its time an exception is raised where it stands.

In the main thread an alarm signal does it, which also interrupts a system call that blocks; in another thread CPython's
asynchronous exception does, at the next line of Python. A handler stuck in C beyond that is ended by Lambda itself, and the
lost lease is settled by the protocol.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class AttemptTimedOut(BaseException):
    """The attempt took longer than its timeout. Not an `Exception`, so that no handler swallows it by accident."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raises `AttemptTimedOut` inside the block once `seconds` have passed; afterwards nothing of it is left behind."""
    if threading.current_thread() is threading.main_thread():
        with _alarm(seconds):
            yield
    else:
        with _asynchronous(seconds):
            yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(signum: int, frame: FrameType | None) -> None:
        raise AttemptTimedOut(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _asynchronous(seconds: float) -> Iterator[None]:
    thread = threading.get_ident()
    lock = threading.Lock()
    over = False

    def raise_there() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(AttemptTimedOut))

    timer = threading.Timer(seconds, raise_there)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            over = True
            # One that was set but not yet delivered would strike the code after the block.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)
