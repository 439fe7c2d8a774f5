"""A drill's monitor: a counter is over when programs that run have told of some periods without it, not before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from sandbox.process import SandboxFault
from tests.drill import QUIET_PERIODS, Monitor


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"# HELP nothing\n")

    def log_message(self, *_: object) -> None:  # it would be in the way of the test's own output
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """A program that answers."""
    server = HTTPServer(("127.0.0.1", 0), _Page)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def tell(log: Path, period: int, faults: int) -> None:
    with log.open("a") as file:
        file.write(json.dumps({"_aws": {"Timestamp": period}, "compactor_chain_faults": faults}) + "\n")


def test_a_counter_of_which_nothing_was_told_is_not_over(tmp_path: Path, port: int) -> None:
    log = tmp_path / "log"
    tell(log, 0, 1)
    monitor = Monitor({"compactor": port}, {"compactor": log})
    with pytest.raises(SandboxFault):
        monitor.wait_until_over("chain-broken", timeout_seconds=1)


@pytest.mark.parametrize(("faults", "is_over"), [(0, True), (1, False)])
def test_a_counter_is_over_once_it_stands_still(tmp_path: Path, port: int, faults: int, *, is_over: bool) -> None:
    log = tmp_path / "log"
    log.touch()
    monitor = Monitor({"compactor": port}, {"compactor": log})
    left = iter(range(QUIET_PERIODS))

    def next_period() -> None:
        if (period := next(left, None)) is not None:
            tell(log, period, faults)

    monitor.check = next_period
    if is_over:
        monitor.wait_until_over("chain-broken", timeout_seconds=60)
    else:
        with pytest.raises(SandboxFault):
            monitor.wait_until_over("chain-broken", timeout_seconds=2)
