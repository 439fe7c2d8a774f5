"""Holds: a change that cannot be resolved yet keeps its shard's offset before it; one that never can is quarantined.

The row that a key change left may still be on its way. It is waited for until every open shard is proven to have come
past the change's commit: then it would have been there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from compactor.chain import shard_of
from compactor.change import Change, Origin
from compactor.fold import given_up
from compactor.merge import Merged
from compactor.progress import ShardEvidence


@dataclass(frozen=True, slots=True)
class Resolved:
    """A merge without unresolved changes, and the sequence numbers before which shards are held back, by shard id."""

    merged: Merged
    holds: Mapping[str, int]


def resolve(
    changes: Sequence[Change], merge: Callable[[Iterable[Change]], Merged], evidence: Mapping[str, ShardEvidence]
) -> Resolved:
    """Merge what can be merged; a change that never can be is set aside.

    `changes` are new ones, each with its origin. `evidence` is what the shards prove when all that was listed is
    counted in, merged or not.
    """
    taken = list(changes)
    holds: dict[str, int] = {}
    while (merged := merge(taken)).unresolved:
        # Nothing is given up once a shard is held, nor what is newer than a change still waited for: the row that it
        # asks for may lie behind the hold.
        waiting = [change.position for change in merged.unresolved if holds or not _is_overdue(change, evidence)]
        overdue = {id(change) for change in merged.unresolved if not waiting or change.position < min(waiting)}
        if overdue:
            taken = [given_up(change) if id(change) in overdue else change for change in taken]
            continue
        for change in merged.unresolved:
            assert change.origin is not None
            shard, number = change.origin.shard, change.origin.sequence_number
            holds[shard] = min(holds.get(shard, number), number)
        taken = [change for change in taken if change.origin and not is_held(change.origin, holds)]
    return Resolved(merged, holds)


def is_held(origin: Origin, holds: Mapping[str, int]) -> bool:
    """Whether a record is behind the point at which its shard is held back."""
    hold = holds.get(origin.shard)
    return hold is not None and origin.sequence_number >= hold


def _is_overdue(change: Change, evidence: Mapping[str, ShardEvidence]) -> bool:
    assert change.origin is not None
    own = change.origin.shard
    # In its own shard, too, a producer that had to send again may put what comes before it behind it.
    proofs = {shard: known.proven_through for shard, known in evidence.items() if not known.closed}
    if not _has_heartbeats(shard_of(own).stream, evidence):
        proofs.pop(own, None)  # nothing would ever prove it
    return all(proof is not None and proof > change.committed_at for proof in proofs.values())


def _has_heartbeats(stream: str, evidence: Mapping[str, ShardEvidence]) -> bool:
    """Whether a source sends heartbeats to a stream: those of a shard that has had none yet are on their way."""
    return any(known.committed_at is not None for shard, known in evidence.items() if shard_of(shard).stream == stream)
