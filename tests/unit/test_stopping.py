"""Signals: they stop a program whatever it is doing, and what holds a lock is not asked for it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.stopping import heed_signals, set_by_signals

PATIENCE_SECONDS = 60
BOTH = (signal.SIGTERM, signal.SIGINT)
ROOT = Path(__file__).resolve().parents[2]


class OfOthers(threading.Event):
    """An event whose lock the main thread may hold just now."""

    def set(self) -> None:
        assert threading.current_thread() is not threading.main_thread()
        super().set()


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in BOTH]
    yield
    for number, handler in zip(BOTH, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_may_come_where_a_line_is_being_written(number: signal.Signals) -> None:
    stop, writing, told = OfOthers(), threading.Lock(), list[signal.Signals]()

    def tell(one: signal.Signals) -> None:
        assert writing.acquire(timeout=PATIENCE_SECONDS)
        told.append(one)
        writing.release()

    heed_signals(stop, tell)
    with writing:
        signal.raise_signal(number)
    assert stop.wait(PATIENCE_SECONDS)
    assert told == [number]


def test_what_cannot_be_told_stops_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, failed = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: failed.set())

    def tell(_: signal.Signals) -> None:
        raise OSError

    heed_signals(stop, tell)
    signal.raise_signal(signal.SIGTERM)
    assert stop.wait(PATIENCE_SECONDS)
    assert failed.wait(PATIENCE_SECONDS)


def test_afterwards_signals_are_what_they_were() -> None:
    before = [signal.getsignal(number) for number in BOTH]
    stop = threading.Event()
    with set_by_signals(stop):
        assert [signal.getsignal(number) for number in BOTH] != before
        assert not stop.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.wait(PATIENCE_SECONDS)
    assert [signal.getsignal(number) for number in BOTH] == before


def test_a_program_tells_of_each_signal_and_ends_well_even_if_more_come_at_its_end() -> None:
    program = (
        "import atexit, os, signal, sys; from cdc.program import run_program; from cdc.settings import Settings\n"
        "def body(settings, stop):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        f"    assert stop.wait({PATIENCE_SECONDS})\n"
        "atexit.register(signal.raise_signal, signal.SIGINT)\n"
        "sys.exit(run_program('cdc-consumer', Settings, os.environ, body))"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert {line["program"] for line in lines} == {"cdc-consumer"}
    assert [line["event"] for line in lines][:3] == ["started", "stopping", "stopped"]
    assert lines[1]["signal"] == "SIGTERM"
