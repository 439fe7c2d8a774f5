"""Verify: read the chains of the raw zone as deep as asked, and tell what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from cdc import raw
from cdc.errors import FatalFault
from cdc.objects import ObjectStore
from cdc.raw import BatchRecord, ObjectRef
from cdc_ops.chain_check import Cover, past_the_end, stranger, wrong_content, wrong_sizes
from cdc_ops.report import Finding, Level, Verification
from compactor.chain import Link, Shard, parse_link, read_record

CHUNK = 64
"""So many batch records are read at once; of large objects no more than there are threads."""
FOLDERS_MAX = 8
"""Listings of folders that are remembered: batches follow one another by day."""
FINDINGS_MAX = 100
"""Findings of one shard that are told; the rest is only counted."""


class SizedStore(ObjectStore, Protocol):
    """An object store whose listings tell sizes."""

    def sizes(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]:
        """The paths under a prefix with their sizes in bytes, in order, that sort after a path."""


@dataclass(slots=True)
class _Totals:
    objects: int = 0
    bytes: int = 0
    records: int = 0
    quarantined: int = 0
    left_out: int = 0
    empty: int = 0

    def add(self, record: BatchRecord) -> None:
        self.objects += len(record.objects)
        self.bytes += sum(ref.bytes for ref in record.objects)
        self.records += sum(ref.records for ref in record.objects)
        self.quarantined += record.quarantined
        self.left_out += record.left_out
        self.empty += record.empty


@dataclass(slots=True)
class Sizes:
    """Sizes of objects, by one listing for each folder instead of one request for each object."""

    store: SizedStore
    folders: dict[str, dict[str, int]] = field(default_factory=dict)

    def of(self, refs: Iterable[ObjectRef]) -> dict[str, int]:
        """The sizes of those objects that are there."""
        found = {}
        for ref in refs:
            folder = ref.path.rpartition("/")[0] + "/"
            if folder not in self.folders:
                while len(self.folders) >= FOLDERS_MAX:
                    self.folders.pop(next(iter(self.folders)))
                self.folders[folder] = dict(self.store.sizes(folder))
            # A batch may be younger than the listing that is remembered: what it lacks is looked for by itself.
            listed = self.folders[folder]
            if ref.path not in listed:
                listed |= dict(self.store.sizes(ref.path))
            if ref.path in listed:
                found[ref.path] = listed[ref.path]
        return found


def verify_shard(
    store: SizedStore, shard: Shard, level: Level, threads: Executor, tell: Callable[[str, int], None]
) -> tuple[Verification, list[Finding]]:
    """Verify one shard's chain from its oldest batch record on; `tell` hears the shard and how many batches are done.

    `names` is one listing; `sizes` also reads every batch record and lists its objects; `checksums` reads those too.

    Raises:
        CdcError: when the store does not answer.
    """
    cover, findings, more = Cover(), list[Finding](), 0
    totals, sizes, ended = _Totals(), Sizes(store), None
    for links in _chunks(_links(store, shard, findings), CHUNK):
        found: list[Finding] = []
        for link in links:
            cover.add(link)
        if level != "names":
            for link, record in zip(links, threads.map(lambda link: _read(store, link), links), strict=True):
                found += past_the_end(ended, link) if ended is not None else []
                if isinstance(record, Finding):
                    found.append(record)
                    continue
                totals.add(record)
                ended = link.upto if record.closed and ended is None else ended
                wrong = wrong_sizes(record, sizes.of(record.objects))
                found += wrong
                if level == "checksums":
                    whole = [ref for ref in record.objects if ref.path not in {finding.where for finding in wrong}]
                    found += [one for some in threads.map(lambda ref: _check(store, ref), whole) for one in some]
        room = max(FINDINGS_MAX - len(findings), 0)
        findings += found[:room]
        more += len(found[room:])
        tell(shard.id, cover.batches)
    findings += cover.gaps()[:FINDINGS_MAX]
    if more:
        findings.append(Finding("more", shard.id, f"{more} more findings of this shard are not told"))
    begins_after = str(cover.ranges[0].after if cover.ranges else raw.START)
    if level == "names":
        return Verification(cover.batches, cover.overlaps, begins_after), findings
    return (
        Verification(
            cover.batches, cover.overlaps, begins_after, totals.objects, totals.bytes, totals.records,
            totals.quarantined, totals.left_out, totals.empty,
        ),
        findings,
    )  # fmt: skip


def _links(store: ObjectStore, shard: Shard, strangers: list[Finding]) -> Iterator[Link]:
    for path in store.list_after(raw.batch_prefix(shard.stream, shard.name)):
        link = parse_link(path)
        if link is not None:
            yield link
        elif len(strangers) < FINDINGS_MAX:
            strangers.append(stranger(path))


def _chunks(links: Iterator[Link], size: int) -> Iterator[list[Link]]:
    while chunk := list(islice(links, size)):
        yield chunk


def _read(store: ObjectStore, link: Link) -> BatchRecord | Finding:
    try:
        return read_record(store, link)
    except FatalFault as fault:
        return Finding("contradiction", link.path, fault.what, fault.hint)


def _check(store: ObjectStore, ref: ObjectRef) -> list[Finding]:
    try:
        return wrong_content(ref, store.get(ref.path))
    except FatalFault as fault:
        return [Finding("missing-object", ref.path, fault.what, fault.hint)]
