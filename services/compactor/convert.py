"""Convert: a value as Debezium's JSON has it → the value that the lake holds, exactly, or a fault. Never a guess.

The forms are those of `decimal.handling.mode=string`, `time.precision.mode=adaptive` and `binary.handling.mode=bytes`
(debezium.io, "Debezium connector for PostgreSQL", data type mappings).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from cdc.errors import RecordFault
from cdc.postgres_type import PostgresType

Converter = Callable[[Any], Any]

_INTEGER_BITS = {"smallint": 16, "integer": 32, "bigint": 64}
_EPOCH_DATE = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a Postgres timestamp has no zone
_MILLISECOND_DIGITS = 3
_EXACT = Context(prec=100)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_FINER_THAN_MICROSECONDS = re.compile(r"\.[0-9]{6}[0-9]")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def converter(type_: PostgresType) -> Converter:
    """The function that converts non-null values of a type.

    It raises RecordFault(`value-not-held`) for a value that the type or the lake cannot hold, without naming the value.
    """
    if type_.is_array:
        return _array(type_)
    if type_.name in _INTEGER_BITS:
        return _integer(_INTEGER_BITS[type_.name])
    if type_.name == "numeric":
        return _numeric(*type_.arguments)
    if type_.name == "timestamp":
        milliseconds = bool(type_.arguments) and type_.arguments[0] <= _MILLISECOND_DIGITS
        return _timestamp(1000 if milliseconds else 1)
    simple: dict[str, Converter] = {
        "real": _float(32), "double precision": _float(64), "boolean": _boolean, "date": _date,
        "timestamptz": _timestamptz, "bytea": _bytes,
    }  # fmt: skip
    return simple.get(type_.name, _text)


def _fault(what: str) -> RecordFault:
    return RecordFault("value-not-held", what)


def _integer(bits: int) -> Converter:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def convert(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _fault(f"no integer of {bits} bits")
        return value

    return convert


def _numeric(precision: int, scale: int) -> Converter:
    step = Decimal(1).scaleb(-scale)

    def convert(value: Any) -> Decimal:
        if type(value) not in {str, int}:
            raise _fault("no exact number: decimal.handling.mode must be string")
        if _NUMBER.fullmatch(str(value)) is None:
            raise _fault("no number, or NaN or infinity, which no decimal of the lake holds")
        number = Decimal(value)
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)
        too_fine = -exponent > scale and any(digits[exponent + scale :])
        too_great = bool(number) and number.adjusted() + 1 > precision - scale
        if too_fine or too_great:
            raise _fault(f"more digits than numeric({precision},{scale}) has")
        return number.quantize(step, context=_EXACT)

    return convert


def _float(bits: int) -> Converter:
    def convert(value: Any) -> float:
        if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if type(value) not in {int, float}:
            raise _fault("no number")
        try:
            number = float(value)
            if bits == 32:
                struct.pack("<f", number)  # rounds as the lake does, and refuses what is beyond its range
        except OverflowError:
            raise _fault(f"a number that {bits} bits do not hold") from None
        if number != value:
            raise _fault(f"a number that {bits} bits do not hold")
        return number

    return convert


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise _fault("no boolean")
    return value


def _date(value: Any) -> date:
    """Days since 1970; only the years 1 to 9999 are dates that every reader of the lake shows alike."""
    if type(value) is not int:
        raise _fault("no number of days")
    try:
        return _EPOCH_DATE + timedelta(days=value)
    except OverflowError:
        raise _fault("an infinite date, or one outside the years 1 to 9999") from None


def _timestamp(microseconds: int) -> Converter:
    def convert(value: Any) -> datetime:
        if type(value) is not int:
            raise _fault("no number of milli- or microseconds")
        try:
            return _EPOCH + timedelta(microseconds=value * microseconds)
        except OverflowError:
            raise _fault("an infinite timestamp, or one outside the years 1 to 9999") from None

    return convert


def _timestamptz(value: Any) -> datetime:
    if not isinstance(value, str):
        raise _fault("no timestamp in ISO 8601")
    if _FINER_THAN_MICROSECONDS.search(value):
        raise _fault("a timestamp finer than microseconds")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise _fault("a timestamp without zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _fault("an infinite timestamp, or one outside the years 1 to 9999") from None


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _fault("no base64") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _fault("no text")
    return value


def _array(type_: PostgresType) -> Converter:
    element = converter(type_.element)

    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _fault("no array")
        return [None if item is None else element(item) for item in value]

    return convert
