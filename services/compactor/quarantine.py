"""Quarantine: what could not be merged, with the reason, named by content so that a second try is the same."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from prometheus_client import Counter as Metric

from cdc import raw
from cdc.errors import RecordFault
from cdc.objects import ObjectStore
from cdc.telemetry import get_log
from compactor.change import Origin

_LOG = get_log(__name__)
_RECORDS = Metric("compactor_quarantined_records", "Records that could not be merged.", ["table", "reason"])
_BY_COLUMN = Metric(
    "compactor_values_set_aside",
    "Values that kept their change out of the lake, by column.",
    ["table", "column", "reason"],
)


def quarantine(store: ObjectStore, table: str, records: Sequence[tuple[Origin, RecordFault]]) -> None:
    """Write records to `<reason>/<yyyy>/<mm>/<dd>/<table>~<batch>~<hash>.json.gz`, and say so.

    There is an object for each reason, day and batch, named by its content: a merge tried again writes the same.

    The line has the raw record's place, the reason, and the payload as base64; the log has no value of it.
    """
    groups: dict[tuple[str, str, str], list[tuple[Origin, RecordFault]]] = {}
    for origin, fault in records:
        groups.setdefault((fault.reason, _day(origin.line.arrived_at), origin.batch), []).append((origin, fault))
    for (reason, day, batch), group in sorted(groups.items()):
        group.sort(key=lambda record: (record[0].sequence_number, record[0].sub))
        body = raw.encode_lines([_line(origin, fault) for origin, fault in group])
        path = f"{reason}/{day}/{table}~{batch}~{raw.sha256(body)[:16]}.json.gz"
        store.put_new(path, body)
        counts = Counter((fault.where, fault.what) for _, fault in group)
        for (column, what), count in sorted(counts.items()):
            _RECORDS.labels(table, reason).inc(count)
            if column:
                _BY_COLUMN.labels(table, column, reason).inc(count)
            _LOG.error("quarantined", table=table, reason=reason, column=column, what=what, records=count, path=path)


def _day(arrived_at: str) -> str:
    return datetime.fromisoformat(arrived_at).astimezone(UTC).strftime("%Y/%m/%d")


def _line(origin: Origin, fault: RecordFault) -> bytes:
    schema = {} if origin.line.schema_id is None else {"schema_id": origin.line.schema_id}
    return msgspec.json.encode(
        {
            "shard": origin.line.shard,
            "seq": origin.line.seq,
            "sub": origin.line.sub,
            "arrived_at": origin.line.arrived_at,
            "reason": fault.reason,
            "column": fault.where,
            "detail": fault.what,
            "payload": base64.b64encode(bytes(origin.line.event)).decode(),
            **schema,
        }
    )
