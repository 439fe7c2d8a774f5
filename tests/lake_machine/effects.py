"""Effects: what a test of the machine must have seen happen; a rule that never had an effect has shown nothing."""

from __future__ import annotations

from tests.lake_machine.mishaps import MISHAPS

FOREIGN = ("append of nothing", "rewrite", "append of nothing to history", "property")

EFFECTS = frozenset({
    "insert", "several rows at one LSN", "update", "unchanged", "a value that is not held", "delete", "move", "chain", "back", "swap",
    "truncate", "rollback", "a transaction that began before the last commit", "transaction over several shards", "snapshot read",
    "heartbeat", "poison", "duplicate", "reorder in a shard", "batch", "overlap", "a batch that comes late", "damage",
    "duplicate after a delete", "a late change after a delete", "split", "merge of shards",
    "step that moved", "step of the rival that moved", "checked commit", "valid-through stated", "run ended equal to the source",
    "rows compared with the source", "past moment", "row of a past moment", "step of maintenance", "crash in maintenance", *MISHAPS, *(f"foreign {what}" for what in FOREIGN),
})  # fmt: skip
