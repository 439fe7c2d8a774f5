"""Metrics of the consumer; names end with the unit. Labels are of few values: reasons, streams and shards."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from cdc.emf import Fold, Series

READ_RECORDS = Counter("cdc_consumer_read_records", "Records read from the stream; an aggregate is one.")
READ_BYTES = Counter("cdc_consumer_read_bytes", "Bytes of the records read from the stream.")
WRITTEN_BATCHES = Counter("cdc_consumer_written_batches", "Micro-batches written and checkpointed.")
WRITTEN_RECORDS = Counter("cdc_consumer_written_records", "Records written to raw.", ["table"])
QUARANTINED_RECORDS = Counter("cdc_consumer_quarantined_records", "Records that could not be read.", ["reason"])
LEFT_OUT_RECORDS = Counter("cdc_consumer_left_out_records", "Records that no table contract asks for.", ["reason"])
WRITTEN_BYTES = Counter("cdc_consumer_written_bytes", "Bytes of the raw objects written, compressed.", ["table"])
EMPTY_RECORDS = Counter("cdc_consumer_empty_records", "Records without data (Debezium's tombstones).")
GAPS = Counter("cdc_consumer_gaps", "Places where the stream no longer had what was not read yet.")
TRANSIENT_FAULTS = Counter("cdc_consumer_transient_faults", "Faults that were answered by backing off.", ["operation"])
BEHIND_MILLISECONDS = Gauge(
    "cdc_consumer_behind_milliseconds", "How far reading is behind the shard's tip.", ["stream", "shard"]
)
LEASES_HELD = Gauge("cdc_consumer_held_leases", "Shards that this worker reads.")
LEASES_TAKEN = Counter(
    "cdc_consumer_taken_leases", "Leases that this worker took: free, expired, or stolen for balance.", ["because"]
)
LEASES_LOST = Counter("cdc_consumer_lost_leases", "Leases that another worker took from this one.")
UNCOVERED_HASH_RANGES = Gauge(
    "cdc_consumer_uncovered_hash_ranges", "Ranges of hash keys for which the stream lists no open shard.", ["stream"]
)
UNHELD_SHARDS = Gauge("cdc_consumer_unheld_shards", "Shards that could be read and whose lease no living worker holds.")
SILENCE_SECONDS = Gauge(
    "cdc_consumer_silence_seconds", "Since when no shard that this worker reads gave a record; NaN: it reads none."
)
UNWRITTEN_SECONDS = Gauge(
    "cdc_consumer_unwritten_seconds", "How long the oldest record waits that was read and is not checkpointed."
)
PUT_SECONDS = Histogram("cdc_consumer_put_seconds", "How long writing one object took, retries included.")
CHECKPOINT_SECONDS = Histogram("cdc_consumer_checkpoint_seconds", "How long one checkpoint took, retries included.")

SERIES = (
    Series("cdc_consumer_held_leases"),
    Series("cdc_consumer_written_records"),
    # Always: what one worker hears tells that the others' silence is no producer's death.
    Series("cdc_consumer_silence_seconds", fold=Fold.MAX),
    # From here on only what tells of trouble.
    Series("cdc_consumer_unwritten_seconds", fold=Fold.MAX, from_value=60),
    Series("cdc_consumer_unheld_shards", from_value=1),
    Series("cdc_consumer_uncovered_hash_ranges", from_value=1),
    Series("cdc_consumer_gaps", from_value=1),
    Series("cdc_consumer_quarantined_records", from_value=1),
)
"""What CloudWatch gets."""
