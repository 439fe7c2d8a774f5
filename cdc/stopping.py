"""Stopping: SIGTERM and SIGINT ask a program to end; what it is doing it brings to its end first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def set_by_signals(stop: threading.Event, tell: Callable[[signal.Signals], None] = lambda _: None) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT are told and set `stop`; afterwards they do what they did before.

    Python runs a handler in the main thread between any two steps, also in the middle of a log line or of `stop.wait`,
    whose locks cannot be taken again there. The handler therefore only puts the signal into a queue, which may be done
    there (Python's documentation of `queue.SimpleQueue.put`), and a thread does the rest.
    """
    signals: SimpleQueue[signal.Signals | None] = SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signals.put(signal.Signals(number))

    def heed() -> None:
        while (one := signals.get()) is not None:
            try:
                tell(one)
            finally:
                stop.set()

    heeding = threading.Thread(target=heed, name="signals", daemon=True)
    heeding.start()
    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.put(None)
        heeding.join()
