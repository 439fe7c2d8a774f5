"""Run of `cdc rebuild`: opens what the settings name, makes and compares, and swaps where that is asked for."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

import msgspec

from cdc import aws
from cdc.contract import TableContract
from cdc.errors import FatalFault
from cdc.objects import S3Objects
from cdc.program import EXIT_FATAL
from cdc.telemetry import configure_logging
from cdc_ops.rebuild import Rebuild, Rebuilt
from cdc_ops.rebuild_command import RebuildSettings
from cdc_ops.rebuild_compare import told, verdict
from compactor.lake.catalog import open_catalog
from compactor.lake.rebuilt import Namespace
from compactor.pii_key import read_pii_key


def run_rebuild(settings: RebuildSettings, contract: TableContract, arguments: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code.

    Raises:
        CdcError: when something stands in the way; the present tables are as they were, but in a swap that is cut off.
    """
    configure_logging("cdc", "warning", sys.stderr)
    namespace = Namespace(open_catalog(settings.catalog), settings.catalog)
    unfinished = namespace.unfinished(contract.name)
    if arguments.give_up:
        return _give_up(namespace, contract, unfinished)
    if arguments.swap and unfinished is not None and namespace.is_swap_cut_off(unfinished):
        return _swap(namespace, contract, unfinished)
    raw, pii_key = S3Objects(aws.s3(), settings.raw), read_pii_key(settings.pii_key.get_secret_value())
    may_begin_late = arguments.without_older_history
    rebuild = Rebuild(namespace, contract, raw, pii_key, _tell, may_begin_late=may_begin_late)
    made = rebuild.run(datetime.now(UTC))
    sys.stdout.write(_as_json(made, contract) if arguments.json else _as_text(made, contract))
    if not arguments.swap:
        return 0 if made.is_equal else EXIT_FATAL
    if not made.is_equal and not arguments.accept_differences:
        _tell("not swapped: the tables differ, or cannot be compared; see docs/rebuild.md, and --accept-differences")
        return EXIT_FATAL
    present = namespace.load(contract.name)
    if present is not None and present.table.metadata_location != made.present_at:
        raise FatalFault(
            "the present table has changed since it was compared, so a compactor is running",
            where=contract.name,
            hint="stop it, and run this again: it goes on where it was",
        )
    return _swap(namespace, contract, made.name)


def _swap(namespace: Namespace, contract: TableContract, rebuilt: str) -> int:
    before = namespace.swap(contract.name, rebuilt)
    _tell(f"{contract.name} is the rebuilt table now, and the one before is {before}; start the compactor")
    return 0


def _give_up(namespace: Namespace, contract: TableContract, unfinished: str | None) -> int:
    if unfinished is None:
        _tell(f"there is no rebuilt table of {contract.name}")
        return 0
    if namespace.is_swap_cut_off(unfinished):
        raise FatalFault("a swap of this table was cut off", where=contract.name, hint="finish it first: --swap")
    namespace.give_up(unfinished)
    _tell(f"{unfinished} is removed")
    return 0


def _as_text(made: Rebuilt, contract: TableContract) -> str:
    if made.compared is None:
        return f"{made.name}: {made.rows:,} rows; compared with nothing\n"
    counts = told(made.compared, contract.name, made.name)
    changes = ", ".join(f"{op} {before:,} and {now:,}" for op, (before, now) in made.history.items())
    return (
        f"{counts}changes in the histories: {changes or 'none'}\n{made.name} {verdict(made.compared)} {contract.name}\n"
    )


def _as_json(made: Rebuilt, contract: TableContract) -> str:
    compared = msgspec.to_builtins(made.compared) if made.compared is not None else None
    document = {
        "version": 1, "table": contract.name, "rebuilt": made.name, "rows": made.rows, "is_equal": made.is_equal,
        "compared": compared, "history": made.history,
    }  # fmt: skip
    return msgspec.json.encode(document).decode() + "\n"


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
