"""What the lake machine expects history to keep of values that came unchanged."""

from __future__ import annotations

from typing import Any

from tests.lake_machine.source import Sent
from tests.lake_machine.taken_over import TakenOver
from tests.raw_zone import at

LONG = frozenset({"bio"})


def sent(op: str, key: int, lsn: int, epoch: int = 1, **values: Any) -> Sent:
    """A change; one that says no `bio` left it alone."""
    unchanged = LONG - values.keys() if op in {"c", "u"} else frozenset()
    return Sent(op, (key,), lsn, at(lsn), values, frozenset(unchanged), b"", epoch=epoch)


OLD, LATE = sent("c", 1, 5, bio="old"), sent("u", 1, 6, bio="late")
LEFT, MADE = sent("d", 1, 7), sent("c", 2, 7)


def look(noted: TakenOver, *merged: Sent, aside: Sent | None = None) -> None:
    noted.look(merged, frozenset({aside.identity} if aside else ()), {}, LONG)


def test_what_comes_late_is_not_what_was_taken_over() -> None:
    noted = TakenOver()
    look(noted, OLD, LEFT, MADE)
    look(noted, OLD, LEFT, MADE, LATE)
    assert noted.by(MADE) == {"bio": "old"}


def test_what_comes_in_time_or_together_is_taken_over() -> None:
    before, together = TakenOver(), TakenOver()
    look(before, OLD, LATE)
    for noted in (before, together):
        look(noted, MADE, LEFT, LATE, OLD)
        assert noted.by(MADE) == {"bio": "late"}


def test_a_second_key_change_takes_what_is_known_of_the_first_by_then() -> None:
    noted = TakenOver()
    again = sent("d", 2, 8), sent("c", 3, 8)
    look(noted, OLD, LEFT, MADE)
    look(noted, OLD, LEFT, MADE, LATE, *again)
    assert noted.by(again[1]) == {"bio": "late"}


def test_a_row_that_turns_out_to_have_been_deleted_is_still_what_was_taken() -> None:
    noted = TakenOver()
    again = sent("d", 2, 8), sent("c", 3, 8)
    look(noted, OLD, LEFT, MADE)
    look(noted, OLD, LEFT, MADE, sent("d", 1, 6), *again)
    assert noted.by(MADE) == noted.by(again[1]) == {"bio": "old"}


def test_nothing_is_taken_from_an_older_epoch_or_from_what_is_set_aside() -> None:
    noted = TakenOver()
    look(noted, OLD, sent("d", 1, 7, epoch=2), of_epoch := sent("c", 2, 7, epoch=2))
    look(noted, OLD, LEFT, MADE, aside=OLD)
    assert noted.by(of_epoch) == noted.by(MADE) == {}
