"""Read the status: ask the catalog, the raw zone and the quarantine, write nothing, and put a report together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice

import msgspec

from cdc import raw
from cdc.contract import TableContract
from cdc.errors import FatalFault
from cdc.objects import ObjectStore
from cdc.raw import BatchRecord, Tip
from cdc_ops.chain_check import Cover, Range, missing_children
from cdc_ops.report import (
    Files,
    Finding,
    LeaseStatus,
    Level,
    Merging,
    Pile,
    Reconciled,
    Report,
    ShardStatus,
    TableStatus,
)
from cdc_ops.status_judge import judge
from cdc_ops.verify import SizedStore, verify_shard
from compactor.chain import Link, Shard, known_shards, parse_link, read_record, shards
from compactor.epochs import EpochKeeper
from compactor.lake.view import View
from compactor.progress import Progress, ShardEvidence, parse_progress
from compactor.statement import LAST_RECONCILE, held_columns, last_proof

LINKS_MAX = 100_000
"""Batches past the merged offset that are listed of one shard."""
RECORDS_MAX = 500
"""Waiting batch records that are read of one shard, to count what waits in them."""
PILE_MAX = 10_000
"""Objects of one reason in the quarantine that are listed."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a status is read from: views of tables by name, raw, the quarantine, and the leases where they are told."""

    look: Callable[[str], View | None]
    raw: SizedStore
    quarantine: SizedStore
    leases: Callable[[], tuple[LeaseStatus, ...]] | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a shard: its batches from the least merged offset on, some of their records, its tip."""

    links: Sequence[Link]
    is_whole: bool
    records: Mapping[str, BatchRecord]
    findings: Sequence[Finding]
    tip: Tip | None

    @property
    def newest(self) -> BatchRecord | None:
        return self.records.get(self.links[-1].path) if self.links else None


def read_status(
    contracts: Sequence[TableContract],
    sources: Sources,
    now: datetime,
    threads: Executor,
    level: Level | None = None,
    tell: Callable[[str, int], None] = lambda _shard, _batches: None,
) -> Report:
    """The status of the tables of some contracts, and of the shards that feed them.

    Raises:
        CdcError: when a store or the catalog does not answer, or refuses.
    """
    findings: list[Finding] = []
    views = {contract.name: sources.look(contract.name) for contract in contracts}
    progress = {name: _progress(name, view, findings) for name, view in views.items()}
    ids = {shard.id for shard in shards(sources.raw)} | known_shards(sources.raw)
    read = {}
    for shard in map(_shard, sorted(ids)):
        offset = min((some.offsets.get(shard.id, raw.START) for some in progress.values()), default=raw.START)
        read[shard.id] = _read_shard(sources.raw, shard, offset, threads)
        findings += read[shard.id].findings
    tables = []
    # A refused snapshot is told by its marks, which stand where its shards wait.
    is_marked = any(record.marks for shard_read in read.values() for record in shard_read.records.values())
    for contract in contracts:
        view, merged = views[contract.name], progress[contract.name]
        merging, gaps = _merging(contract.name, merged, read)
        findings += gaps if view is not None else []
        refused = _refused(contract, merged, sources.raw) if is_marked and view is not None else {}
        tables.append(_table(contract, view, merged, merging, refused, now))
    told = []
    for shard in map(_shard, sorted(ids)):
        # The batch that closed a shard may be past the time that raw is kept: then the tables still know of it.
        was_closed = any(known.evidence[shard.id].closed for known in progress.values() if shard.id in known.evidence)
        status = _shard_status(shard, read[shard.id], was_closed=was_closed)
        if level is not None:
            verification, wrong = verify_shard(sources.raw, shard, level, threads, tell)
            status = msgspec.structs.replace(status, verification=verification)
            findings += wrong
        told.append(status)
    # Listed anew: a child may have appeared after its parent's end was read.
    known = {shard.id for shard in shards(sources.raw)} | known_shards(sources.raw)
    for id_, shard_read in read.items():
        if shard_read.newest is not None and shard_read.newest.closed:
            findings += missing_children(id_, shard_read.newest, known)
    quarantine = _piles(sources.quarantine)
    problems, notes = judge(tables, told, quarantine, findings, now)
    return Report(
        at=now,
        is_fine=not problems,
        problems=problems,
        notes=notes,
        tables=tuple(tables),
        shards=tuple(told),
        quarantine=quarantine,
        leases=sources.leases() if sources.leases is not None else None,
        verified=level,
    )


def _shard(id_: str) -> Shard:
    stream, _, name = id_.partition("/")
    return Shard(stream, name)


def _progress(name: str, view: View | None, findings: list[Finding]) -> Progress:
    try:
        return parse_progress(view.properties, name) if view is not None else Progress()
    except FatalFault as fault:
        findings.append(Finding("unreadable-progress", name, fault.what, fault.hint))
        return Progress()


def _read_shard(store: ObjectStore, shard: Shard, offset: int, threads: Executor) -> _Read:
    prefix = raw.batch_prefix(shard.stream, shard.name)
    # From the batch that ends at the offset on: it tells whether the shard is closed when nothing waits.
    listed = list(islice(store.list_after(prefix, prefix + raw.padded(offset)), LINKS_MAX + 1))
    links = [link for link in map(parse_link, listed[:LINKS_MAX]) if link is not None]
    wanted = links[:RECORDS_MAX] + links[max(RECORDS_MAX, len(links) - 1) :]
    records: dict[str, BatchRecord] = {}
    findings: list[Finding] = []
    for link, record in zip(wanted, threads.map(lambda link: _record(store, link), wanted), strict=True):
        if isinstance(record, Finding):
            findings.append(record)
        else:
            records[link.path] = record
    return _Read(links, len(listed) <= LINKS_MAX, records, findings, _tip(store, shard))


def _record(store: ObjectStore, link: Link) -> BatchRecord | Finding:
    try:
        return read_record(store, link)
    except FatalFault as fault:
        return Finding("contradiction", link.path, fault.what, fault.hint)


def _tip(store: ObjectStore, shard: Shard) -> Tip | None:
    path = raw.tip_path(shard.stream, shard.name)
    if path not in store.list_after(path.removesuffix(".json")):
        return None
    try:
        return msgspec.json.decode(store.get(path), type=Tip)
    except msgspec.MsgspecError:
        return None  # its holder overwrites it soon


def _merging(table: str, progress: Progress, read: Mapping[str, _Read]) -> tuple[tuple[Merging, ...], list[Finding]]:
    """How far a table is merged in each shard, and the gaps that stop it."""
    gaps: list[Finding] = []
    found = []
    unread = {id_ for id_, shown in progress.evidence.items() if not shown.closed} - read.keys()
    for id_ in sorted({*read, *unread}):
        offset, shard = progress.offsets.get(id_, raw.START), read.get(id_)
        links = [link for link in shard.links if link.upto > offset] if shard is not None else []
        cover = Cover([Range(raw.START, offset, "")])
        for link in links:
            cover.add(link)
        gaps += cover.gaps()
        records = [shard.records[link.path] for link in links if link.path in shard.records] if shard else []
        evidence = progress.evidence.get(id_, ShardEvidence())
        arrivals = (record.arrived_at for record in records if record.arrived_at is not None)
        hold = progress.holds.get(id_)
        found.append(
            Merging(
                shard=id_,
                offset=str(offset),
                batches_waiting=len(links),
                records_waiting=sum(ref.records for record in records for ref in record.objects if ref.table == table),
                is_counted_whole=len(records) == len(links) and (shard is None or shard.is_whole),
                waiting_since=min(arrivals, default=None),
                held_before=str(hold) if hold is not None else None,
                proven_through=evidence.proven_through,
                is_closed=evidence.closed,
            )
        )
    return tuple(found), gaps


def _table(
    contract: TableContract,
    view: View | None,
    progress: Progress,
    merging: tuple[Merging, ...],
    refused: Mapping[str, str],
    now: datetime,
) -> TableStatus:
    if view is None:
        return TableStatus(contract.name, is_made=False, freshness_seconds_max=contract.latency_seconds_max)
    valid_through = progress.valid_through
    return TableStatus(
        name=contract.name,
        is_made=True,
        freshness_seconds_max=contract.latency_seconds_max,
        valid_through=valid_through,
        valid_through_age_seconds=(now - valid_through).total_seconds() if valid_through is not None else None,
        source_lsn=str(progress.proven.lsn) if valid_through is not None else None,
        last_proof_at=last_proof(view.properties),
        last_reconciled=_reconciled(view.properties),
        is_cut_off=view.is_cut_off,
        held_columns=held_columns(view.properties, contract),
        waiting_columns=progress.columns.waiting,
        set_aside=progress.counts.values,
        quarantined=progress.counts.records,
        table=Files(**asdict(view.table)),
        history=Files(**asdict(view.history)),
        shards=merging,
        epoch=progress.epoch,
        is_snapshot_settled=progress.is_snapshot_settled,
        waits_for_epoch=tuple(sorted(progress.waits)),
        refused_snapshots=refused,
    )


def _refused(contract: TableContract, progress: Progress, store: ObjectStore) -> Mapping[str, str]:
    """The snapshots that wait since they are of another database, each with that."""
    keeper = EpochKeeper(contract, store)
    keeper.refresh()
    keeper.find_refused(progress)
    return keeper.refused


def _reconciled(properties: Mapping[str, str]) -> Reconciled | None:
    try:
        return msgspec.json.decode(properties.get(LAST_RECONCILE) or "null", type=Reconciled | None)
    except msgspec.MsgspecError:
        return None


def _shard_status(shard: Shard, read: _Read, *, was_closed: bool) -> ShardStatus:
    newest = read.newest
    return ShardStatus(
        shard=shard.id,
        upto=str(read.links[-1].upto) if read.links else None,
        last_arrived_at=newest.arrived_at if newest is not None else None,
        read_to_tip_at=read.tip.read_to_tip_at if read.tip is not None else None,
        is_closed=was_closed or (newest is not None and newest.closed),
        children=tuple(f"{shard.stream}/{child}" for child in newest.children) if newest is not None else (),
    )


def _piles(store: SizedStore) -> dict[str, Pile]:
    # What begins with an underscore is no reason: `_replayed` holds what was put back and resolved.
    reasons = sorted(name for name in store.list_folders("") if not name.startswith("_"))
    return {reason: _pile(store.sizes(f"{reason}/")) for reason in reasons}


def _pile(sizes: Iterable[tuple[str, int]]) -> Pile:
    totals: defaultdict[str, int] = defaultdict(int)
    for number, (_, size) in enumerate(sizes):
        if number == PILE_MAX:
            return Pile(totals["objects"], totals["bytes"], is_counted_whole=False)
        totals["objects"] += 1
        totals["bytes"] += size
    return Pile(totals["objects"], totals["bytes"], is_counted_whole=True)
