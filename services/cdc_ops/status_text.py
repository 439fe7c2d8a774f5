"""Status text: the report for people, aligned and in plain words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from cdc.lake_name import shown
from cdc_ops.report import Files, Finding, LeaseStatus, Merging, Pile, Reconciled, Report, ShardStatus, TableStatus

_UNITS = ("B", "kB", "MB", "GB", "TB")
_DIGITS = 12


def status_text(report: Report) -> str:
    """The whole report."""
    lines = [f"status at {_time(report.at)}"]
    for table in report.tables:
        lines += ["", f"table {table.name}", *_aligned(_table(table, report.at))]
    lines += ["", "raw"]
    for shard in report.shards:
        lines += [f"  shard {shard.shard}", *_aligned(_shard(shard, report.at), "    ")]
    lines += ["", "quarantine", *_aligned(_quarantine(report.quarantine))]
    if report.leases is not None:
        lines += ["", "leases", *_aligned((lease.shard, _lease(lease)) for lease in report.leases)]
    lines += _findings("notes", report.notes)
    lines += _findings("problems", report.problems)
    lines += ["", "fine" if report.is_fine else _many(len(report.problems), "problem")]
    return "".join(f"{shown(line)}\n" for line in lines)


def _table(table: TableStatus, now: datetime) -> list[tuple[str, str]]:
    if not table.is_made or table.table is None or table.history is None:
        return [("state", "not made yet")]
    promised = f"promised: {table.freshness_seconds_max:g} s"
    valid = f"{_time(table.valid_through)}, {_age(table.valid_through, now)} ({promised})"
    values = [f"{column}: {_counts(reasons)}" for column, reasons in sorted(table.set_aside.items())]
    lines = [
        ("rows", f"{table.table.live_rows:,}"),
        ("valid through", valid if table.valid_through is not None else f"not proven yet ({promised})"),
        ("source LSN", table.source_lsn or "not proven yet"),
        ("last proof", _time(table.last_proof_at) if table.last_proof_at is not None else "never"),
        ("held columns", ", ".join(table.held_columns) or "none"),
        ("waiting columns", ", ".join(sorted(table.waiting_columns)) or "none"),
        ("ever set aside", _counts(table.quarantined)),
        ("  by column", "; ".join(values) or "none"),
        ("table files", _files(table.table)),
        ("history files", _files(table.history)),
        *([("last reconciled", _reconciled(table.last_reconciled))] if table.last_reconciled is not None else []),
        ("epoch", _epoch(table)),
        ("commits", "history is ahead of the table" if table.is_cut_off else "history and table agree"),
    ]
    return lines + [(f"shard {merging.shard}", _merging(merging, now)) for merging in table.shards]


def _reconciled(found: Reconciled) -> str:
    scope = "a sample, " if found.is_sample else ""
    undecided = f", {found.undecided:,} undecided" if found.undecided else ""
    return (
        f"{_time(found.ended_at)}: {scope}{found.rows_at_source:,} rows; {_counts(found.differences)} differ{undecided}"
    )


def _epoch(table: TableStatus) -> str:
    if table.refused_snapshots:
        return f"{table.epoch}; a snapshot of another database waits"
    if table.waits_for_epoch:
        return f"{table.epoch}; waits for the next one to be recorded"
    return str(table.epoch) if table.is_snapshot_settled else f"{table.epoch}; its snapshot is not complete yet"


def _merging(merging: Merging, now: datetime) -> str:
    parts = [f"merged up to {_short(merging.offset)}"]
    if merging.batches_waiting:
        least = "" if merging.is_counted_whole else "at least "
        since = f", the oldest since {_age(merging.waiting_since, now, '')}" if merging.waiting_since else ""
        records = f"{least}{_many(merging.records_waiting, 'record')}"
        parts.append(f"waiting: {_many(merging.batches_waiting, 'batch')}, {records}{since}")
    else:
        parts.append("nothing waits")
    if merging.held_before is not None:
        parts.append(f"held back before {_short(merging.held_before)}")
    if merging.is_closed:
        parts.append("closed")
    return "; ".join(parts)


def _shard(shard: ShardStatus, now: datetime) -> list[tuple[str, str]]:
    lines = [
        ("newest batch", f"up to {_short(shard.upto)}" if shard.upto is not None else "none"),
        ("last arrival", _age(shard.last_arrived_at, now)),
        ("read to its tip", _age(shard.read_to_tip_at, now)),
    ]
    if shard.is_closed:
        lines.append(("closed", f"followed by {', '.join(shard.children) or 'none'}"))
    seen = shard.verification
    if seen is not None:
        told = f"{_many(seen.batches, 'batch')}, {_many(seen.overlaps, 'overlap')}"
        if seen.objects is not None and seen.bytes is not None:
            told += (
                f", {_many(seen.objects, 'object')} of {_bytes(seen.bytes)} with {_many(seen.records or 0, 'record')}"
            )
            told += f"; {seen.quarantined:,} quarantined, {seen.left_out:,} left out, {seen.empty:,} empty"
        lines.append(("verified", told))
    return lines


def _quarantine(piles: Mapping[str, Pile]) -> list[tuple[str, str]]:
    if not piles:
        return [("empty", "")]
    return [
        (reason, f"{'' if pile.is_counted_whole else 'at least '}{_many(pile.objects, 'object')}, {_bytes(pile.bytes)}")
        for reason, pile in piles.items()
    ]


def _lease(lease: LeaseStatus) -> str:
    return f"{lease.owner or 'nobody'}, checkpoint {_short(lease.checkpoint)}"


def _files(files: Files) -> str:
    told = f"{files.data_files:,} data, {files.delete_files:,} delete, {_bytes(files.bytes)}"
    more = f"{files.snapshots:,} snapshots, metadata {_bytes(files.metadata_bytes)}"
    return f"{told}; {files.dead_rows:,} dead rows; {more}"


def _findings(title: str, findings: Sequence[Finding]) -> list[str]:
    lines = ["", title] if findings else []
    for finding in findings:
        lines.append(f"  {finding.kind}: {finding.where}: {finding.what}")
        lines += [f"    {finding.hint}"] if finding.hint else []
    return lines


def _aligned(pairs: Iterable[tuple[str, str]], indent: str = "  ") -> list[str]:
    listed = list(pairs)
    width = max((len(label) for label, _ in listed if not label.startswith("shard ")), default=0)
    return [f"{indent}{label:{width}}  {text}".rstrip() for label, text in listed]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items())) or "none"


def _many(count: int, noun: str) -> str:
    plural = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{plural}"


def _short(number: str) -> str:
    """A sequence number by its last digits, which tell neighbours apart; the JSON has it whole."""
    return f"…{number[-_DIGITS:]}" if len(number) > _DIGITS else number


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment is not None else "never"


def _age(moment: datetime | None, now: datetime, suffix: str = " ago") -> str:
    if moment is None:
        return "never"
    seconds = round((now - moment).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}{suffix}"
    return f"{seconds} s{suffix}"


def _bytes(count: int) -> str:
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"
