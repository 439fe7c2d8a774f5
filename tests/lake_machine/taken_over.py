"""Taken over: the values that changes left alone, as they were known when the changes came to history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from tests.lake_machine.model import Position, ordered
from tests.lake_machine.source import Identity, Key, Row, Sent


class TakenOver:
    """What history must have for ever in the place of values that came unchanged; it shares no code with the merge.

    Whatever comes late changes the table's rows, but nothing that history has already.
    """

    def __init__(self) -> None:
        self._noted: dict[Identity, Row] = {}

    def look(
        self,
        merged: Iterable[Sent],
        aside: AbstractSet[Identity],
        defaults: Mapping[str, Any],
        columns: Collection[str],
    ) -> None:
        """Take note of what is known now of changes, or of their `columns`, that history has not had before.

        `merged` are the changes that history has, some of them set `aside` in it, which give nothing and take nothing;
        `defaults` are what columns that were added are in older rows.
        """
        rows: dict[Key, tuple[int, Row]] = {}
        left: dict[Position, tuple[int, Row]] = {}
        for sent in ordered(sent for sent in merged if sent.identity not in aside):
            if sent.op == "t":
                rows.clear()
            elif sent.op == "d":
                if sent.key in rows:
                    left[sent.position] = rows.pop(sent.key)
            else:
                giver = rows.get(sent.key) if sent.op == "u" else left.get(sent.position)
                rows[sent.key] = sent.epoch, {**defaults, **sent.values, **self._taken(sent, giver, columns)}

    def by(self, sent: Sent) -> Row:
        """What a change took over, by column, when it came to history."""
        return self._noted.get(sent.identity, {})

    def _taken(self, sent: Sent, giver: tuple[int, Row] | None, columns: Collection[str]) -> Row:
        """What a change left alone, as far as it is known now; else as it was known when there was a row to take it from."""
        epoch, row = giver or (0, {})
        before = self.by(sent)
        known = row if epoch == sent.epoch else before
        taken = {name: known[name] for name in sent.unchanged & known.keys()}
        if sent.unchanged:
            shown = sent.unchanged & set(columns)
            self._noted[sent.identity] = {name: value for name, value in {**taken, **before}.items() if name in shown}
        return taken
