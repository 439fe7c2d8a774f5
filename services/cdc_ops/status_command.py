"""The command `cdc status`: how far and how sound everything is, for people and as JSON. It only reads."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
from pydantic import Field

from cdc import aws
from cdc.contract import ContractsSetting
from cdc.objects import S3Objects
from cdc.program import EXIT_FATAL
from cdc.settings import S3Setting, Settings, describe, load
from cdc_consumer.lease_table import DynamoLeaseTable
from cdc_ops.report import LeaseStatus
from cdc_ops.status_read import Sources, read_status
from cdc_ops.status_text import status_text
from compactor.lake.view import look, open_catalog_to_read

THREADS = 8
TOLD_SECONDS = 2.0
_DESCRIPTION = """\
Tells how complete and how sound the lake is: rows, freshness, what waits, what was set aside, files, and what is wrong.
It needs no permission to write, and makes nothing."""
_EPILOG = """
exit codes: 0 fine; 1 something is wrong, named under `problems`, or could not be read; 2 wrong usage or settings
"""


class StatusSettings(Settings):
    """What `cdc status` reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    raw: S3Setting = Field(alias="CDC_RAW", description="the raw zone, s3://bucket/prefix")
    quarantine: S3Setting = Field(alias="CDC_QUARANTINE", description="the quarantine, s3://bucket/prefix")
    catalog: str = Field(
        default="lake",
        alias="CDC_CATALOG",
        pattern="^[a-z][a-z0-9_]*$",
        description="name of the pyiceberg catalog (PYICEBERG_CATALOG__<NAME>__*) and of the lake's namespace in it",
    )
    leases: str = Field(
        default="",
        alias="CDC_LEASES",
        pattern=r"^([a-zA-Z0-9_.-]{3,255})?$",
        description="the DynamoDB table of leases; where it is set, it is told who reads each shard",
    )


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "status",
        help="how far and how sound everything is",
        description=_DESCRIPTION,
        epilog=describe(StatusSettings) + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="one JSON document; docs/status.md has its keys")
    parser.add_argument(
        "--verify",
        nargs="?",
        const="names",
        choices=("names", "sizes", "checksums"),
        help="verify every shard's chain of batches from its beginning: names (the default) lists them, sizes also "
        "reads every batch record and lists what it names, checksums reads all of raw",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read and tell; returns the exit code.

    Raises:
        SettingsFault: naming every problem of the settings at once.
        CdcError: when something cannot be read.
    """
    settings = load(StatusSettings, os.environ)
    catalog = open_catalog_to_read(settings.catalog)
    client = aws.s3()
    sources = Sources(
        look=lambda name: look(catalog, settings.catalog, name),
        raw=S3Objects(client, settings.raw),
        quarantine=S3Objects(client, settings.quarantine),
        leases=(lambda: read_leases(settings.leases)) if settings.leases else None,
    )
    with ThreadPoolExecutor(THREADS) as threads:
        tell = progress(sys.stderr, time.monotonic)
        report = read_status(settings.tables, sources, datetime.now(UTC), threads, arguments.verify, tell)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n" if arguments.json else status_text(report))
    return 0 if report.is_fine else EXIT_FATAL


def read_leases(table: str) -> tuple[LeaseStatus, ...]:
    """Who reads which shard, as the consumers' lease table says."""
    leases = DynamoLeaseTable(aws.dynamodb(), table).leases()
    return tuple(LeaseStatus(key, lease.owner, lease.checkpoint) for key, lease in sorted(leases.items()))


def progress(out: TextIO, monotonic: Callable[[], float]) -> Callable[[str, int], None]:
    """Tells now and then how far a long verification has come."""
    told_at = monotonic()

    def tell(shard: str, batches: int) -> None:
        nonlocal told_at
        if monotonic() - told_at >= TOLD_SECONDS:
            told_at = monotonic()
            out.write(f"verifying {shard}: {batches:,} batches\n")
            out.flush()

    return tell
