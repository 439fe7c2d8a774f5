"""Quarantine: what could not be merged, with the reason, named by content so that a second try is the same."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from cdc import raw
from cdc.errors import RecordFault
from cdc.objects import ObjectStore
from cdc.telemetry import get_log
from compactor import metrics
from compactor.change import Origin

_LOG = get_log(__name__)
Record = tuple[Origin, Sequence[RecordFault]]
"""A record and its faults, at least one."""


def quarantine(store: ObjectStore, table: str, records: Sequence[Record]) -> None:
    """Write records to `<reason>/<yyyy>/<mm>/<dd>/<table>~<batch>~<hash>.json.gz`, and say so.

    There is an object for each reason, day and batch, named by its content: a merge tried again writes the same.

    It is filed under its first fault's reason. The line has the raw record's place, the reason, and the payload as
    base64; the log has no value of it. The metrics count a merge that is tried again once more; the table's own counts
    (`compactor.counts`) do not.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for origin, faults in records:
        groups.setdefault((faults[0].reason, _day(origin.line.arrived_at), origin.batch), []).append((origin, faults))
    for (reason, day, batch), group in sorted(groups.items()):
        group.sort(key=lambda record: (record[0].sequence_number, record[0].sub))
        body = raw.encode_lines([_line(origin, faults) for origin, faults in group])
        path = f"{reason}/{day}/{table}~{batch}~{raw.sha256(body)[:16]}.json.gz"
        store.put_new(path, body)
        metrics.QUARANTINED.labels(table, reason).inc(len(group))
        for (column, column_reason), count in _by(group, lambda fault: (fault.where, fault.reason)).items():
            if column:
                metrics.SET_ASIDE.labels(table, column, column_reason).inc(count)
        for (column, what), count in sorted(_by(group, lambda fault: (fault.where, fault.what)).items()):
            _LOG.error("quarantined", table=table, reason=reason, column=column, what=what, records=count, path=path)


def _by(records: Sequence[Record], label: Callable[[RecordFault], tuple[str, str]]) -> Counter[tuple[str, str]]:
    return Counter(label(fault) for _, faults in records for fault in faults)


def _day(arrived_at: str) -> str:
    return datetime.fromisoformat(arrived_at).astimezone(UTC).strftime("%Y/%m/%d")


def _line(origin: Origin, faults: Sequence[RecordFault]) -> bytes:
    schema = {} if origin.line.schema_id is None else {"schema_id": origin.line.schema_id}
    first = faults[0]
    return msgspec.json.encode(
        {
            "shard": origin.line.shard,
            "seq": origin.line.seq,
            "sub": origin.line.sub,
            "arrived_at": origin.line.arrived_at,
            "reason": first.reason,
            "column": first.where,
            "detail": first.what,
            "columns": [fault.where for fault in faults if fault.where],
            "payload": base64.b64encode(bytes(origin.line.event)).decode(),
            **schema,
        }
    )
