"""Decode: the change events that a message states, whichever producer sent it; the message itself says which."""

from __future__ import annotations

import msgspec

from cdc import debezium, dms
from cdc.contract import TableContract
from cdc.debezium.identity import moves
from cdc.event import ChangeEvent


class Decoder:
    """Decodes the messages of one table, whichever producers send them."""

    def __init__(self, contract: TableContract) -> None:
        self._contract = contract
        self._debezium = debezium.Decoder(contract)
        self._key = tuple(contract.column(name).source_name for name in contract.key)

    def decode(
        self, payload: bytes | memoryview | msgspec.Raw, epoch: int, avro_schema: str | None = None
    ) -> tuple[ChangeEvent, ...]:
        """The change events of one message: one, or the two of a key change in one, or none where nothing changed.

        `avro_schema` is the text of the schema that a message had which came in Avro.

        Raises:
            RecordFault: when the message is no change event, or lacks what a merge needs.
        """
        if avro_schema is None and dms.is_dms(payload):
            return dms.decode(payload, self._contract, epoch)
        return moves(self._debezium.decode(payload, epoch, avro_schema), self._key)


def decode(payload: bytes | memoryview, contract: TableContract, epoch: int) -> tuple[ChangeEvent, ...]:
    """The change events of one message; for many, keep a `Decoder`.

    Raises:
        RecordFault: when the message is no change event, or lacks what a merge needs.
    """
    return Decoder(contract).decode(payload, epoch)
