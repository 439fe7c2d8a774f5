"""What a merge takes for a double, without a lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import pyarrow as pa

from compactor.change import Change, Key
from compactor.index import Located, Mark, RowIndex, marks
from compactor.merge import Merged, merge
from tests.golden_debezium import contract_of
from tests.unit.test_fold import change

CONTRACT = contract_of("t", "id bigint, nome text, bio text")


class History:
    """A lake with a history and no rows in the table."""

    def __init__(self, changes: Sequence[Change] = ()) -> None:
        self.changes = changes

    def rows_at(self, located: Mapping[Key, Located]) -> dict[Key, dict[str, Any]]:
        assert not located
        return {}

    def history_of(self, column: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        rows = [
            {
                "id": change.key[0],
                "nome": change.values.get("nome"),
                "bio": change.values.get("bio"),
                "cdc_op": change.op,
                "cdc_epoch": change.position.epoch,
                "cdc_lsn": change.position.lsn,
                "cdc_ordinal": change.position.ordinal,
                "cdc_committed_at": change.committed_at,
                "cdc_unchanged": sorted(change.unchanged),
            }
            for change in self.changes
        ]
        return [row for row in rows if row[column] in values]


INSERT = change("c", 1, 5, nome="a", bio="b")
AWAY, BACK = change("d", 1, 9), change("c", 1, 9, nome="c", bio="d")


def rows(merged: Merged) -> dict[Key, object]:
    return {key: state.row and state.row["nome"] for key, state in merged.rows.items()}


def test_the_delete_and_the_create_of_one_key_at_one_position_are_no_doubles_in_any_order() -> None:
    for order in permutations([INSERT, AWAY, BACK, AWAY, BACK, INSERT]):
        merged = merge(order, RowIndex([pa.int64()]), History(), CONTRACT, None)
        assert rows(merged) == {(1,): "c"}
        assert merged.duplicates == 3


def test_the_create_is_merged_after_its_delete_was_and_no_second_time() -> None:
    index = RowIndex([pa.int64()])
    index.mark(index.prints_of_keys([(1,)]), marks([(AWAY.position, Mark.DELETED)]))
    merged = merge([BACK], index, History([INSERT, AWAY]), CONTRACT, None)
    assert (rows(merged), merged.duplicates) == ({(1,): "c"}, 0)
    again = merge([BACK, AWAY], index, History([INSERT, AWAY, BACK]), CONTRACT, None)
    assert (again.history, again.duplicates) == ([], 2)
