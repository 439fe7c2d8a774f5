"""Convert: a value in the form that its producer gave it → the value that the lake holds, exactly, or a fault.

docs/types.md has the table: Postgres type, form by mode, type in the lake, what is set aside.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec

from cdc.debezium.forms import form_of_mode
from cdc.form import Form, Kind
from cdc.postgres_type import PostgresType
from cdc.producer import NULL_SETTING, PUBLISHER
from compactor import decimals, octets, structures, temporal
from compactor.held import Converter, not_held, unstated

INTEGER_BITS = {"smallint": 16, "integer": 32, "bigint": 64, "oid": 33}
_FLOAT_DIGITS_MAX = 9
_EXACT_IN_DOUBLE = 1 << 53
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_CHANGED = (
    "the producer renders it as {kind}, which is no {type}: the column's type has changed, or the contract's is wrong"
)
_DEFAULT = "the column's default, which the producer writes for a null too unless replace.null.with.default is false"
_OWN_CONVERTERS: dict[str, Callable[[PostgresType, Form], Converter | None]] = {
    "numeric": decimals.converter, "money": decimals.converter,
    "date": temporal.date_converter, "timestamp": temporal.timestamp_converter,
    "timestamptz": temporal.timestamptz_converter, "time": temporal.time_converter,
    "timetz": temporal.timetz_converter, "interval": temporal.interval_converter,
    "bytea": octets.bytes_converter, "bit": octets.bits_converter, "varbit": octets.bits_converter,
    "hstore": structures.hstore_converter, "point": structures.point_converter,
    "geometry": structures.geometry_converter, "geography": structures.geometry_converter,
}  # fmt: skip


def converter(type_: PostgresType, form: Form | None = None) -> Converter:
    """The function that converts non-null values of a type in a form; without one, that of our own publisher.

    It raises RecordFault(`value-not-held`) for a value that the type or the lake cannot hold, without naming the value.
    """
    if form is None:
        return _converter(type_, _publishers(type_))
    return _converter(type_, form)


def _publishers(type_: PostgresType) -> Form:
    if type_.is_array:
        return Form(Kind.ARRAY, element=form_of_mode(type_.element, PUBLISHER))
    return form_of_mode(type_, PUBLISHER)


def _converter(type_: PostgresType, form: Form) -> Converter:
    if type_.is_as_sent:
        return _as_sent
    if type_.is_array:
        found = _array(type_, form)
    elif type_.name in _OWN_CONVERTERS:
        found = _OWN_CONVERTERS[type_.name](type_, form)
    else:
        found = _plain(type_, form.kind)
    return _no_null(found or _changed(type_, form.kind), form.default)


def _no_null(convert: Converter, default: Any) -> Converter:
    if default is None:
        return convert

    def checked(value: Any) -> Any:
        if value == default:
            raise unstated(NULL_SETTING, _DEFAULT)
        return convert(value)

    return checked


def _as_sent(value: Any) -> str:
    """A value of a type that nobody stated: a text as it is, all else as its JSON text."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and abs(value) >= _EXACT_IN_DOUBLE:
        raise not_held("a number that has lost digits on its way, in a column whose type nobody has stated")
    return msgspec.json.encode(value).decode()


def _plain(type_: PostgresType, kind: Kind) -> Converter | None:
    if type_.name in INTEGER_BITS:
        # A contract may call an interval a bigint: the microseconds as Debezium counts them, told so on purpose.
        is_held = kind is Kind.INTEGER or (kind is Kind.DURATION and type_.name == "bigint")
        return _integer(type_.name) if is_held else None
    if type_.name == "boolean":
        return _boolean if kind is Kind.BOOLEAN else None
    if type_.name == "real":
        return _real if kind is Kind.FLOAT else None
    if type_.name == "double precision":
        return _double if kind in {Kind.FLOAT, Kind.DOUBLE} else None
    return _text if kind is Kind.TEXT else None


def _changed(type_: PostgresType, kind: Kind) -> Converter:
    what = _CHANGED.format(kind=kind.name.lower().replace("_", " "), type=type_)

    def convert(_value: Any) -> Any:
        raise not_held(what)

    return convert


def _integer(name: str) -> Converter:
    bits = INTEGER_BITS[name]
    low, high = (0, (1 << 32) - 1) if name == "oid" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    def convert(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise not_held(f"no {name}")
        return value

    return convert


def _double(value: Any) -> float:
    if type(value) is float or (type(value) is int and -_EXACT_IN_DOUBLE <= value <= _EXACT_IN_DOUBLE):
        return float(value)
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise not_held("no number")


def _real(value: Any) -> float:
    number = _double(value)
    if number != number or number in {float("inf"), float("-inf"), 0.0}:  # noqa: PLR0124 - NaN differs from itself
        return number
    # No real needs more than nine digits: one that has more is a double, and would be cut.
    digits = repr(number).lstrip("-").partition("e")[0].replace(".", "").strip("0")
    try:
        is_held = len(digits) <= _FLOAT_DIGITS_MAX and struct.unpack("<f", struct.pack("<f", number))[0] != 0.0
    except OverflowError:
        is_held = False
    if not is_held:
        raise not_held("more digits or a greater exponent than a real has")
    return number


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise not_held("no boolean")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise not_held("no text")
    return value


def _array(type_: PostgresType, form: Form) -> Converter | None:
    if form.kind is not Kind.ARRAY or form.element is None:
        return None
    element = _converter(type_.element, form.element)
    is_text = form.element.kind in {Kind.TEXT, Kind.BY_VALUE}
    is_lossless = form.is_lossless

    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise not_held("no array")
        if value and not is_lossless and structures.may_have_lost_an_array(value, is_text=is_text):
            raise not_held("an array of nothing but nulls, which is also what Debezium makes of an array in an array")
        return [None if item is None else element(item) for item in value]

    return convert
