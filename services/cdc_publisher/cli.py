"""The command line `cdc-publisher`."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from random import Random

from cdc import aws
from cdc.program import run_program
from cdc.settings import describe
from cdc_publisher import session
from cdc_publisher.announce import KinesisAnnouncer
from cdc_publisher.connection import connect
from cdc_publisher.heartbeat import Heartbeat, open_shards
from cdc_publisher.metrics import SERIES
from cdc_publisher.publisher import Clocks
from cdc_publisher.settings import PublisherSettings
from cdc_publisher.sink import KinesisPutter
from cdc_publisher.slot import watch_slots

_DESCRIPTION = """\
Streams every committed change of the contracts' source tables from Postgres's write-ahead log to a Kinesis stream, in
Debezium's JSON format (schemas off, decimals as text). The first start makes the publication and the slot and copies
the rows that are there already (the backfill); from then on nothing but the log is read. The slot is confirmed only
past what the stream has acknowledged: whatever happens, nothing is lost, and a restart may send changes again."""
_EXIT_CODES = """
the source needs wal_level = logical; the user needs REPLICATION, SELECT on the tables (for the backfill), and either to
own the tables and have CREATE on the database, or a publication named as CDC_SLOT that somebody made for it

exit codes: 0 stopped by SIGTERM; 1 a fault that needs an operator, named in the last log line; 2 wrong settings
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    _parser().parse_args(arguments)
    return run_program("cdc-publisher", PublisherSettings, os.environ, run, SERIES)


def run(settings: PublisherSettings, stop: threading.Event) -> None:
    """Publish until asked to stop."""
    client = aws.kinesis()
    stream = settings.source.streams[0]
    dsn = settings.database.get_secret_value()
    clocks = Clocks(time.time_ns, time.monotonic)
    heartbeat = Heartbeat(
        lambda: connect(dsn),
        lambda: open_shards(client, stream),
        settings.heartbeat_seconds,
        clocks.monotonic,
        lambda connection: watch_slots(connection, settings.slot),
    )
    job = session.Job(
        dsn=dsn,
        slot=settings.slot,
        tables=tuple((contract.source_schema, contract.source_table) for contract in settings.tables),
        heartbeat=heartbeat,
        put=KinesisPutter(client, stream),
        announce=KinesisAnnouncer(client, stream, Random()),  # noqa: S311 - jitter, no secret
        clocks=clocks,
        random=Random(),  # noqa: S311 - jitter, no secret
        named={
            (contract.source_schema, contract.source_table): contract.source_columns for contract in settings.tables
        },
    )
    session.run(job, stop)


def _parser() -> argparse.ArgumentParser:
    epilog = describe(PublisherSettings) + "\n" + _EXIT_CODES
    parser = argparse.ArgumentParser(
        prog="cdc-publisher",
        description=_DESCRIPTION,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser(
        "run",
        help="publish until stopped",
        description=_DESCRIPTION,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
