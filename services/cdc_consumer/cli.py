"""The command line `cdc-consumer`."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence

from cdc.program import run_program
from cdc.settings import describe
from cdc_consumer.consumer import run
from cdc_consumer.metrics import SERIES
from cdc_consumer.settings import ConsumerSettings

_DESCRIPTION = """\
Reads change events from the stream and writes them, as they came, to the raw zone in S3: micro-batches of gzip JSON
Lines, each with a batch record that says which records of the shard it covers (docs/raw-format.md). Several workers
share the shards, of Kinesis by leases in DynamoDB, of Kafka as a consumer group; whatever happens to one, no record is
lost."""
_EXIT_CODES = """
exit codes: 0 done or stopped by SIGTERM; 1 a fault that needs an operator, named in the last log line; 2 wrong settings
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    options = _parser().parse_args(arguments)

    def body(settings: ConsumerSettings, stop: threading.Event) -> None:
        run(settings, stop, until_caught_up=options.until_caught_up)

    return run_program("cdc-consumer", ConsumerSettings, os.environ, body, SERIES)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cdc-consumer",
        description=_DESCRIPTION,
        epilog=describe(ConsumerSettings) + "\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser(
        "run",
        help="read the stream until stopped",
        description=_DESCRIPTION,
        epilog=describe(ConsumerSettings) + "\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--until-caught-up",
        action="store_true",
        help="end with 0 when every shard is read to its present end; waits for shards that another worker holds",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
