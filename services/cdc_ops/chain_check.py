"""Chain check: what is wrong with a shard's chain of batch records, told from their names and contents. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cdc import raw
from cdc.errors import FatalFault
from cdc.raw import BatchRecord, ObjectRef
from cdc_ops.report import Finding
from compactor.chain import Link

GAP_HINT = (
    "nothing past it can be merged: see in the consumer's log whether the stream lost the records (retention), or "
    "restore a deleted batch record from the bucket's versions; else start a new snapshot of the tables"
)
RESTORE_HINT = "restore it from the bucket's versions, or replay the shard from the stream; a rebuild would lack it"


@dataclass(frozen=True, slots=True)
class Range:
    """Sequence numbers in (after, upto] that batches cover without a gap; `path` is the batch that begins it."""

    after: int
    upto: int
    path: str


@dataclass(slots=True)
class Cover:
    """What the batches of a shard cover together, added by rising `upto` as a listing gives them.

    Memory grows with the gaps only, not with the batches.
    """

    ranges: list[Range] = field(default_factory=list)
    batches: int = 0
    overlaps: int = 0

    def add(self, link: Link) -> None:
        """Count in one more batch; one that begins earlier may close what looked like a gap."""
        after, path = link.after, link.path
        self.batches += 1
        self.overlaps += bool(self.ranges) and after < self.ranges[-1].upto
        while self.ranges and self.ranges[-1].upto >= after:
            last = self.ranges.pop()
            if last.after <= after:
                after, path = last.after, last.path
        self.ranges.append(Range(after, link.upto, path))

    def gaps(self) -> list[Finding]:
        """Where records are in no batch."""
        pairs = zip(self.ranges, self.ranges[1:], strict=False)
        return [
            Finding("gap", behind.path, f"no batch has what comes after {ahead.upto} up to {behind.after}", GAP_HINT)
            for ahead, behind in pairs
        ]


def stranger(path: str) -> Finding:
    """An object among the batch records that is none of them."""
    return Finding(
        "stranger",
        path,
        "is named like no batch record; the compactor stops there",
        "find out who wrote it; move it away",
    )


def past_the_end(ended: int, link: Link) -> list[Finding]:
    """A batch that goes on past the closed end of its shard."""
    if link.upto <= ended:
        return []
    return [
        Finding(
            "after-end",
            link.path,
            f"the shard was closed at {ended}",
            "find out who wrote it; do not delete it: it may hold records",
        )
    ]


def missing_children(shard: str, record: BatchRecord, known: Collection[str]) -> list[Finding]:
    """Children of a closed shard that nobody has seen; `known` are ids of shards with batches or tips."""
    stream = shard.partition("/")[0]
    return [
        Finding(
            "missing-child", f"{stream}/{child}", f"follows {shard}, which is closed, but has no tip and no batch",
            "start a consumer on the stream; if it no longer has the shard, its records are lost: start a new snapshot",
        )
        for child in record.children
        if f"{stream}/{child}" not in known
    ]  # fmt: skip


def wrong_sizes(record: BatchRecord, sizes: Mapping[str, int]) -> list[Finding]:
    """Objects of a batch that are missing, or not as large as its record says; `sizes` are those that are there."""
    found = []
    for ref in record.objects:
        size = sizes.get(ref.path)
        if size is None:
            found.append(Finding("missing-object", ref.path, "a batch record names it", RESTORE_HINT))
        elif size != ref.bytes:
            what = f"has {size} bytes, and {ref.bytes} in its batch record"
            found.append(Finding("wrong-size", ref.path, what, RESTORE_HINT))
    return found


def wrong_content(ref: ObjectRef, body: bytes) -> list[Finding]:
    """Whether an object is what its batch record says: size, SHA-256, readable, as many lines."""
    try:
        raw.decode_object(body, ref)
    except FatalFault as fault:
        return [Finding("wrong-content", ref.path, fault.what, RESTORE_HINT)]
    return []
