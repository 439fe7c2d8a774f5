"""Zone: the raw objects of one table that count, with their epochs; or why raw alone cannot tell the table's state.

Whatever makes the compactor wait makes the state unknown, and is a fault here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import msgspec

from cdc import raw
from cdc.contract import TableContract
from cdc.epoch import Epochs
from cdc.errors import FatalFault, RawFault
from cdc.objects import ObjectStore
from cdc.raw import ObjectRef, RawLine, decode_text, unpack
from compactor.chain import Batch, known_shards, links_in_turn, read_record
from compactor.epochs import EpochKeeper
from compactor.plain import Line
from compactor.progress import Progress, advanced, restarted, with_epochs, with_known
from compactor.state.noted import Noted

_AHEAD = 3
"""How many objects are fetched ahead, which is waiting for the store."""
_RECORDS_AHEAD = 16
"""How many batch records, which are small: all of the time is waiting."""
_TOLD_RECORDS = 1000
"""After how many batch records it is told how far they are read."""
FROM_THE_START: Final = Progress()
Tell = Callable[[str], None]
_T = TypeVar("_T")
_R = TypeVar("_R")


class Piece(NamedTuple):
    """A raw object of the table. `epoch` is that of all its lines; None where they are of several epochs, or some of
    them are in another batch as well, so that each line must be asked.
    """

    batch: Batch
    ref: ObjectRef
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Zone:
    """The objects of one table in the order in which a merge takes them, and how far that comes."""

    contract: TableContract
    store: ObjectStore
    pieces: Sequence[Piece]
    epochs: Epochs
    progress: Progress
    shards: frozenset[str]

    def texts(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, bytes]]:
        """Some objects, each checked and unpacked. Raises RawFault where one is not what its batch record says."""
        for piece, body in _ahead(lambda piece: self.store.get(piece.ref.path), pieces):
            # Here and not in a thread ahead: memory that one thread uses again and again costs half the time.
            yield piece, unpack(body, piece.ref)

    def lines(self, piece: Piece, text: bytes) -> list[Line]:
        """The lines of an object that count, each with its epoch."""
        shard, name = piece.batch.shard.id, piece.batch.name
        lines = decode_text(text, piece.ref)
        if piece.epoch is not None:
            return [Line(shard, name, line, piece.epoch) for line in lines]
        told = (Line(shard, name, line, self.epochs.of(shard, int(line.seq))) for line in self._own(piece, lines))
        return [line for line in told if line.epoch not in self.epochs.discarded]

    @staticmethod
    def _own(piece: Piece, lines: Iterable[RawLine]) -> Iterator[RawLine]:
        return (line for line in lines if piece.batch.after < int(line.seq) <= piece.batch.upto)


def open_zone(
    contract: TableContract, store: ObjectStore, begins: Progress = FROM_THE_START, tell: Tell = lambda _: None
) -> Zone:
    """Learn what raw has of a table; nothing is written to it. `begins` is the progress of a table that has no rows yet
    and wants none from before: that of the newest snapshot, where raw no longer reaches back further. `tell` is told
    how far batch records are read.

    Raises:
        RawFault: when the chain of a shard has a gap.
        FatalFault: when the compactor would wait here for an operator, or for what has not come yet.
    """
    noted = Noted(store)
    shards = known_shards(noted)
    tips = {shard: _tip(noted, shard) for shard in sorted(shards)}
    keeper = EpochKeeper(contract, noted)
    batches = _batches(noted, begins, tell)
    _check_reach({shard: upto for shard, upto in tips.items() if shard not in begins.evidence}, batches, begins)
    keeper.refresh()
    while True:
        epochs = keeper.epochs
        progress = with_known(with_epochs(begins, epochs), shards)
        admitted = keeper.admitted(batches, progress, shards, is_new=True)
        keeper.refresh()
        if keeper.epochs == epochs:
            break
    noted.forget()
    name = contract.name
    if len(admitted) < len(batches):
        waiting = {batch.shard.id for batch in batches} - {batch.shard.id for batch in admitted}
        raise FatalFault(
            f"raw tells of a snapshot that is not recorded whole; told in {', '.join(sorted(waiting)) or 'part of it'}",
            where=name,
            hint="its other marks may be on their way: try again later; if not, see docs/epochs.md",
        )
    begun = restarted(batches, {}, epochs)
    if begun:
        raise unrecorded_epoch(name, begun)
    progress = advanced(progress, batches, name, {}, None, epochs)
    return Zone(contract, noted, _pieces(batches, epochs, name), epochs, progress, frozenset(shards))


def _batches(store: ObjectStore, begins: Progress, tell: Tell) -> list[Batch]:
    """All batches in the order in which a merge takes them."""
    links = [entry for turn in links_in_turn(store, begins.offsets) for entry in turn]
    batches: list[Batch] = []
    records = _ahead(lambda entry: read_record(store, entry[2]), links, _RECORDS_AHEAD)
    for count, ((shard, after, link), record) in enumerate(records, 1):
        batches.append(Batch(shard, after, link.upto, record))
        if count % _TOLD_RECORDS == 0:
            tell(f"{count:,} of {len(links):,} batch records")
    return batches


def _tip(store: ObjectStore, shard: str) -> int:
    stream, _, name = shard.partition("/")
    return int(msgspec.json.decode(store.get(raw.tip_path(stream, name)), type=raw.Tip).upto)


def _check_reach(tips: Mapping[str, int], batches: Iterable[Batch], begins: Progress) -> None:
    """Refuse when a shard was once read further than raw has batches of it."""
    reached = dict(begins.offsets)
    for batch in batches:
        reached[batch.shard.id] = max(batch.upto, reached.get(batch.shard.id, raw.START))
    for shard, upto in tips.items():
        if upto > reached.get(shard, raw.START):
            raise RawFault(
                "a shard was read further than raw has batches of it",
                where=shard,
                hint="were they deleted, or has their time in raw run out? What they had is in the lake alone",
            )


def unrecorded_epoch(table: str, shards: Iterable[str]) -> FatalFault:
    """The fault of a snapshot, or of LSNs, that began anew and that nobody has recorded."""
    return FatalFault(
        f"a snapshot begins after streamed changes, or LSNs began anew, in {', '.join(sorted(shards))}",
        where=table,
        hint=f"`cdc epoch {table}` shows where an epoch begins and records it; see docs/epochs.md",
    )


def _pieces(batches: Iterable[Batch], epochs: Epochs, table: str) -> list[Piece]:
    pieces: list[Piece] = []
    for batch in batches:
        shard = batch.shard.id
        epoch: int | None = epochs.of(shard, batch.upto)
        is_whole = (batch.after, batch.upto) == (int(batch.record.after), int(batch.record.upto))
        if not is_whole or epochs.of(shard, batch.after + 1) != epoch:
            epoch = None
        elif epoch in epochs.discarded:
            continue
        pieces += [Piece(batch, ref, epoch) for ref in batch.record.objects if ref.table == table]
    return pieces


def _ahead(work: Callable[[_T], _R], items: Iterable[_T], ahead: int = _AHEAD) -> Iterator[tuple[_T, _R]]:
    """Items with what some work makes of each, in their order; a few are worked on ahead."""
    with ThreadPoolExecutor(ahead, thread_name_prefix="raw") as pool:
        waiting: deque[tuple[_T, Future[_R]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > ahead:
                first, done = waiting.popleft()
                yield first, done.result()
        while waiting:
            first, done = waiting.popleft()
            yield first, done.result()
