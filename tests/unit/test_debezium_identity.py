"""What an image before a change tells, by REPLICA IDENTITY; the images are those that Debezium 3.6.3 was seen to send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc.decode import Decoder
from cdc.errors import RecordFault
from cdc.event import ChangeEvent, Op
from compactor.change import Change
from compactor.fold import fold
from tests.golden_debezium import contract_of, read
from tests.unit.test_debezium_dialects import message

PLACEHOLDER = "__debezium_unavailable_value"
TABLE = contract_of("t", "id bigint, u text, v text, big text, vb varbit, by bytea")
NEW = {"id": 3, "u": "z", "v": "v", "big": PLACEHOLDER, "vb": None, "by": "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}
OF_INDEX = {"id": 3, "u": "c3", "v": None, "big": "", "vb": None, "by": ""}
WHOLE = {"id": 3, "u": "c3", "v": "v", "big": "long", "vb": None, "by": "AQI="}


def events(before: dict[str, Any] | None, after: dict[str, Any] | None, op: str = "u") -> tuple[ChangeEvent, ...]:
    return Decoder(TABLE).decode(message(op, before=before, after=after), 1)


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None, op: str = "u") -> list[Change]:
    found, rejected = read([message(op, before=before, after=after)], TABLE)
    assert rejected == []
    return found


def test_what_replica_identity_index_lacks_is_not_filled_with_the_values_that_debezium_makes_up() -> None:
    (event,) = events(OF_INDEX, NEW)
    assert event.unchanged == {"big", "by"}
    assert event.doubtful == {"vb"}


def test_replica_identity_full_has_the_values_and_its_nulls_are_nulls() -> None:
    (event,) = events(WHOLE, NEW)
    assert (event.row["big"], event.row["by"]) == ("long", "AQI=")
    assert event.unchanged == event.doubtful == frozenset()
    (event,) = events(WHOLE | {"v": None}, {**WHOLE, "v": "came"})
    assert event.doubtful == frozenset()


def test_a_key_change_that_comes_as_one_update_is_a_delete_and_a_create() -> None:
    """So it comes where Debezium's `message.key.columns` are not the primary key."""
    insert = message("c", after=WHOLE, source={"lsn": 5})
    move = message("u", before=WHOLE, after={**NEW, "id": 20})
    found, _ = read([insert, move], TABLE)
    assert [(change.key, change.op) for change in found] == [((3,), "c"), ((3,), "d"), ((20,), "c")]
    rows = {key: state.row for key, state in fold(found, {}, None).states.items()}
    assert rows[(3,)] is None
    assert rows[(20,)] is not None
    assert rows[(20,)]["big"] == "long"


def test_a_key_change_from_a_key_that_debezium_made_up_is_set_aside() -> None:
    (change,) = changes({**OF_INDEX, "id": 0}, NEW)
    assert (change.key, change.op) == ((3,), "q")
    assert change.fault is not None
    assert change.fault.reason == "no-key"


@pytest.mark.parametrize(
    "zero", [0, "", False, "AA==", "0", "0.00", "1970-01-01Z", "1970-01-01T00:00:00Z", "00:00:00Z"]
)
def test_a_delete_whose_key_debezium_made_up_is_refused(zero: object) -> None:
    with pytest.raises(RecordFault) as raised:
        events({**OF_INDEX, "id": zero}, None, "d")
    assert raised.value.reason == "no-key"
    assert "REPLICA IDENTITY" in raised.value.hint


@pytest.mark.parametrize(
    "before",
    [
        {"id": 0, "u": "", "v": None, "big": "", "vb": None, "by": ""},
        {"id": 0, "u": "c", "v": "v", "big": "b", "vb": "FQ==", "by": "AQ=="},
        OF_INDEX,
        {"id": 0, "u": "", "v": None, "big": "1970-01-01T00:00:00.000000Z", "vb": None, "by": ""},
    ],
)
def test_a_delete_whose_key_the_log_has_is_merged(before: dict[str, Any]) -> None:
    (event,) = events(before, None, "d")
    assert (event.op, event.row["id"]) == (Op.DELETE, before["id"])


def test_a_read_with_the_words_of_the_placeholder_is_the_row_s_own_text() -> None:
    (event,) = events(None, {**WHOLE, "big": PLACEHOLDER}, "r")
    assert (event.unchanged, event.row["big"]) == (frozenset(), PLACEHOLDER)


def test_a_zero_in_a_composite_key_is_no_reason_to_refuse_a_delete() -> None:
    """With REPLICA IDENTITY DEFAULT a column with a default has it in the image before."""
    contract = contract_of("t", "id bigint, line int, status text, v text")
    keyed = replace(contract, key=("id", "line"))
    body = message("d", before={"id": 5, "line": 0, "status": "new", "v": None}, after=None)
    found, rejected = read([body], keyed)
    assert rejected == []
    assert [(change.key, change.op) for change in found] == [((5, 0), "d")]
