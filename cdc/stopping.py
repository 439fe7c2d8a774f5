"""Stopping: SIGTERM and SIGINT ask a program to end; what it is doing it brings to its end first."""

from __future__ import annotations

import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def set_by_signals(stop: threading.Event) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT set `stop`; afterwards they do what they did before."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heed_signals(stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def heed_signals(stop: threading.Event, tell: Callable[[signal.Signals], None] = lambda _: None) -> None:
    """From now on SIGTERM and SIGINT are told and set `stop`, to the end of the process; for its main thread.

    Python runs a handler in the main thread between any two steps, also in the middle of a log line or of `stop.wait`,
    whose locks cannot be taken again there. The handler therefore only puts the signal into a queue, which may be done
    there (Python's documentation of `queue.SimpleQueue.put`), and a thread does the rest.
    """
    signals: SimpleQueue[signal.Signals] = SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signals.put(signal.Signals(number))

    def heed() -> None:
        while True:
            one = signals.get()
            try:
                tell(one)
            finally:
                stop.set()

    # What log lines say of the program is in the context.
    threading.Thread(target=contextvars.copy_context().run, args=(heed,), name="signals", daemon=True).start()
    for number in _SIGNALS:
        signal.signal(number, on_signal)
