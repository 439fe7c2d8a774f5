"""The row index against a dict that does the same the plain way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.position import Position
from compactor.index import Entries, Fingerprints, Located, Mark, RowIndex, fingerprint, marks, row_index
from compactor.index.run import Run

KEYS: dict[str, tuple[tuple[pa.DataType, ...], list[tuple[Any, ...]]]] = {
    "integer": ((pa.int64(),), [(n,) for n in (-(2**63), -1, 0, 1, 2, 2**63 - 1)]),
    "text": ((pa.string(),), [(t,) for t in ("", "a", "b", "ab", "ba", "\0", "\0\0", "é" * 300)]),
    "composite": ((pa.int32(), pa.string()), [(n, t) for n in (0, 1) for t in ("", "1", "11")]),
}


class Model:
    """Rows and markers by key, as the merge understands them."""

    def __init__(self) -> None:
        self.rows: dict[Any, Located] = {}
        self.markers: dict[Any, tuple[Position, Mark]] = {}

    def forget_older_marker(self, key: Any, position: Position) -> None:
        """Beside a row, only what is newer than it need be remembered."""
        if key in self.markers and self.markers[key][0] <= position:
            del self.markers[key]

    def newest(self, key: Any) -> Position | None:
        positions = [self.rows[key].position] if key in self.rows else []
        positions += [self.markers[key][0]] if key in self.markers else []
        return max(positions, default=None)

    def is_set_aside(self, key: Any) -> bool:
        if key not in self.markers or self.markers[key][1] != Mark.SET_ASIDE:
            return False
        return key not in self.rows or self.markers[key][0] > self.rows[key].position


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "remove", "delete", "aside", "sweep"]),
        st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True),
        st.tuples(st.integers(1, 2), st.integers(0, 6), st.integers(0, 1)),
    ),
    max_size=14,
)


def entries(numbers: list[int], position: Position) -> Entries:
    count = len(numbers)
    return Entries(
        np.zeros(count, np.int32),
        np.asarray(numbers, np.uint32),
        np.full(count, position.epoch, np.uint16),
        np.full(count, position.lsn, np.int64),
        np.full(count, position.ordinal, np.int64) if position.ordinal else None,
    )


@pytest.mark.parametrize("kind", list(KEYS))
@settings(max_examples=60)
@given(steps=steps)
def test_the_index_knows_what_a_dict_knows(  # noqa: C901 - a model of every operation
    kind: str, steps: list[tuple[str, list[int], tuple[int, int, int]]]
) -> None:
    types, keys = KEYS[kind]
    index, model = RowIndex(types), Model()
    index.add_file("f", 1000, np.empty(0, np.int64))
    for number, (what, some, parts) in enumerate(steps):
        position = Position(*parts)
        chosen = [keys[n] for n in some]
        prints = index.prints_of_keys(chosen)
        if what == "put":
            rows = [number * 10 + place for place in range(len(chosen))]
            index.put(prints, entries(rows, position))
            model.rows |= {key: Located("f", row, position) for key, row in zip(chosen, rows, strict=True)}
            for key in chosen:
                model.forget_older_marker(key, position)
        elif what == "remove":
            index.remove(prints)
            for key in chosen:
                row = model.rows.pop(key, None)
                if row is not None:
                    model.forget_older_marker(key, row.position)
        elif what == "sweep":
            expected = {k: r for k, r in model.rows.items() if r.position < position and k not in chosen}
            found = index.rows_below(position, prints)
            assert sorted(found.get("f", np.empty(0)).tolist()) == sorted(row.row for row in expected.values())
            index.sweep(position, prints)
            for key, row in expected.items():
                del model.rows[key]
                model.forget_older_marker(key, row.position)
        else:
            mark = Mark.DELETED if what == "delete" else Mark.SET_ASIDE
            index.mark(prints, marks([(position, mark)] * len(chosen)))
            for key in chosen:
                row = model.rows.get(key)
                known = model.markers.get(key)
                if (row is None or position > row.position) and (known is None or position >= known[0]):
                    model.markers[key] = position, mark
        assert len(index) == len(model.rows)
        index.prefetch(keys)
        for key in keys:
            assert index.located(key) == model.rows.get(key)
            assert index.newest(key) == model.newest(key)
            assert index.is_set_aside(key) == model.is_set_aside(key)
        live = index.live_places(index.prints_of_keys(keys))
        assert sorted(live.get("f", np.empty(0)).tolist()) == sorted(row.row for row in model.rows.values())


def test_recent_keys_move_to_the_great_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_index, "RECENT_MAX", 10)
    index = RowIndex((pa.string(),))
    index.add_file("f", 1000, np.empty(0, np.int64))
    keys = [(f"key {n % 97}",) for n in range(300)]
    for number, key in enumerate(keys):
        index.put(index.prints_of_keys([key]), entries([number], Position(1, number)))
    newest = {key: number for number, key in enumerate(keys)}
    assert len(index) == len(newest)
    assert {key: index.located(key) for key in newest} == {
        key: Located("f", number, Position(1, number)) for key, number in newest.items()
    }


def test_keys_that_share_the_high_half_are_told_apart_by_the_low_one() -> None:
    high = np.array([5, 5, 5, 9], np.uint64)
    run = Run(Fingerprints(high, np.array([1, 4, 7, 1], np.uint64)), entries([0, 1, 2, 3], Position(1, 1)))
    asked = Fingerprints(np.array([9, 5, 5, 5, 9, 10], np.uint64), np.array([1, 7, 1, 2, 2, 1], np.uint64))
    assert run.find(asked).tolist() == [3, 2, 0, -1, -1, -1]
    more = run.with_new(
        Fingerprints(np.array([5, 5], np.uint64), np.array([2, 9], np.uint64)), entries([8, 9], Position(1, 1))
    )
    assert more.prints.low is not None
    assert list(zip(more.prints.high.tolist(), more.prints.low.tolist(), strict=True)) == [
        (5, 1), (5, 2), (5, 4), (5, 7), (5, 9), (9, 1)
    ]  # fmt: skip
    assert more.entries.row.tolist() == [0, 8, 1, 2, 9, 3]


@given(
    st.sampled_from(list(KEYS)),
    st.lists(st.lists(st.integers(0, 5), max_size=4, unique=True), max_size=3),
    st.lists(st.integers(0, 1), min_size=3, max_size=3),
)
def test_an_index_loaded_at_once_knows_the_rows_of_every_file(
    kind: str, files: list[list[int]], ordinals: list[int]
) -> None:
    types, keys = KEYS[kind]
    index, expected = RowIndex(types), dict[Any, Located]()
    parts = []
    for number, (some, ordinal) in enumerate(zip(files, ordinals, strict=False)):
        path, position = f"f{number}", Position(1, 5 + number, ordinal)
        index.add_file(path, len(some) + 1, np.array([0]))  # its first row is dead
        part = entries(list(range(1, len(some) + 1)), position)
        part.file[:] = number
        parts.append((index.prints_of_keys([keys[n] for n in some]), part))
        expected |= {keys[n]: Located(path, row, position) for row, n in enumerate(some, 1)}
    is_each_once = len(expected) == sum(map(len, files))
    assert index.load(iter(parts), sum(map(len, files))) == is_each_once
    if is_each_once:
        assert len(index) == len(expected)
        assert {key: index.located(key) for key in keys} == {key: expected.get(key) for key in keys}
        assert index.bytes >= 26 * len(expected)


def test_an_index_that_is_given_fewer_rows_than_it_is_told_is_refused() -> None:
    index = RowIndex((pa.int64(),))
    index.add_file("f", 2, np.empty(0, np.int64))
    with pytest.raises(ValueError, match="1 entries instead of 2"):
        index.load([(index.prints_of_keys([(1,)]), entries([0], Position(1, 1)))], 2)


@given(st.lists(st.binary(max_size=9), max_size=20))
def test_fingerprints_do_not_depend_on_how_much_is_hashed_at_once(texts: list[bytes]) -> None:
    column = pa.array(texts, pa.binary())

    def prints(block_bytes: int) -> tuple[list[int], list[int]]:
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(fingerprint, "_BLOCK_BYTES", block_bytes)
            found = fingerprint.Fingerprinter((pa.binary(),), np.random.default_rng(1)).of_columns([column])
        assert found.low is not None
        return found.high.tolist(), found.low.tolist()

    assert prints(1) == prints(4) == prints(1 << 18)
    assert len(set(zip(*prints(4), strict=True))) == len(set(texts))


def test_texts_that_share_half_of_their_fingerprint_are_in_order() -> None:
    prints = Fingerprints(np.array([5, 1, 5, 5], np.uint64), np.array([3, 9, 2, 2], np.uint64))
    assert prints.order().tolist() == [1, 2, 3, 0]
    assert prints.take(prints.order()).repeats().tolist() == [False, False, True, False]
