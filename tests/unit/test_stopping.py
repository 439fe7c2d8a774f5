"""Signals: they stop a program whatever it is doing, and what holds a lock is not asked for it again."""

from __future__ import annotations

import signal
import threading

import pytest

from cdc.stopping import set_by_signals

PATIENCE_SECONDS = 60


class OfOthers(threading.Event):
    """An event whose lock the main thread may hold just now."""

    def set(self) -> None:
        assert threading.current_thread() is not threading.main_thread()
        super().set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_may_come_where_a_line_is_being_written(number: signal.Signals) -> None:
    stop, writing, told = OfOthers(), threading.Lock(), list[signal.Signals]()

    def tell(one: signal.Signals) -> None:
        assert writing.acquire(timeout=PATIENCE_SECONDS)
        told.append(one)
        writing.release()

    with set_by_signals(stop, tell):
        with writing:
            signal.raise_signal(number)
        assert stop.wait(PATIENCE_SECONDS)
    assert told == [number]


def test_each_signal_is_told_and_afterwards_they_are_what_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stop, told = threading.Event(), list[signal.Signals]()
    with set_by_signals(stop, told.append):
        assert signal.getsignal(signal.SIGTERM) != before[0]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    assert told == [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]
    assert stop.is_set()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert "signals" not in [thread.name for thread in threading.enumerate()]


def test_without_a_signal_nothing_stops() -> None:
    stop = threading.Event()
    with set_by_signals(stop):
        assert not stop.is_set()
    assert not stop.is_set()
