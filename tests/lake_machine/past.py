"""Past: the rows at a past moment, read from history by the query that docs/analysts.md gives."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lake_machine.contract import COLUMNS
from tests.lake_machine.model import ordered, spoilt_keys, unique
from tests.lake_machine.source import TOASTED, Row, Sent
from tests.raw_zone import at

if TYPE_CHECKING:
    from tests.lake_machine.machine import LakeMachine
    from tests.lake_machine.taken_over import TakenOver

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "analysts.md"
_SQL = re.compile(r"```sql\n(.*?)```", re.DOTALL)


def query_of_the_docs(
    history: str, moment: datetime, key: Sequence[str], columns: Sequence[str], long: Iterable[str]
) -> str:
    """The documented query for DuckDB, of any table; `history` is a relation, `long` the columns that may come unchanged."""
    match = _SQL.search(_DOCS.read_text())
    assert match is not None
    lines = match[1].splitlines()
    (plain,) = (line for line in lines if line.strip() == "nome,")
    (of_long,) = (line for line in lines if "AS bio" in line)
    long = set(long)
    ours = [of_long.replace("bio", name) if name in long else plain.replace("nome", name) for name in columns]
    place = lines.index(plain)
    query = "\n".join([*lines[:place], *ours, *(line for line in lines[place + 1 :] if line is not of_long)])
    query = query.replace("usuarios_history", history).replace("SELECT id,", f"SELECT {', '.join(key)},")
    query = query.replace("PARTITION BY id ", f"PARTITION BY {', '.join(key)} ")
    asked = re.sub(r"TIMESTAMP '[^']*'", f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'", query)
    assert asked != query
    return asked


def check_past(machine: LakeMachine, dice: random.Random) -> None:
    """The rows of some moment up to valid-through, as history has them, are what they were at the source then.

    But for what a row that a key change made took over: that is as it was known when the key change was merged.
    """
    history, through = machine.view.history.table, machine.view.table.table.properties.get("cdc.valid-through")
    offsets = machine.offsets(machine.view.history)
    moments = [
        moment
        for moment, _ in machine.source.states
        if through and at(moment) <= datetime.fromisoformat(through) and not machine.is_blind(moment)
    ]
    if history.current_snapshot() is None or not moments:
        return
    asked = dice.choice(moments)
    there = unique(machine.told(offsets))
    if any(sent.committed_at <= at(asked) and sent.identity not in there for sent in machine.sent):
        return  # of an epoch that is over, and whose changes count no more
    spoilt = {key for _, key in spoilt_keys(machine.sent, machine.lost)}
    spoilt |= {key for key, _, _ in machine.recorded.aside}
    state = [rows for moment, rows in machine.source.states if moment <= asked][-1]
    found = machine.readers.past(history, at(asked), {*TOASTED, *machine.defaults})
    wrong_keys = (found.keys() ^ state.keys()) - spoilt
    assert not wrong_keys, f"at {at(asked)} history has keys that there were not, or lacks some: {wrong_keys}"
    known = [sent for sent in there.values() if sent.committed_at <= at(asked)]
    for key in found.keys() - spoilt:
        kept = _kept_of_key_changes(machine.taken_over, [sent for sent in known if sent.key == key])
        right = {**state[key], **{name: value for name, value in kept.items() if name in state[key]}}
        wrong = {
            name: (value, right[name])
            for name, value in found[key].items()
            if name in right and value != right[name] and (name in COLUMNS or value is not None)
        }
        assert not wrong, f"{key} at {at(asked)}, as history has it and as it should: {wrong}"
    machine.done["past moment"] += 1
    machine.done["row of a past moment"] += len(found)


def _kept_of_key_changes(taken_over: TakenOver, changes: Iterable[Sent]) -> Row:
    """What a row took over by a key change, as it was known then, and none of the changes since has carried: by column.

    `changes` are those of its key, up to the moment that is asked for.
    """
    kept: Row = {}
    for sent in ordered(changes):
        if sent.op == "c":
            kept = dict(taken_over.by(sent))
        elif sent.op in {"r", "d"}:
            kept = {}
        else:
            kept = {name: value for name, value in kept.items() if name in sent.unchanged}
    return kept
