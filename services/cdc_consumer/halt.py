"""How the thread of a shard is told to end: asked to, with time to flush, or at once since its lease is lost."""

from __future__ import annotations

import math
import threading

from cdc.errors import LeaseLost
from cdc_consumer.clock import Clock


class Halt:
    """Shared by the thread of a shard, who rests on it, and by those who may end that thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ending = threading.Event()
        self._lost = threading.Event()
        self._deadline = math.inf

    def ask(self, within_seconds: float) -> None:
        """Ask the thread to write what it has and to end; after these seconds it gives up what does not succeed."""
        self._deadline = self._clock.monotonic() + within_seconds
        self._ending.set()

    def lose(self) -> None:
        """Tell the thread that another worker owns its shard."""
        self._lost.set()
        self._ending.set()

    @property
    def ending(self) -> bool:
        """Whether the thread shall end."""
        return self._ending.is_set()

    @property
    def lost(self) -> bool:
        """Whether the lease is lost."""
        return self._lost.is_set()

    def check(self) -> None:
        """Stop what is in flight when the lease is lost.

        Raises:
            LeaseLost: when it is.
        """
        if self.lost:
            raise LeaseLost("another worker took the shard over")

    def rest(self, seconds: float) -> bool:
        """Rest between two reads; returns whether the thread shall end."""
        return self._clock.wait(self._ending, seconds)

    def rest_writing(self, seconds: float) -> bool:
        """Rest between two tries to write; returns whether to give up: the lease is lost, or the time to flush is."""
        if self._clock.monotonic() + seconds >= self._deadline:
            return True
        return self._clock.wait(self._lost, seconds)
