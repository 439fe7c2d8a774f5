"""Run of `cdc export`: opens raw, finds the present rows, writes the file, and tells what it has."""

from __future__ import annotations

import argparse
import sys

import msgspec

from cdc import aws
from cdc.contract import TableContract
from cdc.epoch import read_epochs
from cdc.errors import FatalFault
from cdc.objects import S3Objects
from cdc.telemetry import configure_logging
from cdc_ops.export_command import ExportSettings
from cdc_ops.rebuild_raw import RawAsOf, from_snapshot, reach
from compactor.memory import keep_memory
from compactor.pii_key import read_pii_key
from compactor.progress import Progress
from compactor.state import Current, export


def run_export(settings: ExportSettings, contract: TableContract, arguments: argparse.Namespace) -> int:
    """Write the file; returns the exit code.

    Raises:
        CdcError: when raw alone does not tell the rows, or the file cannot be written; then there is none.
    """
    configure_logging("cdc", "error", sys.stderr)
    keep_memory()
    raw, pii_key = RawAsOf(S3Objects(aws.s3(), settings.raw)), read_pii_key(settings.pii_key.get_secret_value())
    begins = _beginning(raw, contract)
    current = export(contract, raw, pii_key, arguments.to, _tell, begins)
    sys.stdout.write(_as_json(current, contract) if arguments.json else _as_text(current, contract))
    return 0


def _beginning(raw: RawAsOf, contract: TableContract) -> Progress:
    """Where to begin: at the very beginning, or with the newest snapshot where raw reaches back to that."""
    found = reach(raw, {})
    if not found.problems:
        return Progress()
    begins = from_snapshot(read_epochs(raw, contract.name), found)
    if begins is None:
        raise FatalFault(
            f"raw reaches back neither to the beginning nor to a complete snapshot: {'; '.join(found.problems)}",
            where=contract.name,
            hint="older changes are in the lake alone: read the rows there (docs/analysts.md)",
        )
    raw.left_out = frozenset(begins.evidence)
    _tell(f"beginning with the snapshot of epoch {begins.snapshot_epoch}")
    return begins


def _as_text(current: Current, contract: TableContract) -> str:
    through = current.progress.valid_through
    lines = [
        f"{contract.name}: {len(current.rows):,} rows; raw lines: {current.lines:,}; keys folded: {current.folded:,}",
        f"valid through {through.isoformat()}" if through else "valid through: nothing is proven yet",
    ]
    if current.keys_aside:
        reasons = ", ".join(
            f"{reason} in {column}: {count:,}" if column else f"{reason}: {count:,}"
            for (column, reason), count in sorted(current.aside.items())
        )
        lines.append(f"{current.keys_aside:,} keys show what was before a change that cannot be merged ({reasons})")
    if current.rejected:
        lines.append(f"at least {current.rejected:,} records could not be read at all; see the quarantine")
    return "".join(f"{line}\n" for line in lines)


def _as_json(current: Current, contract: TableContract) -> str:
    through = current.progress.valid_through
    document = {
        "version": 1, "table": contract.name, "rows": len(current.rows),
        "lines": current.lines, "folded": current.folded,
        "valid_through": through.isoformat() if through else None,
        "offsets": {shard: str(offset) for shard, offset in sorted(current.progress.offsets.items())},
        "keys_set_aside": current.keys_aside, "rejected": current.rejected,
        "set_aside": [
            {"column": column, "reason": reason, "keys": count}
            for (column, reason), count in sorted(current.aside.items())
        ],
    }  # fmt: skip
    return msgspec.json.encode(document).decode() + "\n"


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
