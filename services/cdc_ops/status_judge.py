"""Judge: what of a status is wrong (a problem, exit code 1), and what an operator should merely know. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from cdc import raw
from cdc_ops.report import Finding, Merging, Pile, ShardStatus, TableStatus

CUT_OFF_AGE_MAX = timedelta(minutes=1)
"""A merge between its two commits looks like one that was cut off; it takes seconds."""
TIP_AGE_MAX = timedelta(minutes=15)
"""A consumer notes each minute or so that it has read a shard to its tip."""


def judge(
    tables: Sequence[TableStatus],
    shards: Sequence[ShardStatus],
    quarantine: Mapping[str, Pile],
    damage: Sequence[Finding],
    now: datetime,
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """The problems and the notes of a status; `damage` was found in raw and in the tables' properties."""
    problems = list(dict.fromkeys(damage))  # two tables may wait at one gap
    notes: list[Finding] = []
    for table in tables:
        problems += _table_problems(table, now)
        notes += _table_notes(table)
    for shard in shards:
        problems += _shard_problems(shard, now)
        notes += _shard_notes(shard)
    for reason, pile in quarantine.items():
        least = "" if pile.is_counted_whole else "at least "
        notes.append(
            Finding("quarantine", reason, f"objects in the quarantine: {least}{pile.objects}", "see docs/status.md")
        )
    return tuple(problems), tuple(notes)


def _table_problems(table: TableStatus, now: datetime) -> Iterator[Finding]:
    name = table.name
    if not table.is_made:
        yield Finding(
            "not-made", name, "the table is not in the catalog", "has the compactor ever run with this contract?"
        )
        return
    age, promised = table.valid_through_age_seconds, table.freshness_seconds_max
    if age is not None and age > promised:
        what = f"what is proven complete is {age:.0f} s old, and {promised:g} s are promised"
        yield Finding("late", name, what, "look at what waits, and whether producer, consumer and compactor live")
    for merging in table.shards:
        if merging.waiting_since is not None and (now - merging.waiting_since).total_seconds() > promised:
            yield _behind(table, merging, now)
    if table.waits_for_epoch:
        what = f"a new epoch seems to begin in {', '.join(table.waits_for_epoch)}: until it is recorded all waits"
        yield Finding("waits-for-epoch", name, what, f"see what `cdc epoch {name}` finds, and record it")
    if table.last_reconciled is not None and table.last_reconciled.differences:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(table.last_reconciled.differences.items()))
        at = f"{table.last_reconciled.ended_at:%Y-%m-%d %H:%M} UTC"
        what = f"the last reconciliation, of {at}, found rows that differ: {kinds}"
        yield Finding("unequal", name, what, "see docs/reconcile.md; after the mending run `cdc reconcile` again")
    for snapshot, source in sorted(table.refused_snapshots.items()):
        what = f"the snapshot {snapshot} is of another database, {source}: its shards wait"
        yield Finding("refused-snapshot", name, what, f"see what `cdc epoch {name}` tells of it, and docs/epochs.md")
    history_at = table.history.snapshot_at if table.history is not None else None
    if table.is_cut_off and history_at is not None and now - history_at > CUT_OFF_AGE_MAX:
        what = "history has changes that the table has not: a merge was cut off between its two commits"
        yield Finding("cut-off", name, what, "start the compactor: it finishes the merge first of all")


def _behind(table: TableStatus, merging: Merging, now: datetime) -> Finding:
    assert merging.waiting_since is not None
    waits = (now - merging.waiting_since).total_seconds()
    if merging.held_before is not None:
        what = f"{merging.shard} is held back for {waits:.0f} s before a change that waits for one of another shard"
        return Finding("held", table.name, what, "look whether the other shards are read and merged")
    what = f"a batch of {merging.shard} waits for {waits:.0f} s"
    return Finding("behind", table.name, what, "does the compactor run? See its log for what it stops at")


def _table_notes(table: TableStatus) -> Iterator[Finding]:
    if table.is_made and table.valid_through is None:
        what = "no heartbeat of the source has passed through every shard yet: how complete the table is, is unproven"
        yield Finding("unproven", table.name, what, "see docs/adr/0005 for what the producer must send")
    if not table.is_snapshot_settled:
        what = f"the snapshot of epoch {table.epoch} is not known to be merged whole: valid-through stands still"
        yield Finding("snapshot-open", table.name, what, "is something of it in the quarantine? See docs/epochs.md")
    for column in table.held_columns:
        yield Finding(
            "held-column", table.name, f"{column} arrives, but the contract does not name it", "name it there"
        )
    for column, why in sorted(table.waiting_columns.items()):
        yield Finding(
            "waiting-column", f"{table.name}.{column}", "the contract names it, the lake does not show it", why
        )
    for column, reasons in sorted(table.set_aside.items()):
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        yield Finding("set-aside", f"{table.name}.{column}", f"changes that it ever kept out: {counts}")


def _shard_problems(shard: ShardStatus, now: datetime) -> Iterator[Finding]:
    signs = [sign for sign in (shard.read_to_tip_at, shard.last_arrived_at) if sign is not None]
    if not shard.is_closed and signs and now - max(signs) > TIP_AGE_MAX:
        minutes = (now - max(signs)).total_seconds() / 60
        what = f"nothing tells since {minutes:.0f} minutes that it is read"
        yield Finding("unread", shard.shard, what, "does a consumer run? If the stream was deleted: docs/status.md")


def _shard_notes(shard: ShardStatus) -> Iterator[Finding]:
    if shard.upto is None and shard.read_to_tip_at is None:
        yield Finding("announced", shard.shard, "was seen in the stream, but never read yet")
    if shard.verification is not None and int(shard.verification.begins_after) > raw.START:
        what = "the oldest batch records are no longer there, as after the time that raw is kept"
        yield Finding("begins-later", shard.shard, what)
