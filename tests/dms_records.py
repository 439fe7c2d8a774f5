"""DMS records made by hand, in the shape of the recorded ones (tests/golden/dms_postgres_field_samples.jsonl)."""

from __future__ import annotations

import json
from typing import Any

from tests.raw_zone import at


def metadata(operation: str, lsn: int = 0, ordinal: int = 1, *, table: str = "t") -> dict[str, Any]:
    """What a record says of itself with IncludeTransactionDetails; the commit time follows the LSN."""
    stated: dict[str, Any] = {
        "operation": operation, "record-type": "data", "schema-name": "public", "table-name": table,
        "partition-key-type": "primary-key", "timestamp": f"{at(lsn + 1):%Y-%m-%dT%H:%M:%S.%f}Z",
    }  # fmt: skip
    if operation != "load":
        position = f"{lsn >> 32:08X}/{lsn & 0xFFFFFFFF:08X}"
        stated |= {
            "commit-timestamp": f"{at(lsn):%Y-%m-%dT%H:%M:%S.%f}Z", "stream-position": f"{position}.3.{position}",
            "transaction-id": 1139, "transaction-record-id": ordinal,
        }  # fmt: skip
    return stated


def record(
    operation: str, row: dict[str, Any], lsn: int = 0, ordinal: int = 1, before: dict[str, Any] | None = None
) -> bytes:
    """A data record on several lines, as MessageFormat JSON has it; `before` is its before image."""
    parts = {"data": row, "metadata": metadata(operation, lsn, ordinal)}
    if before is not None:
        parts["before-image"] = before
    return json.dumps(parts, indent=4, ensure_ascii=False).encode()
