"""The command `cdc epoch`: shows a table's epochs, and records where one begins or that its snapshot is complete."""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

from pydantic import Field

from cdc.contract import ContractsSetting
from cdc.settings import CATALOG_DESCRIPTION, CatalogSetting, S3Setting, Settings, describe, load

_DESCRIPTION = """\
Shows the epochs of a table, what it waits for, and where raw shows that a new snapshot begins; records it as the next
epoch once you agree. It writes to raw only; the compactor follows within its next round. docs/epochs.md tells when."""
_EPILOG = """
exit codes: 0 done, or nothing to do; 1 not recorded; 2 wrong usage or settings
"""
_PLACE = re.compile(r"(?P<shard>[^=\s]+/[^=\s]+)=(?P<number>\d{1,56})")


class EpochSettings(Settings):
    """What `cdc epoch` reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    raw: S3Setting = Field(alias="CDC_RAW", description="the raw zone, s3://bucket/prefix")
    catalog: CatalogSetting = Field(default="lake", alias="CDC_CATALOG", description=CATALOG_DESCRIPTION)


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "epoch",
        help="where an epoch begins, and when its snapshot is complete",
        description=_DESCRIPTION,
        epilog=describe(EpochSettings) + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("table", help="the lake table")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--from-now", action="store_true", help="begin behind all that raw has: before a producer is started anew"
    )
    kind.add_argument(
        "--at",
        action="append",
        type=place,
        metavar="STREAM/SHARD=NUMBER",
        help="the first sequence number of the epoch in a shard, in place of the one found; may be repeated",
    )
    kind.add_argument(
        "--complete",
        action="store_true",
        help="the snapshot of the newest epoch is complete with all that raw has now: what it did not read is deleted",
    )
    kind.add_argument(
        "--resent",
        action="store_true",
        help="no snapshot begins: the reads that raw has now are ones of the old that were sent again (DMS does so)",
    )
    kind.add_argument(
        "--accept-source",
        action="store_true",
        help="the snapshot that waits is of another database, to which the table has moved: take it for the table's",
    )
    parser.add_argument(
        "--continues",
        action="store_true",
        help="nothing was lost and nothing is read anew (an upgrade that kept the slot): only LSNs begin anew",
    )
    parser.add_argument("--yes", action="store_true", help="record it without asking")
    parser.set_defaults(run=run)


def place(text: str) -> tuple[str, int]:
    """A shard and a sequence number."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError("not of the form STREAM/SHARD=NUMBER")
    return match["shard"], int(match["number"])


def run(arguments: argparse.Namespace) -> int:
    """Show, ask, record; returns the exit code.

    Raises:
        SettingsFault: naming every problem of the settings at once.
        CdcError: when something cannot be read or written.
    """
    settings = load(EpochSettings, os.environ)
    # Loading pyiceberg takes a second or two, which the other commands need not wait for.
    from cdc_ops.epoch_run import Asked, run_epoch  # noqa: PLC0415

    asked = Asked(
        arguments.table,
        at=dict(arguments.at or ()),
        is_from_now=arguments.from_now,
        is_complete=arguments.complete,
        is_resent=arguments.resent,
        continues=arguments.continues,
        accepts_source=arguments.accept_source,
        is_agreed=arguments.yes,
    )
    return run_epoch(settings, asked)
