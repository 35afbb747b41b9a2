"""How a command that starts processes ends: whatever ends it, none of them is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

_GONE_WITHIN_S = 10.0


def end_on_signals() -> None:
    """End on Ctrl-C, on SIGTERM, and when the terminal is closed.

    To be called again after Ray has started: Ray puts handlers of its own in place,
    and they end the process before it has stopped what it started.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    # A shell script's background job begins with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    # `nohup` asks to outlive the terminal.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def no_process_left() -> Iterator[None]:
    """Around the stopping of what this process started: whoever doesn't go is killed.

    Ctrl-C does nothing meanwhile. Whoever presses it again wants it stopped the more.
    """
    started = psutil.Process().children(recursive=True)
    with _signals_ignored():
        yield
        _, left = psutil.wait_procs(started, timeout=_GONE_WITHIN_S)
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=_GONE_WITHIN_S)


@contextmanager
def _signals_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ending}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
