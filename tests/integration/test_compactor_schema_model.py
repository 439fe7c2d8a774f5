"""Random changes of a source's columns, of its rows and of the contract, with crashes: the lake never shows a false value.

The model is the source as a dict. A value that it gives to old rows by ADD COLUMN is in no event, as in Postgres.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cdc.contract import Column, ValueBefore
from cdc.postgres_type import PostgresType
from compactor.compactor import TableCompactor
from tests.compactor_world import World, crash, put
from tests.integration.test_maintenance import EAGER
from tests.lake_columns import made, row, shown
from tests.raw_zone import PLACEHOLDER, ShardWriter

pytestmark = pytest.mark.slow
WORDS = ("um", "dois", None, "três")


@dataclass
class Source:
    """A table with the columns of `columns` beside `id` and `a`; its events go to a shard by key."""

    world: World
    dice: random.Random
    lsn: int = 10
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    columns: dict[str, str | None] = field(default_factory=dict)
    past: list[bytes] = field(default_factory=list)
    waiting: dict[int, list[bytes]] = field(default_factory=lambda: {0: [], 1: []})
    shards: dict[int, ShardWriter] = field(default_factory=dict)
    added: int = 0

    def write(self, key: int, event: bytes) -> None:
        self.waiting[key % 2].append(event)
        self.past.append(event)

    def change(self) -> None:
        """Insert, update (some values unchanged and not sent) or delete a row, or change its key."""
        self.lsn += 1
        key = self.dice.randrange(6)
        if key not in self.rows:
            self.rows[key] = {name: self.dice.choice(WORDS) for name in ("a", *self.columns)}
            self.write(key, row("c", self.lsn, id=key, **self.rows[key]))
        elif self.dice.random() < 0.2:
            del self.rows[key]
            self.write(key, row("d", self.lsn, id=key))
        elif self.dice.random() < 0.2 and (
            free := [new for new in range(6) if new % 2 == key % 2 and new not in self.rows]
        ):
            new = self.dice.choice(free)
            self.rows[new] = self.rows.pop(key)
            self.write(key, row("d", self.lsn, id=key))
            self.write(new, row("c", self.lsn, id=new, **self._sent(new, ())))
        else:
            changed = [name for name in ("a", *self.columns) if self.dice.random() < 0.5]
            self.rows[key] |= {name: self.dice.choice(WORDS) for name in changed}
            self.write(key, row("u", self.lsn, id=key, **self._sent(key, changed)))

    def _sent(self, key: int, changed: Any) -> dict[str, Any]:
        return {
            name: value if name in changed or value is None or self.dice.random() < 0.5 else PLACEHOLDER
            for name, value in self.rows[key].items()
        }

    def alter(self) -> None:
        """Add a column, with a default or without, or drop one; a name never comes back."""
        self.lsn += 1
        if self.columns and self.dice.random() < 0.35:
            gone = self.dice.choice(list(self.columns))
            del self.columns[gone]
            for values in self.rows.values():
                del values[gone]
        elif len(self.columns) < 3:
            self.added += 1
            name, default = f"c{self.added}", self.dice.choice([None, "de antes"])
            self.columns[name] = default
            for values in self.rows.values():
                values[name] = default

    def flush(self) -> None:
        """Send what is waiting, now and then with something of before once more."""
        for number, shard in self.shards.items():
            again = [event for event in self.dice.sample(self.past, min(len(self.past), 2)) if self.dice.random() < 0.3]
            put(shard, self.world.contract, *self.waiting[number], *again)
            self.waiting[number] = []


def columns_of(source: Source, named: set[str]) -> tuple[Column, ...]:
    """The contract's columns for some of the source's, each saying what it is in old rows."""
    text = PostgresType("text")
    base = source.world.contract.columns[:2]
    return (
        *base,
        *(
            Column(name, name, text, "internal", "clear", value_before=ValueBefore(default))
            for name, default in source.columns.items()
            if name in named
        ),
    )


@pytest.mark.parametrize("seed", range(2))
def test_whatever_changes_the_lake_is_the_source(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    dice = random.Random(seed)
    world.limits = EAGER if seed % 2 else world.limits
    made(world, a="text")
    source = Source(world, dice, shards={0: world.shard(0), 1: world.shard(1)})
    named: set[str] = set()
    commit_table = type(world.catalog).commit_table
    for _ in range(10):
        for _ in range(dice.randrange(1, 5)):
            source.change()
        source.flush()
        merge(world.compactor)
        before = dict(source.columns)
        if dice.random() < 0.6:
            source.alter()
        # A column that is gone at the source is taken out of the contract before its events lack it.
        gone = before.keys() - source.columns.keys()
        named = {name for name in named - gone if dice.random() < 0.95}
        named |= {name for name in source.columns if dice.random() < 0.4}
        world.contract = replace(world.contract, columns=columns_of(source, named))
        left = [dice.randrange(12)]

        def crashing(catalog: Any, *arguments: Any, left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] < 0:
                crash()
            answer = commit_table(catalog, *arguments)
            if not left[0]:
                crash()  # it landed, and nobody was told
            return answer

        with monkeypatch.context() as patch:
            if dice.random() < 0.5:
                patch.setattr(type(world.catalog), "commit_table", crashing)
            with contextlib.suppress(KeyboardInterrupt):
                merge(world.restart())
        merge(world.restart())
        world.maintain()
        assert lake(world) == expected(source, named)
    assert world.quarantine.objects == {}
    told = {
        (found["id"], found["cdc_lsn"]): found for found in shown(world, "_history") if found["cdc_op"] in {"c", "u"}
    }
    for found in shown(world):
        assert all(told[found["id"], found["cdc_lsn"]][name] == found[name] for name in ("a", *named))


def merge(compactor: TableCompactor) -> None:
    while compactor.step().has_moved:
        pass


def lake(world: World) -> dict[int, dict[str, Any]]:
    service = ("id", "cdc_lsn")
    return {
        found["id"]: {name: value for name, value in found.items() if name not in service} for found in shown(world)
    }


def expected(source: Source, named: set[str]) -> dict[int, dict[str, Any]]:
    """What the lake must show: the source's rows, and of its columns what the contract names."""
    return {key: {name: values[name] for name in ("a", *named)} for key, values in source.rows.items()}
