"""Run of `cdc reconcile`: opens what the settings name, compares table by table, tells, and states it on the tables."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from cdc.contract import TableContract
from cdc.errors import FatalFault, SettingsFault
from cdc.program import EXIT_FATAL
from cdc_ops import metrics
from cdc_ops.connection import open_connection
from cdc_ops.reconcile import Tell, reconcile
from cdc_ops.reconcile_command import KEYS_TO_EXISTS, ReconcileSettings
from cdc_ops.reconcile_outcome import Outcome, as_json, as_text
from cdc_ops.reconcile_recheck import Difference
from cdc_ops.reconcile_source import Pace, Source, session
from compactor.lake.catalog import open_catalog
from compactor.lake.proof import ComparedTable
from compactor.pii_key import read_pii_key
from compactor.statement import LAST_PROOF, LAST_RECONCILE

TOLD_SECONDS = 5.0


def run_reconcile(settings: ReconcileSettings, dsn: str, arguments: argparse.Namespace) -> int:
    """Compare the tables asked for; returns the exit code.

    Raises:
        CdcError: when something cannot be read.
    """
    asked = [contract for contract in settings.tables if not arguments.table or contract.name in arguments.table]
    outcomes: list[Outcome] = []
    with metrics.telling(settings):
        try:
            for outcome in compare(settings, dsn, arguments, asked):
                metrics.count(outcome)
                outcomes.append(outcome)
                if not arguments.json:
                    sys.stdout.write(as_text(outcome))
        except Exception:
            # The tables behind the one at fault are not compared either.
            for contract in asked[len(outcomes) :]:
                metrics.FAILED.labels(contract.name).inc()
            raise
        if arguments.json:
            sys.stdout.write(as_json(outcomes))
    return 0 if all(outcome.is_equal for outcome in outcomes) else EXIT_FATAL


def compare(
    settings: ReconcileSettings, dsn: str, arguments: argparse.Namespace, asked: Sequence[TableContract]
) -> Iterator[Outcome]:
    """Compare one table after the other, and state on each what came of it.

    Raises:
        CdcError: when something cannot be read.
    """
    pii_key = read_pii_key(settings.pii_key.get_secret_value())
    catalog = open_catalog(settings.catalog, is_to_be_made=False)
    pace = Pace(arguments.rows_per_second, arguments.statement_seconds)
    with ExitStack() as opened:
        # Before anything is read: what takes hours must not end at a file that cannot be written.
        keys_to = opened.enter_context(new_keys_file(arguments.keys_to)) if arguments.keys_to is not None else None
        for contract in asked:
            table = ComparedTable(catalog, settings.catalog, contract, pii_key)
            with open_connection(dsn, session(pace), autocommit=True) as connection:
                source = Source(connection, table.shown, table.schema, pii_key.secret, pace)
                tell = progress(contract.name, source.row_estimate)
                outcome, found = reconcile(table, source, arguments.fraction, arguments.wait_seconds, tell)
            if keys_to is not None:
                write_keys(keys_to, outcome, found, table.shown.key)
            table.state(properties(outcome))
            yield outcome


def properties(outcome: Outcome) -> dict[str, str]:
    """What the table states of it; only a whole comparison that found nothing proves anything."""
    told = {LAST_RECONCILE: msgspec.json.encode(outcome).decode()}
    if outcome.is_equal and not outcome.is_sample:
        told[LAST_PROOF] = outcome.began_at.isoformat()
    return told


@contextmanager
def new_keys_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner may read; taken away again when it ends by an error before a key is in it.

    Raises:
        SettingsFault: when there is one already.
        FatalFault: when it cannot be made.
    """
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise SettingsFault([KEYS_TO_EXISTS]) from None
    except OSError as error:
        raise FatalFault(
            f"cannot write the keys: {type(error).__name__}", where="--keys-to", hint="name a file that can be made"
        ) from None
    with file:
        try:
            yield file
        except BaseException:
            if file.tell() == 0:
                path.unlink(missing_ok=True)
            raise


def write_keys(file: BinaryIO, outcome: Outcome, found: Sequence[Difference], names: Sequence[str]) -> None:
    """Write the keys that differ, one a line; a key is told in the clear where it is known."""
    lines = [
        msgspec.json.encode(
            {
                "table": outcome.table,
                "kind": one.kind,
                "columns": one.columns,
                "key": one.suspect.source_key or [str(value) for value in one.suspect.key],
                "key_columns": names,
                "is_masked": one.suspect.source_key is None,
            }
        )
        for one in found
    ]
    try:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
    except OSError as error:
        raise FatalFault(f"cannot write the keys: {type(error).__name__}", where="--keys-to") from None


def progress(table: str, row_estimate: int) -> Tell:
    """Tells on stderr, now and then, how far the reading of the source has come."""
    began = told_at = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TOLD_SECONDS:
            told_at = time.monotonic()
            of_all = f" of about {row_estimate:,}" if row_estimate else ""
            sys.stderr.write(f"{table}: {rows:,} rows{of_all} read, {rows / (told_at - began):,.0f} a second\n")
            sys.stderr.flush()

    return tell
