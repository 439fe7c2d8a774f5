"""The command `compactor`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cdc.program import run_program
from cdc.settings import describe
from compactor.loop import run
from compactor.memory import keep_memory
from compactor.metrics import SERIES
from compactor.settings import CompactorSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="compactor", description="Merges the raw zone into Iceberg tables: <table> and <table>_history."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser(
        "run",
        help="merge what is new, again and again",
        description="List new batches, check them, merge, commit; each CDC_COMPACT_INTERVAL_SECONDS, until SIGTERM.",
        epilog=describe(CompactorSettings)
        + "\n  PYICEBERG_CATALOG__<NAME>__*\n      the catalog, as pyiceberg reads it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run_parser.add_argument("--once", action="store_true", help="one pass over all that is new, then exit with 0")
    parsed = parser.parse_args(arguments)
    keep_memory()
    return run_program(
        "compactor", CompactorSettings, os.environ, lambda settings, stop: run(settings, stop, once=parsed.once), SERIES
    )


if __name__ == "__main__":
    sys.exit(main())
