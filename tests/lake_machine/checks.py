"""Checks: what the table's properties state must be true of what was told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tests.lake_machine.model import unique
from tests.lake_machine.source import Sent

if TYPE_CHECKING:
    from tests.lake_machine.machine import LakeMachine


def settled_epoch(machine: LakeMachine, told: list[Sent]) -> int:
    """The newest epoch whose snapshot is complete, as the table says; then all of its reads are in it."""
    floor = msgspec.json.decode(machine.view.table.properties.get("cdc.truncated-below") or "[1, 0, 0]", type=list[int])
    there = unique(told)
    reads = (sent for sent in machine.sent if sent.op == "r" and list(sent.position) == floor)
    missing = [sent.key for sent in reads if sent.identity not in there]
    assert floor[0] == 1 or not missing, "a snapshot is taken for complete without some of its reads"
    return floor[0]


def is_merged(path: str, offsets: Mapping[str, int]) -> bool:
    """Whether all of a raw object is merged."""
    stream, shard, _, upto = path.rsplit("/", 1)[1].removesuffix(".json.gz").split("~")
    return int(upto) <= offsets.get(f"{stream}/{shard}", 0)


def check_statements(machine: LakeMachine, offsets: dict[str, int], told: list[Sent], settled: int) -> None:
    """valid-through and the counts of the quarantine; of epochs before the settled one nothing is promised."""
    properties, aside = machine.view.table.properties, machine.recorded.aside
    if stated := properties.get("cdc.valid-through"):
        through, there = datetime.fromisoformat(stated), unique(told)
        due = (sent for sent in machine.sent if sent.committed_at <= through and sent.epoch >= settled)
        missing = [sent.position for sent in due if sent.identity not in there]
        assert not missing, "valid-through says more than the table has"
        machine.done["valid-through stated"] += 1
    poisoned = sum(record.poison is not None for record in machine.stream.told(offsets))
    quarantined = msgspec.json.decode(properties.get("cdc.quarantined") or "{}", type=dict[str, int])
    in_table = aside & unique(told).keys()
    assert sum(quarantined.values()) == poisoned + len(in_table), "the counts of the quarantine are wrong"
    assert (len(machine.quarantine.objects) > 0) >= (poisoned + len(in_table) > 0)
