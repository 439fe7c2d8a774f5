from __future__ import annotations

import msgspec
import pytest

from cdc.contract import parse_contract
from cdc.errors import FatalFault, RecordFault
from cdc.raw import RawLine
from compactor.change import ChangeReader
from compactor.counts import QUARANTINED, SET_ASIDE_VALUES, Counts
from compactor.progress import Progress, parse_progress
from tests.compactor_world import CONTRACT
from tests.raw_zone import event

NAN = RecordFault("value-not-held", "NaN", where="saldo")
ABSENT = RecordFault("missing-column", "absent", where="bio")
KEYLESS = RecordFault("no-key", "no key")


def test_a_change_counts_once_for_each_column_at_fault_and_once_as_a_record() -> None:
    counts = Counts().plus([[NAN, ABSENT], [NAN], [KEYLESS]], {"saldo", "bio"})
    assert counts.values == {"saldo": {"value-not-held": 2}, "bio": {"missing-column": 1}}
    assert counts.records == {"value-not-held": 2, "no-key": 1}


def test_counts_grow_and_leave_what_they_grew_from_as_it_was() -> None:
    before = Counts().plus([[NAN]], {"saldo"})
    after = before.plus([[NAN], [ABSENT]], {"saldo", "bio"})
    assert (before.values, before.records) == ({"saldo": {"value-not-held": 1}}, {"value-not-held": 1})
    assert after.values == {"saldo": {"value-not-held": 2}, "bio": {"missing-column": 1}}


def test_a_fault_twice_in_one_column_counts_the_change_once() -> None:
    assert Counts().plus([[NAN, NAN]], {"saldo"}).values == {"saldo": {"value-not-held": 1}}


def test_what_is_no_column_of_the_contract_is_never_told_by_name() -> None:
    counts = Counts().plus([[RecordFault("no-row", "x", where="12345678901")]], {"saldo"})
    assert "12345678901" not in "".join(counts.properties().values())
    assert counts.records == {"no-row": 1}


def test_progress_states_counts_and_holds_in_properties_and_reads_them_back() -> None:
    progress = Progress(counts=Counts().plus([[NAN], [KEYLESS]], {"saldo"}), holds={"s/0": 10**55})
    assert parse_progress(progress.properties(), "t") == progress
    assert parse_progress(Progress().properties(), "t") == Progress()


def test_counts_that_cannot_be_read_stop_the_merge() -> None:
    for name in (SET_ASIDE_VALUES, QUARANTINED):
        with pytest.raises(FatalFault, match="do not state"):
            parse_progress({name: "[]"}, "t")


def test_every_column_at_fault_is_told_not_only_the_first() -> None:
    reader = ChangeReader(parse_contract(CONTRACT.format(name="t")), b"k" * 32)
    body = event("c", 5, {"id": 1, "nome": 7}, table="t")
    line = RawLine("s", "1", 0, "2026-11-21T12:00:00Z", msgspec.Raw(body))
    (change,), rejected = reader.read("s", "b", [line])
    assert not rejected
    assert [(fault.where, fault.reason) for fault in change.faults] == [
        ("nome", "value-not-held"),
        ("bio", "missing-column"),
    ]
