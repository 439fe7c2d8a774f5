"""Decode: the change events that a message states, whichever producer sent it; the message itself says which."""

from __future__ import annotations

from cdc import dms
from cdc.contract import TableContract
from cdc.debezium import Decoder
from cdc.event import ChangeEvent


class EventDecoder:
    """Decodes the messages of one table."""

    def __init__(self, contract: TableContract) -> None:
        self._contract = contract
        self._debezium = Decoder(contract)

    def decode(self, payload: bytes | memoryview, epoch: int) -> tuple[ChangeEvent, ...]:
        """The change events of one message: one, or the two of a key change by DMS, or none where nothing changed.

        Raises:
            RecordFault: when the message is no change event, or lacks what a merge needs.
        """
        if dms.is_dms(payload):
            return dms.decode(payload, self._contract, epoch)
        return (self._debezium.decode(payload, epoch),)
