"""`make demo`: the whole pipeline on real servers for a minute, reports on the lake meanwhile, then every row compared.

The last line is `lake equals source: <n> rows, <d> differences`; the exit code is 0 only when d is 0.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cdc.errors import CdcError
from sandbox import usuarios
from sandbox.compare import Comparison, compare
from sandbox.lake import LakeState
from sandbox.pipeline import PII_KEY, Pipeline
from sandbox.reports import Report, open_lake, run_reports
from sandbox.workload import Tally, Workload

ROWS = 10_000
CHANGES_MIN = 20_000
SECONDS = 60.0
CHANGES_PER_SECOND = 400
COMPLETE_SECONDS_MAX = 120
"""How long the lake may take to hold the last change; far more than it needs, since machines differ."""


@dataclass(slots=True)
class Progress:
    """What the screen shows."""

    phase: str = "starting"
    tally: Tally | None = None
    lake: LakeState | None = None
    reports: int = 0
    report: Report | None = None

    def lines(self, now: datetime) -> list[tuple[str, str]]:
        """Label and text, top to bottom."""
        tally, lake = self.tally, self.lake
        behind = (now - lake.valid_through).total_seconds() if lake and lake.valid_through else None
        return [
            ("phase", self.phase),
            ("application", f"{tally.changes:,} changes committed" if tally else "-"),
            ("lake", f"{lake.rows:,} rows" if lake else "-"),
            ("complete up to", "not yet proven" if behind is None else f"{behind:.0f} s ago"),
            ("reports run", f"{self.reports}, the last ({self.report.name}) in {self.report.seconds:.2f} s"
             if self.report else str(self.reports)),
        ]  # fmt: skip


def run(directory: Path, seconds: float, seed: int, console: Console) -> Comparison:
    """Run the demo in an empty directory and compare at its end."""
    progress = Progress()
    now = datetime.now(UTC)
    with Pipeline(directory) as pipeline, _shown(progress, console):
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            progress.phase = f"an application with {ROWS:,} users"
            usuarios.create(connection, ROWS, Random(seed), now)
        pipeline.start()
        stop = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            watching = pool.submit(_watch, pipeline, progress, stop)
            reporting = pool.submit(_report, pipeline, progress, stop)
            try:
                progress.phase = (
                    "the application changes rows during the backfill and after it; reports run on the lake"
                )
                tally = _work(pipeline, progress, seconds, Random(seed))
                progress.phase = "the application is quiet; the last changes arrive"
                pipeline.wait_until_complete(pipeline.source_clock(), COMPLETE_SECONDS_MAX)
                progress.phase = "comparing every row"
            finally:
                stop.set()
            for task in (watching, reporting):
                task.result()
        if progress.reports == 0:
            raise CdcError("no report ran on the lake meanwhile", hint="is the machine very busy? try again")
        outcome = compare(pipeline.postgres.dsn, pipeline.lake(), pipeline.contract, PII_KEY)
        pipeline.stop()
        if outcome.rows < ROWS and seconds >= SECONDS:
            raise CdcError(f"the source has only {outcome.rows} rows in the end, the demo promises {ROWS}")
    _tell(tally, progress, outcome, console)
    return outcome


def _work(pipeline: Pipeline, progress: Progress, seconds: float, random: Random) -> Tally:
    def note(tally: Tally) -> None:
        pipeline.check()
        progress.tally = tally

    workload = Workload(
        pipeline.postgres.dsn, random, datetime.now(UTC), workers=2, changes_per_second=CHANGES_PER_SECOND
    )
    tally = workload.run(seconds=seconds, progress=note)
    progress.tally = tally
    needed = {
        "changes": (tally.changes, CHANGES_MIN if seconds >= SECONDS else 1),
        "deletes": (tally.deleted, 1),
        "key changes": (tally.key_changes, 1),
        "updates that left a TOASTed value unchanged": (tally.toast_unchanged, 1),
        "transactions rolled back": (tally.rolled_back, 1),
    }
    short = [f"{name}: {made} instead of {least}" for name, (made, least) in needed.items() if made < least]
    if short:
        raise CdcError(
            f"the application did too little ({'; '.join(short)})", hint="is the machine very busy? try again"
        )
    return tally


def _watch(pipeline: Pipeline, progress: Progress, stop: threading.Event) -> None:
    lake = pipeline.lake()
    while not stop.wait(1):
        progress.lake = lake.state(pipeline.contract.name)


def _report(pipeline: Pipeline, progress: Progress, stop: threading.Event) -> None:
    """Heavy reports, one after the other, on whatever the lake's newest snapshot is."""
    with open_lake(pipeline.aws.environment()) as connection:
        while not stop.wait(0.5):
            if progress.lake is not None:
                for report in run_reports(connection, progress.lake.metadata_location):
                    progress.reports += 1
                    progress.report = report


class _shown:  # noqa: N801 - reads as the verb it is
    """Live progress: a table that is drawn anew in a terminal, a line every few seconds elsewhere."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def _show(self) -> None:
        if not self._console.is_terminal:
            while not self._stop.wait(5):
                lines = self._progress.lines(datetime.now(UTC))
                self._console.print(
                    " | ".join(f"{label}: {text}" for label, text in lines), highlight=False, soft_wrap=True
                )
            return
        with Live(console=self._console, refresh_per_second=4) as live:
            while not self._stop.wait(0.5):
                table = Table.grid(padding=(0, 2))
                for label, text in self._progress.lines(datetime.now(UTC)):
                    table.add_row(f"[dim]{label}", text)
                live.update(table)


def _tell(tally: Tally, progress: Progress, outcome: Comparison, console: Console) -> None:
    console.print(
        f"the application committed {tally.changes:,} changes: {tally.inserted:,} inserts, {tally.updated:,} updates "
        f"({tally.toast_unchanged:,} left a TOASTed value unchanged), {tally.deleted:,} deletes, "
        f"{tally.key_changes:,} key changes; {tally.rolled_back:,} transactions were rolled back",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"{progress.reports:,} reports ran on the lake meanwhile", highlight=False)
    for reader, what in outcome.what.items():
        for difference, count in what.most_common(10):
            console.print(f"{reader}: {difference}: {count}", highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of the demo."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the application works (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the application's choices")
    parser.add_argument("--keep", action="store_true", help="keep the programs' logs and say where they are")
    parsed = parser.parse_args(arguments)
    console = Console()
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="usuarios-cdc-"))
    # A company's proxy must not stand between us and 127.0.0.1.
    os.environ.update({"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"})
    is_kept = True
    try:
        outcome = run(directory, parsed.seconds, parsed.seed, console)
        is_kept = parsed.keep or outcome.differences > 0
    except CdcError as error:
        console.print(f"the demo failed: {error}", highlight=False, soft_wrap=True, markup=False)
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it was, the person at the screen is told, and where to look
        console.print(
            f"the demo failed: {type(error).__name__}: {error}", highlight=False, soft_wrap=True, markup=False
        )
        return 1
    finally:
        if is_kept:
            console.print(f"logs: {directory}", highlight=False)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    console.print(f"took {time.monotonic() - began:.0f} s", highlight=False)
    print(f"lake equals source: {outcome.rows} rows, {outcome.differences} differences")
    return 0 if outcome.differences == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
