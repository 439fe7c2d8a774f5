"""What the compactor shows of itself, as docs/metrics.md lists it. Labels are names of tables, columns and reasons."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from cdc.emf import Fold, Series

CHANGES = Counter("compactor_merged_changes", "Changes merged into the lake.", ["table"])
DUPLICATES = Counter("compactor_duplicate_changes", "Changes that were in the lake already.", ["table"])
VANISHED = Counter("compactor_vanished_rows", "Rows deleted since a new snapshot did not find them.", ["table"])
HEALED = Counter("compactor_healed_changes", "Changes that were set aside and could be merged later.", ["table"])
QUARANTINED = Counter("compactor_quarantined_records", "Records that could not be merged.", ["table", "reason"])
SET_ASIDE = Counter(
    "compactor_values_set_aside",
    "Values that kept their change out of the lake, by column.",
    ["table", "column", "reason"],
)
CONFLICTS = Counter("compactor_conflicts", "Times that another writer had committed to a table of ours.", ["table"])
CHAIN_FAULTS = Counter("compactor_chain_faults", "Times that raw lacked something or said what cannot be.")
MERGE_SECONDS = Histogram("compactor_merge_seconds", "Time of a merge from listing to commit.", ["table"])
MERGE_AGE = Gauge("compactor_merge_age_seconds", "How long ago a merge came to its end without a fault.", ["table"])
VALID_THROUGH = Gauge(
    "compactor_valid_through_timestamp_seconds", "valid-through as Unix time; 0 while nothing is proven.", ["table"]
)
VALID_THROUGH_AGE = Gauge(
    "compactor_valid_through_age_seconds", "How old valid-through is; since the start, while nothing is.", ["table"]
)
OVERDUE = Gauge(
    "compactor_overdue_seconds", "How much older valid-through is than the contract promises; 0: it is not.", ["table"]
)
PROOF_AGE = Gauge(
    "compactor_proof_age_seconds",
    "How long ago the table was proven equal to its source; since 1970: never.",
    ["table"],
)
ROWS = Gauge("compactor_rows", "Rows of the table.", ["table"])
INDEX_BYTES = Gauge("compactor_index_bytes", "Memory of the index of the table's keys.", ["table"])
HELD_SHARDS = Gauge("compactor_held_shards", "Shards held back by a change that cannot be resolved yet.", ["table"])
WAITING_COLUMNS = Gauge(
    "compactor_waiting_columns", "Columns that the contract names and the lake does not show yet.", ["table"]
)
HELD_COLUMNS = Gauge("compactor_held_columns", "Columns that arrive but stand in no contract.", ["table"])
WAITS_FOR_EPOCH = Gauge("compactor_waits_for_epoch", "Shards in which an unrecorded epoch seems to begin.", ["table"])
REFUSED_SNAPSHOTS = Gauge("compactor_refused_snapshots", "Snapshots that wait, being of another database.", ["table"])
DISCARDED = Counter("compactor_discarded_records", "Records of another database, which are left out.", ["table"])
STATUS_FAILURES = Counter("compactor_status_failures", "Refreshes of the table cdc_status that failed.")
MAINTENANCE_BEHIND = Gauge(
    "compactor_maintenance_behind_seconds", "How long ago nothing was left to maintain of the table.", ["table"]
)
MAINTENANCE_FAILURES = Counter("compactor_maintenance_failures", "Steps of maintenance that failed.", ["table"])
MAINTENANCE_SECONDS = Histogram("compactor_maintenance_seconds", "Time of a step of maintenance.", ["table", "step"])
MAINTAINED_ROWS = Counter("compactor_maintenance_rows", "Rows that maintenance moved to new files.", ["table"])
REPLACED_FILES = Counter("compactor_maintenance_replaced_files", "Data files that maintenance replaced.", ["table"])
DELETED_FILES = Counter("compactor_maintenance_deleted_files", "Files deleted that nothing names any more.", ["table"])

_DAY = 86_400
SERIES = (
    Series("compactor_valid_through_age_seconds", ("table",), Fold.MAX),
    Series("compactor_merge_age_seconds", ("table",), Fold.MAX),
    Series("compactor_merge_seconds", ("table",)),
    Series("compactor_merged_changes", ("table",)),
    # From here on only what tells of trouble.
    Series("compactor_overdue_seconds", ("table",), Fold.MAX, from_value=0.001),
    Series("compactor_proof_age_seconds", ("table",), Fold.MAX, from_value=7 * _DAY),
    Series("compactor_maintenance_behind_seconds", ("table",), Fold.MAX, from_value=1_800),
    *(
        Series(name, ("table",), from_value=1)
        for name in (
            "compactor_quarantined_records", "compactor_conflicts", "compactor_held_shards",
            "compactor_waiting_columns", "compactor_held_columns", "compactor_waits_for_epoch",
            "compactor_refused_snapshots", "compactor_discarded_records",
        )
    ),
    Series("compactor_chain_faults", from_value=1),
    Series("compactor_status_failures", from_value=1),
)  # fmt: skip
"""What CloudWatch gets."""
