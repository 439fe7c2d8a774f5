"""Decode: the change events that a message states, whichever producer sent it; the message itself says which."""

from __future__ import annotations

from cdc import debezium, dms
from cdc.contract import TableContract
from cdc.event import ChangeEvent


def decode(payload: bytes | memoryview, contract: TableContract, epoch: int) -> tuple[ChangeEvent, ...]:
    """The change events of one message: one, or the two of a key change by DMS, or none where nothing changed.

    Raises:
        RecordFault: when the message is no change event, or lacks what a merge needs.
    """
    if dms.is_dms(payload):
        return dms.decode(payload, contract, epoch)
    return (debezium.decode(payload, contract, epoch),)
