"""Partition keys of what is put back: those that our publisher gives, so that the changes of a key stay in order."""

from __future__ import annotations

import json

import msgspec

from cdc.contract import TableContract
from cdc_publisher.envelope import PARTITION_KEY_WITHOUT_KEY, partition_key

_ABSENT = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    op: str | None = None
    before: msgspec.Raw = _ABSENT
    after: msgspec.Raw = _ABSENT
    source: msgspec.Raw = _ABSENT
    payload: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    metadata: msgspec.Raw = _ABSENT


_MESSAGE = msgspec.json.Decoder(_Message)
_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def partition_key_of(payload: bytes, contract: TableContract | None) -> str:
    """The partition key of a record: a digest of its row's key, or a constant where no key can be read."""
    if contract is None:
        return PARTITION_KEY_WITHOUT_KEY
    names = [contract.column(name).source_name for name in contract.key]
    try:
        row = _row(payload)
        values = [bytes(row[name]).decode() for name in names]
    except (*_UNREADABLE, KeyError):
        return PARTITION_KEY_WITHOUT_KEY
    if "null" in values:
        return PARTITION_KEY_WITHOUT_KEY
    members = (
        f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in zip(names, values, strict=True)
    )  # fmt: skip
    return partition_key(("{" + ",".join(members) + "}").encode())


def _row(payload: bytes) -> dict[str, msgspec.Raw]:
    """The row that names the key: Debezium's `after` or a delete's `before`, DMS's `data`, a flattened event whole."""
    message = _MESSAGE.decode(payload)
    if _is_given(message.payload) and not _is_given(message.source) and not _is_given(message.metadata):
        return _row(bytes(message.payload))
    if _is_given(message.metadata):
        return _ROW.decode(message.data)
    if _is_given(message.source):
        return _ROW.decode(message.before if message.op == "d" else message.after)
    return _ROW.decode(payload)


def _is_given(part: msgspec.Raw) -> bool:
    return bytes(part) != b"null"
