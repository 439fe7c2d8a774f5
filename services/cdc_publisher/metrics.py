"""What the publisher counts, as Prometheus shows it on `/metrics`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from cdc.emf import Fold, Series

CHANGES = Counter("cdc_publisher_changes", "Change events handed to the stream, by Debezium's op", ["op"])
RECORDS = Counter("cdc_publisher_records", "Records that the stream acknowledged")
BYTES = Counter("cdc_publisher_sent_bytes", "Bytes of records that the stream acknowledged")
RETRIES = Counter(
    "cdc_publisher_retries", "Records that the stream refused and that were put again, by error code", ["code"]
)
PUT_SECONDS = Histogram("cdc_publisher_put_seconds", "How long one PutRecords call took")
PENDING = Gauge("cdc_publisher_pending_records", "Records that the stream has not acknowledged yet")
LAG_BYTES = Gauge(
    "cdc_publisher_lag_bytes", "How far the confirmed position is behind the log's end that was last heard of"
)
CONFIRMED_LSN = Gauge("cdc_publisher_confirmed_lsn", "Position up to which the slot is confirmed, as a number")
BACKFILL_ROWS = Counter("cdc_publisher_backfill_rows", "Rows read for the backfill")
HEARTBEATS = Counter(
    "cdc_publisher_heartbeats", "Heartbeats that came back through the log and were put to every shard"
)
HEARTBEAT_SECONDS = Gauge("cdc_publisher_heartbeat_timestamp_seconds", "Commit time of the last heartbeat that was put")
SILENCE_SECONDS = Gauge(
    "cdc_publisher_silence_seconds", "How long ago the stream took a record, since streaming began; 0: not streaming"
)
CONNECTED = Gauge("cdc_publisher_connected", "1 while the publisher streams or makes a backfill, else 0")
SLOT_RETAINED_BYTES = Gauge("cdc_publisher_slot_retained_bytes", "Log that the source keeps for the slot")
SLOT_AT_RISK = Gauge(
    "cdc_publisher_slot_at_risk", "1 when the source may throw away log that the slot needs, or has done so, else 0"
)
SKIPPED = Counter("cdc_publisher_skipped", "What came through the log and is not published, by reason", ["reason"])
NEW_EPOCHS = Counter("cdc_publisher_new_epochs", "Times that the slot was lost and every table read anew")
RECONNECTS = Counter("cdc_publisher_reconnects", "Times that the connection to the database was lost")

SERIES = (
    Series("cdc_publisher_connected", fold=Fold.MAX),
    Series("cdc_publisher_slot_retained_bytes", fold=Fold.MAX),
    # From here on only what tells of trouble.
    Series("cdc_publisher_silence_seconds", fold=Fold.MAX, from_value=60),
    Series("cdc_publisher_slot_at_risk", from_value=1),
    Series("cdc_publisher_new_epochs", from_value=1),
)
"""What CloudWatch gets."""
