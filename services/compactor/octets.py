"""Octets: bytea in each form of `binary.handling.mode`, and bit strings."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from cdc.form import Form, Kind
from cdc.postgres_type import PostgresType
from compactor.held import Converter, not_held, unstated

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_MODE = "binary.handling.mode"


def bytes_converter(_type: PostgresType, form: Form) -> Converter | None:
    """The converter of bytea in a form."""
    return {Kind.BASE64: _base64, Kind.BASE64_URL: _base64_url, Kind.HEX: _hex, Kind.BY_VALUE: _by_value}.get(form.kind)


def _base64(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise not_held("no base64") from None


def _base64_url(value: Any) -> bytes:
    # Python would take the two characters of the ordinary alphabet for these.
    if not isinstance(value, str) or "+" in value or "/" in value or not value.isascii():
        raise not_held("no base64 for URLs")
    return _base64(value.translate(_FROM_URL))


def _hex(value: Any) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise not_held("no hexadecimal number")
    return bytes.fromhex(value)


def _by_value(value: Any) -> bytes:
    """Each mode has texts that the others cannot have; of the rest only the contract can tell."""
    if not isinstance(value, str):
        raise not_held("no bytes in text")
    is_hex = bool(value) and _HEX.fullmatch(value) is not None
    if is_hex and len(value) % 4 == 0:
        raise unstated(_MODE, "bytes that may be in base64 or hexadecimal")
    if is_hex:
        return bytes.fromhex(value)
    return _base64_url(value) if "-" in value or "_" in value else _base64(value)


_FROM_URL = str.maketrans("-_", "+/")


def bits_converter(type_: PostgresType, form: Form) -> Converter | None:
    """The converter of bit strings, to the text that Postgres writes.

    Debezium sends them as a number, little-endian: the zeros in front are lost, which only a fixed length makes up for.
    """
    if form.kind is Kind.BOOLEAN:
        return _bit(is_fixed=type_.name == "bit")
    if form.kind not in {Kind.BITS, Kind.BASE64}:
        return None
    return _bits(type_.arguments[0] if type_.arguments else None, is_fixed=type_.name == "bit")


def _bit(*, is_fixed: bool) -> Converter:
    def convert(value: Any) -> str:
        if type(value) is not bool:
            raise not_held("no bit")
        if not value and not is_fixed:
            raise not_held("a zero or no bit at all, which Debezium renders alike")
        return "1" if value else "0"

    return convert


def _bits(length: int | None, *, is_fixed: bool) -> Converter:
    def convert(value: Any) -> str:
        number = int.from_bytes(_base64(value), "little")
        if length is not None and number.bit_length() > length:
            raise not_held(f"more than {length} bits")
        if length is None or not (is_fixed or number.bit_length() == length):
            raise not_held("bits of a length that Debezium does not tell: make the column bit(n) or text")
        return f"{number:0{length}b}"

    return convert
