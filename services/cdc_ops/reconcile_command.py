"""The command `cdc reconcile`: proves that the lake equals the source, or names what differs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr

from cdc.contract import ContractsSetting
from cdc.errors import SettingsFault
from cdc.settings import CATALOG_DESCRIPTION, CatalogSetting, Settings, describe, load
from cdc_ops.connection import WHERE

_DESCRIPTION = """\
Reads the source's table page by page, in short read-only transactions and at a limited pace, and compares each row with
the lake, typed and masked alike. A row that looks different is looked at again once the lake is complete past that
moment, so that a change on its way is no difference. The outcome is stated on the table and shown by `cdc status`."""
KEYS_TO_EXISTS = "--keys-to: exists already, and nothing is overwritten"
_EPILOG = """
examples:
  cdc reconcile usuarios
  cdc reconcile --dsn postgresql://reader@replica/app --rows-per-second 20000 --keys-to differing.jsonl
  cdc reconcile usuarios --fraction 0.01 --json

exit codes: 0 equal; 1 it differs, or could not be told; 2 wrong usage, settings or contracts
"""


class ReconcileSettings(Settings):
    """What `cdc reconcile` reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    catalog: CatalogSetting = Field(default="lake", alias="CDC_CATALOG", description=CATALOG_DESCRIPTION)
    pii_key: SecretStr = Field(
        default=SecretStr(""),
        alias="CDC_PII_KEY",
        description="the masking key as the compactor has it; needed where a contract masks a column by token",
    )


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "reconcile",
        help="prove that the lake equals the source",
        description=_DESCRIPTION,
        epilog=describe(ReconcileSettings) + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("table", nargs="*", help="lake tables; by default all that have a contract")
    parser.add_argument("--dsn", help="the database, or a replica of it; better by CDC_DATABASE, as of `cdc contract`")
    parser.add_argument("--rows-per-second", type=float, default=5000.0, help="at most (default: 5000)")
    parser.add_argument(
        "--statement-seconds", type=float, default=5.0, help="no statement takes longer than this (default: 5)"
    )
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="compare a sample: about this part of the rows, at random places"
    )
    parser.add_argument(
        "--wait-seconds", type=float, default=900.0, help="how long the lake may take to come past a moment (900)"
    )
    parser.add_argument(
        "--keys-to", type=Path, metavar="FILE", help="write the keys that differ, in the clear, to this new file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document; docs/reconcile.md has its keys")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and tell; returns the exit code.

    Raises:
        SettingsFault: naming every problem at once.
        CdcError: when something cannot be read.
    """
    problems: list[str] = []
    dsn = arguments.dsn or os.environ.get("CDC_DATABASE", "")
    if not dsn:
        problems.append(f"{WHERE}: is missing")
    problems += [
        f"--{name.replace('_', '-')}: must be more than 0"
        for name in ("rows_per_second", "statement_seconds", "wait_seconds")
        if not getattr(arguments, name) > 0
    ]
    if not 0 < arguments.fraction <= 1:
        problems.append("--fraction: must be more than 0 and at most 1")
    if arguments.keys_to is not None and arguments.keys_to.exists():
        problems.append(KEYS_TO_EXISTS)
    try:
        settings = load(ReconcileSettings, os.environ)
    except SettingsFault as fault:
        raise SettingsFault([*problems, *fault.problems]) from None
    known = {contract.name for contract in settings.tables}
    problems += [f"table {name}: no contract has that name" for name in arguments.table if name not in known]
    if not settings.pii_key.get_secret_value() and any(c.mask == "token" for t in settings.tables for c in t.columns):
        problems.append("CDC_PII_KEY: is not set, but contracts mask columns by token")
    if problems:
        raise SettingsFault(problems)
    # Loading pyiceberg takes a second or two, which the other commands need not wait for.
    from cdc_ops.reconcile_run import run_reconcile  # noqa: PLC0415

    return run_reconcile(settings, dsn, arguments)
