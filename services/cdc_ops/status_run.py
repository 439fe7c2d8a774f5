"""Run of `cdc status`: opens what the settings name, reads it, and tells."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from cdc import aws
from cdc.errors import TransientFault
from cdc.objects import S3Objects
from cdc.program import EXIT_FATAL
from cdc_consumer.lease_table import DynamoLeaseTable
from cdc_ops.report import LeaseStatus, Level, Report
from cdc_ops.status_command import StatusSettings
from cdc_ops.status_read import Sources, read_status
from cdc_ops.status_text import status_text
from compactor.lake.view import look, open_catalog_to_read

THREADS = 8
TOLD_SECONDS = 2.0
TRIES_MAX = 4
PAUSE_SECONDS = 2.0
"""Between tries: a compactor that commits all the time may take the metadata away that is being read."""


def tell_status(settings: StatusSettings, level: Level | None, *, as_json: bool) -> int:
    """Write the status to stdout; returns the exit code.

    Raises:
        CdcError: when something cannot be read.
    """
    catalog = open_catalog_to_read(settings.catalog)
    client = aws.s3()
    lease_table = settings.lease_table
    sources = Sources(
        look=lambda name: look(catalog, settings.catalog, name),
        raw=S3Objects(client, settings.raw),
        quarantine=S3Objects(client, settings.quarantine),
        leases=(lambda: read_leases(lease_table)) if lease_table is not None else None,
    )
    with ThreadPoolExecutor(THREADS) as threads:
        tell = progress(sys.stderr, time.monotonic)
        report = read_patiently(
            lambda: read_status(settings.tables, sources, datetime.now(UTC), threads, level, tell), time.sleep
        )
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n" if as_json else status_text(report))
    return 0 if report.is_fine else EXIT_FATAL


def read_patiently(read: Callable[[], Report], sleep: Callable[[float], None]) -> Report:
    """What `read` returns, tried again a few times when what it asks does not answer for now.

    Raises:
        TransientFault: when that did not help.
        CdcError: any other, at once.
    """
    for _ in range(TRIES_MAX - 1):
        try:
            return read()
        except TransientFault as fault:
            sys.stderr.write(f"cdc: {fault}; trying again\n")
            sleep(PAUSE_SECONDS)
    return read()


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
