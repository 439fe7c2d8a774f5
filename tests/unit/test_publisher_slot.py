"""What the publisher does first, for every state in which a crash may have left the source."""

from __future__ import annotations

import pytest

from cdc.errors import FatalFault
from cdc_publisher.slot import Begin, SlotState, SourceState, decide

SLOT = SlotState(is_lost=False, plugin="pgoutput", confirmed_lsn=1)
LOST = SlotState(is_lost=True, plugin="pgoutput", confirmed_lsn=1)


@pytest.mark.parametrize(
    ("slot", "backfill_slot", "has_publication", "is_marked", "begin"),
    [
        (None, None, False, False, Begin.FRESH_BACKFILL),
        (None, None, True, False, Begin.FRESH_BACKFILL),  # died between publication and slot, or made by an operator
        (None, SLOT, True, False, Begin.REPEATED_BACKFILL),
        (None, SLOT, True, True, Begin.REPEATED_BACKFILL),  # died between the mark and the copy of the slot
        (SLOT, SLOT, True, True, Begin.STREAM),  # died between the copy and the drop
        (SLOT, None, True, True, Begin.STREAM),
        (SLOT, None, True, False, Begin.STREAM),  # could not mark
        (SLOT, LOST, True, True, Begin.STREAM),
        (None, None, True, True, Begin.NEW_EPOCH),
        (LOST, None, True, True, Begin.NEW_EPOCH),
        (None, LOST, True, False, Begin.NEW_EPOCH),
    ],
)
def test_begin(
    slot: SlotState | None,
    backfill_slot: SlotState | None,
    has_publication: bool,  # noqa: FBT001
    is_marked: bool,  # noqa: FBT001
    begin: Begin,
) -> None:
    assert decide("s", SourceState(slot, backfill_slot, has_publication, is_marked)) is begin


@pytest.mark.parametrize(
    ("state", "what"),
    [
        (SourceState(SLOT, None, False, False), "publication is gone"),
        (SourceState(None, SLOT, False, False), "publication is gone"),
        (SourceState(SlotState(False, "test_decoding", 1), None, True, False), "test_decoding"),
    ],
)
def test_lost_changes_are_never_passed_over(state: SourceState, what: str) -> None:
    with pytest.raises(FatalFault, match=what) as caught:
        decide("s", state)
    assert caught.value.hint
