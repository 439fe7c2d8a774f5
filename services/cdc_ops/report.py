"""Report: what `cdc status --json` prints. Its keys are documented in docs/status.md and stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

Level = Literal["names", "sizes", "checksums"]


class Finding(msgspec.Struct, frozen=True):
    """Something that an operator should know. `kind` is a short fixed word, `where` an object, shard or table."""

    kind: str
    where: str
    what: str
    hint: str = ""


class Files(msgspec.Struct, frozen=True):
    """The files of one Iceberg table; `dead_rows` are deleted but still in data files."""

    live_rows: int
    dead_rows: int
    data_files: int
    delete_files: int
    bytes: int
    snapshots: int
    metadata_bytes: int
    snapshot_at: datetime | None


class Merging(msgspec.Struct, frozen=True):
    """How far a table is merged in a shard. Sequence numbers are text: they are longer than JSON's readers hold.

    `records_waiting` is of this table, in at least so many of the waiting batches as were read (`is_counted_whole`).
    `held_before` is the sequence number of a change that waits for one of another shard.
    """

    shard: str
    offset: str
    batches_waiting: int
    records_waiting: int
    is_counted_whole: bool
    waiting_since: datetime | None
    held_before: str | None
    proven_through: datetime | None
    is_closed: bool


class Reconciled(msgspec.Struct, frozen=True):
    """What the last `cdc reconcile` of a table found; of a sample nothing is proven."""

    began_at: datetime
    ended_at: datetime
    rows_at_source: int
    rows_in_lake: int
    differences: Mapping[str, int]
    columns: Mapping[str, int]
    undecided: int
    is_sample: bool


class TableStatus(msgspec.Struct, frozen=True):
    """One table of a contract. Counts tell what was ever set aside: a replay does not lower them.

    `is_snapshot_settled`: the rows are gone that the newest snapshot did not find any more. `waits_for_epoch` are
    shards in which an epoch seems to begin that nobody recorded: nothing is merged until somebody does.
    `refused_snapshots` are of another database than the table, which each has by the snapshot's id: their shards wait.
    """

    name: str
    is_made: bool
    freshness_seconds_max: float
    valid_through: datetime | None = None
    valid_through_age_seconds: float | None = None
    source_lsn: str | None = None
    last_proof_at: datetime | None = None
    last_reconciled: Reconciled | None = None
    is_cut_off: bool = False
    held_columns: tuple[str, ...] = ()
    waiting_columns: Mapping[str, str] = {}
    set_aside: Mapping[str, Mapping[str, int]] = {}
    quarantined: Mapping[str, int] = {}
    table: Files | None = None
    history: Files | None = None
    shards: tuple[Merging, ...] = ()
    epoch: int = 1
    is_snapshot_settled: bool = True
    waits_for_epoch: tuple[str, ...] = ()
    refused_snapshots: Mapping[str, str] = {}


class Verification(msgspec.Struct, frozen=True):
    """What the verification of a shard's chain saw; figures of what only deeper levels read are null."""

    batches: int
    overlaps: int
    begins_after: str
    objects: int | None = None
    bytes: int | None = None
    records: int | None = None
    quarantined: int | None = None
    left_out: int | None = None
    empty: int | None = None


class ShardStatus(msgspec.Struct, frozen=True):
    """One shard of the raw zone: its newest batch, and the last sign of life of its reader."""

    shard: str
    upto: str | None
    last_arrived_at: datetime | None
    read_to_tip_at: datetime | None
    is_closed: bool
    children: tuple[str, ...]
    verification: Verification | None = None


class Pile(msgspec.Struct, frozen=True):
    """What lies in the quarantine for one reason."""

    objects: int
    bytes: int
    is_counted_whole: bool


class LeaseStatus(msgspec.Struct, frozen=True):
    """Who reads a shard (None: nobody), and the consumer's checkpoint."""

    shard: str
    owner: str | None
    checkpoint: str


class Report(msgspec.Struct, frozen=True):
    """The whole of it. `is_fine` is False exactly when there are problems; notes are no problems."""

    at: datetime
    is_fine: bool
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    tables: tuple[TableStatus, ...]
    shards: tuple[ShardStatus, ...]
    quarantine: Mapping[str, Pile]
    leases: tuple[LeaseStatus, ...] | None
    verified: Level | None
    version: int = 1
