"""Calls of the Kafka client, handed from all threads to the one that may make them.

The client serves one thread at a time; while one polls without a pause, others wait for ever (confluent-kafka 2.16).
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from cdc.errors import TransientFault
from cdc_consumer.clock import Clock

T = TypeVar("T")
CALL_SECONDS = 60.0
"""Longer than the client's own limits, by which it answers; a commit waits for a coordinator for the session's time."""
_LOOK_SECONDS = 1.0


class Calls:
    """Asked for by any thread, made by the one that serves."""

    def __init__(self, clock: Clock, is_served: Callable[[], bool]) -> None:
        self._clock = clock
        self._is_served = is_served
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()

    def ask(self, call: Callable[[], T]) -> T:
        """Have a call made, and wait for its answer or what it raises.

        Raises:
            TransientFault: when nobody makes it in time.
        """
        answer: Future[T] = Future()
        self._waiting.put((call, answer))
        deadline = self._clock.monotonic() + CALL_SECONDS
        while self._clock.monotonic() < deadline and self._is_served():
            finished, _ = wait([answer], timeout=_LOOK_SECONDS)
            if finished:
                return answer.result()
        raise TransientFault("the Kafka client does not answer")

    def serve(self, wait_seconds: float) -> None:
        """Make the calls that are asked for; waits a little for one."""
        try:
            while True:
                call, answer = self._waiting.get(timeout=wait_seconds) if wait_seconds else self._waiting.get_nowait()
                try:
                    answer.set_result(call())
                except BaseException as error:  # noqa: BLE001 - whoever asked gets it
                    answer.set_exception(error)
        except queue.Empty:
            return
