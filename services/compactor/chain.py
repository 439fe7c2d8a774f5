"""Chain: which batches of a shard are new, and whether they follow one another without a gap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import msgspec

from cdc import raw
from cdc.errors import RawFault
from cdc.objects import ObjectStore
from cdc.raw import BatchRecord, ObjectRef, RawLine

PLAIN_BYTES_ASSUMED = 10 * 1024 * 1024
"""Of an object whose record does not say how large its lines are: what an object holds at most, but for one record."""

_NAME = re.compile(r"(?P<upto>\d+)~(?P<after>\d+)\.json")


@dataclass(frozen=True, slots=True)
class Link:
    """A batch by its name: it covers every record of its shard in (after, upto]."""

    after: int
    upto: int
    path: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard of a stream, both as the raw zone names them."""

    stream: str
    name: str

    @property
    def id(self) -> str:
        """Its key in `cdc.offsets`."""
        return f"{self.stream}/{self.name}"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is to be merged: the records of `record` past `after`."""

    shard: Shard
    after: int
    upto: int
    record: BatchRecord

    @property
    def name(self) -> str:
        """Its name among the objects made from it, as raw objects have it."""
        bounds = f"{raw.padded(int(self.record.after))}~{raw.padded(int(self.record.upto))}"
        return f"{self.shard.stream}~{self.shard.name}~{bounds}"


def follow(links: Sequence[Link], offset: int) -> list[Link]:
    """The links that lead on from an offset, in order; overlaps (a zombie wrote late) are harmless.

    Raises:
        RawFault: when there is something past the offset, but nothing that starts at it: records are missing.
    """
    chosen: list[Link] = []
    reached, missing = offset, None
    for link in sorted(links, key=lambda link: (link.upto, link.after)):
        if link.upto <= reached:
            continue
        if link.after > reached:
            missing = missing or link  # unless one that reaches further covers it
            continue
        chosen.append(link)
        reached, missing = link.upto, None
    if missing is not None:
        raise RawFault(
            "the chain of batch records has a gap: records between two batches are missing",
            where=missing.path,
            hint="look whether the stream lost them (retention) or a batch record was deleted; nothing past it "
            "is merged until it is filled by a replay or a new snapshot",
        )
    return chosen


def shards(store: ObjectStore) -> Iterator[Shard]:
    """All shards that have batches."""
    for stream in store.list_folders(f"{raw.BATCHES}/"):
        for name in store.list_folders(f"{raw.BATCHES}/{stream}/"):
            yield Shard(stream, name)


def known_shards(store: ObjectStore) -> set[str]:
    """The ids of all shards that the consumer has seen, read or not: each has a tip."""
    tips = f"{raw.TIPS}/"
    return {path.removeprefix(tips).removesuffix(".json") for path in store.list_after(tips)}


def new_links(store: ObjectStore, shard: Shard, offset: int) -> list[Link]:
    """What is new in a shard: one listing past its offset."""
    listed = store.list_after(
        raw.batch_prefix(shard.stream, shard.name), raw.batches_past(shard.stream, shard.name, offset)
    )
    return follow([_link(path) for path in listed], offset)


def parse_link(path: str) -> Link | None:
    """The batch that a path names; None when it names none."""
    match = _NAME.fullmatch(path.rsplit("/", 1)[1])
    return None if match is None else Link(int(match["after"]), int(match["upto"]), path)


def _link(path: str) -> Link:
    link = parse_link(path)
    if link is None:
        raise RawFault(
            "an object among the batch records has a name that is none of theirs",
            where=path,
            hint="find out who wrote it and move it away",
        )
    return link


def new_batches(
    store: ObjectStore, offsets: Mapping[str, int], records_max: int, bytes_max: int
) -> tuple[list[Batch], bool]:
    """The batches to merge next, of all shards in turn, until they hold so many records or bytes; is more left?

    Bytes are counted before compression, for that is what takes memory: documents may shrink to a fortieth.
    """
    turns = links_in_turn(store, offsets)
    turn = next(turns, None)
    taken: list[Batch] = []
    records = size = 0
    while records < records_max and size < bytes_max and turn is not None:
        for shard, after, link in turn:
            record = read_record(store, link)
            taken.append(Batch(shard, after, link.upto, record))
            records += sum(ref.records for ref in record.objects)
            size += sum(ref.plain_bytes or PLAIN_BYTES_ASSUMED for ref in record.objects)
        turn = next(turns, None)
    return taken, turn is not None


def links_in_turn(store: ObjectStore, offsets: Mapping[str, int]) -> Iterator[list[tuple[Shard, int, Link]]]:
    """What is new past some offsets: turn by turn the next link of each shard, with where the one before it ended."""
    by_shard: list[list[tuple[Shard, int, Link]]] = []
    for shard in shards(store):
        offset = offsets.get(shard.id, raw.START)
        links = new_links(store, shard, offset)
        afters = [offset, *(link.upto for link in links[:-1])] if links else []
        by_shard.append([(shard, after, link) for after, link in zip(afters, links, strict=True)])
    for turn in zip_longest(*by_shard):
        yield [entry for entry in turn if entry is not None]


def batches_between(store: ObjectStore, shard: Shard, after: int, upto: int) -> Iterator[Batch]:
    """The batches of a shard that hold the records in (after, upto], to be read once more.

    Raises:
        RawFault: when raw has not all of them any more.
    """
    reached = after
    for link in new_links(store, shard, after):
        if reached >= upto:
            return
        yield Batch(shard, reached, min(link.upto, upto), read_record(store, link))
        reached = link.upto
    if reached < upto:
        where = raw.batch_prefix(shard.stream, shard.name)
        raise RawFault("raw does not reach as far as the table is merged", where=where)


def shard_of(shard_id: str) -> Shard:
    """The shard that a key of `cdc.offsets` names."""
    stream, _, name = shard_id.partition("/")
    return Shard(stream, name)


def read_record(store: ObjectStore, link: Link) -> BatchRecord:
    """The batch record of a link.

    Raises:
        RawFault: when it does not say what its name says.
    """
    try:
        record = msgspec.json.decode(store.get(link.path), type=BatchRecord)
    except msgspec.DecodeError:
        record = None
    if record is None or (int(record.after), int(record.upto)) != (link.after, link.upto):
        raise RawFault(
            "a batch record does not say what its name says",
            where=link.path,
            hint="restore it from the bucket's versions; do not skip it",
        )
    return record


def read_lines(store: ObjectStore, batch: Batch, table: str) -> Iterator[RawLine]:
    """The lines of one table in a batch, those of an overlap left out."""
    refs: list[ObjectRef] = [ref for ref in batch.record.objects if ref.table == table]
    is_whole = (batch.after, batch.upto) == (int(batch.record.after), int(batch.record.upto))
    for ref in refs:
        lines = raw.decode_object(store.get(ref.path), ref)
        yield from lines if is_whole else (line for line in lines if batch.after < int(line.seq) <= batch.upto)
