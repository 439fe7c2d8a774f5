"""The command `cdc rebuild`: makes a table anew from raw beside the present one, compares the two, and swaps them."""

from __future__ import annotations

import argparse
import os
from typing import Any

from pydantic import Field, SecretStr

from cdc.contract import ContractsSetting
from cdc.errors import SettingsFault
from cdc.settings import CATALOG_DESCRIPTION, CatalogSetting, S3Setting, Settings, describe, load

_DESCRIPTION = """\
Makes a table and its history anew from raw, under names of their own, and compares the new table with the present one,
row by row. The present tables, raw and the quarantine are only read, and everything may go on running. With --swap the
tables change places afterwards; for that the compactor is stopped. docs/rebuild.md has the steps."""
_EPILOG = """
examples:
  cdc rebuild usuarios                 # make and compare; again: go on where it was cut off
  cdc rebuild usuarios --swap          # compactor stopped: catch up, compare, and put it in the present one's place
  cdc rebuild usuarios --give-up       # remove what was made

exit codes: 0 made and equal, or swapped; 1 it differs, cannot be compared, or a fault; 2 wrong usage or settings
"""


class RebuildSettings(Settings):
    """What `cdc rebuild` reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    raw: S3Setting = Field(alias="CDC_RAW", description="the raw zone, s3://bucket/prefix")
    catalog: CatalogSetting = Field(default="lake", alias="CDC_CATALOG", description=CATALOG_DESCRIPTION)
    pii_key: SecretStr = Field(
        default=SecretStr(""),
        alias="CDC_PII_KEY",
        description="the masking key that the new tables shall have; needed where a contract masks a column by token",
    )


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "rebuild",
        help="make a table anew from raw, compare it, and swap it in",
        description=_DESCRIPTION,
        epilog=describe(RebuildSettings) + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("table", help="the lake table")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--swap", action="store_true", help="put the rebuilt tables in the place of the present ones")
    what.add_argument("--give-up", action="store_true", help="remove rebuilt tables that were not swapped in")
    parser.add_argument(
        "--accept-differences",
        action="store_true",
        help="swap though the rebuilt table differs from the present one, or cannot be compared with it",
    )
    parser.add_argument(
        "--without-older-history",
        action="store_true",
        help="where raw no longer reaches back: begin with the newest complete snapshot, without a past in the history",
    )
    parser.add_argument("--json", action="store_true", help="the comparison as one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make, compare, swap; returns the exit code.

    Raises:
        SettingsFault: naming every problem at once.
        CdcError: when something stands in the way.
    """
    settings = load(RebuildSettings, os.environ)
    contract = next((contract for contract in settings.tables if contract.name == arguments.table), None)
    problems = [] if contract is not None else ["table: no contract has that name; give its name in the lake"]
    if arguments.accept_differences and not arguments.swap:
        problems.append("--accept-differences: goes with --swap only")
    key = settings.pii_key.get_secret_value()
    if contract is not None and not key and any(column.mask == "token" for column in contract.columns):
        problems.append("CDC_PII_KEY: is not set, but the contract masks columns by token")
    if problems or contract is None:
        raise SettingsFault(problems)
    # Loading pyiceberg takes a second or two, which the other commands need not wait for.
    from cdc_ops.rebuild_run import run_rebuild  # noqa: PLC0415

    return run_rebuild(settings, contract, arguments)
