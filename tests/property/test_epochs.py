"""Changes of several epochs fold to what a source that was re-read says, in any order and with any cut."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cdc.epoch import Epochs, EpochStart
from cdc.position import Position
from cdc.raw import RawLine
from compactor.change import Change, Origin
from compactor.fold import fold

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ORIGIN = Origin("s/0", 1, 0, RawLine("0", "1", 0, "", b""))  # type: ignore[arg-type]
Rows = dict[int, tuple[str, str]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "small", "delete", "unseen", "unseen delete", "snapshot"]), st.integers(0, 4)
    ),
    max_size=40,
)


def told(steps: list[tuple[str, int]], dice: Random) -> tuple[list[Change], Rows, int]:
    """What a producer tells of a source that it sometimes loses and reads anew; the rows in the end; the epoch.

    What happens `unseen` is told by the next snapshot only; the steps end with one when anything was.
    """
    rows: Rows = {}
    changes: list[Change] = []
    epoch, lsn, blind = 1, 0, False

    def emit(op: str, key: int, number: int, values: dict[str, str], *, unchanged: bool = False) -> None:
        missing = frozenset({"bio"}) if unchanged else frozenset[str]()
        changes.append(Change((key,), op, Position(epoch, number), NOW, {"id": key, **values}, missing, ORIGIN))

    for number, (what, key) in enumerate([*steps, ("snapshot", 0)], 1):
        nome, bio = f"n{number}", f"b{number}"
        lsn += 1
        if what == "snapshot":
            if number <= len(steps) or blind:
                epoch, lsn, blind = epoch + 1, dice.randrange(100), False
                for read, (its_nome, its_bio) in rows.items():
                    emit("r", read, 0, {"nome": its_nome, "bio": its_bio})
        elif what.startswith("unseen") or blind:
            blind = True
            if what.endswith("delete"):
                rows.pop(key, None)
            else:
                rows[key] = (nome, bio)
        elif what == "put" or key not in rows:
            emit("u" if key in rows else "c", key, lsn, {"nome": nome, "bio": bio})
            rows[key] = (nome, bio)
        elif what == "small":
            emit("u", key, lsn, {"nome": nome}, unchanged=True)
            rows[key] = (nome, rows[key][1])
        else:
            emit("d", key, lsn, {})
            del rows[key]
    return changes, rows, epoch


@given(STEPS, st.randoms(use_true_random=False))
def test_changes_of_all_epochs_fold_to_the_source_in_any_order(steps: list[tuple[str, int]], dice: Random) -> None:
    changes, rows, epoch = told(steps, dice)
    dice.shuffle(changes)
    outcome = fold(changes, {}, Position(epoch, 0))
    assert outcome.unresolved == []
    states = ((key[0], state.row) for key, state in outcome.states.items())
    assert {key: (row["nome"], row["bio"]) for key, row in states if row is not None} == rows


@given(STEPS, st.randoms(use_true_random=False))
def test_a_value_from_before_a_loss_is_never_filled_in_while_the_read_is_missing(
    steps: list[tuple[str, int]], dice: Random
) -> None:
    changes, _, epoch = told(steps, dice)
    without_reads = [change for change in changes if change.op != "r" or change.position.epoch < epoch]
    outcome = fold(without_reads, {}, Position(epoch, 0))
    told_whole = {
        (change.key, change.position.epoch, change.values["bio"])
        for change in without_reads
        if change.op in {"c", "u"} and not change.unchanged
    }
    for change in outcome.applied:
        if change.unchanged and change.position.epoch == epoch > 1:
            assert (change.key, epoch, change.values["bio"]) in told_whole


SHARDS = st.sampled_from(["s/0", "s/1", "s/2", "s/3"])
STARTS = st.lists(st.tuples(st.dictionaries(SHARDS, st.integers(1, 50), min_size=1), st.sets(SHARDS)), max_size=4)


@given(STARTS, SHARDS)
def test_epochs_never_go_back_along_a_shard(starts: list[tuple[dict[str, int], set[str]]], shard: str) -> None:
    epochs = Epochs(
        tuple(
            EpochStart(
                "t", number, {name: str(first) for name, first in first_of.items()}, tuple(ended - first_of.keys())
            )
            for number, (first_of, ended) in enumerate(starts, 2)
        )
    )
    along = [epochs.of(shard, number) for number in range(60)]
    assert along == sorted(along)
    for start in epochs.starts:
        if shard in start.starts:
            assert epochs.of(shard, int(start.starts[shard])) >= start.epoch
