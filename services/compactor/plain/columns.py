"""Columns: whole columns of values in a producer's form → Arrow arrays, as `compactor.convert` does value by value.

Each converter says which values it left alone: those are for `compactor.convert`, which alone may judge them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdc.contract import Column
from cdc.debezium.forms import form_of_mode
from cdc.errors import RecordFault
from cdc.form import Form, Kind
from cdc.postgres_type import PostgresType
from cdc.producer import PUBLISHER
from compactor.convert import INTEGER_BITS, converter
from compactor.mask import LAST_SHOWN, masker
from compactor.tokens import tokens

Mask = npt.NDArray[np.bool_]
_DAYS = (-719_162, 2_932_896)
"""The years 1 to 9999 as days from 1970."""
_MICROSECONDS = (_DAYS[0] * 86_400_000_000, (_DAYS[1] + 1) * 86_400_000_000 - 1)
_EXACT_IN_DOUBLE = float(1 << 53)
_NO_YEAR_0 = r"([1-9]\d{3}|0[1-9]\d{2}|00[1-9]\d|000[1-9])"
_ZONED = rf"^{_NO_YEAR_0}-\d{{2}}-\d{{2}}T\d{{2}}:\d{{2}}:\d{{2}}(\.\d{{1,6}})?Z$"


_Read = tuple[pa.Array, Mask | None]
_Convert = Callable[[pa.Array], _Read]


@dataclass(frozen=True, slots=True)
class ColumnReader:
    """How one column of one dialect is read: the types that the JSON decoders check, and the conversion of many values.

    `json_type` is for msgspec, `arrow_type` for Arrow, whose array `convert_array` takes; None where values may come in
    several types, or in one that Arrow tells less exactly. Both conversions give the array (null where a value is bad)
    and which values are bad, or None when none is.
    """

    json_type: Any
    arrow_type: pa.DataType | None
    convert: Callable[[Sequence[Any]], _Read]
    convert_array: _Convert


def column_reader(column: Column, arrow_type: pa.DataType, form: Form | None) -> ColumnReader:
    """The reader of a column, which does not mask it; `form` None is that of our own publisher."""
    fast = _fast_array(column.type, form) if column.type.is_array else _fast(column.type, form)
    slow = _one_by_one(converter(column.type, form), arrow_type)
    if fast is None:
        return ColumnReader(Any, _parsed_type(column.type, form), slow, lambda array: _slow_array(array, slow))
    json_type, parsed, convert = fast

    def read(array: pa.Array) -> _Read:
        try:
            read, bad = convert(array)
            read = read.cast(arrow_type)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return _slow_array(array, slow)  # some value is not as simple; which one, the others tell
        return read, bad

    def read_values(values: Sequence[Any]) -> _Read:
        try:
            array = pa.array(values, parsed)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return slow(values)
        return read(array)

    return ColumnReader(json_type | None, parsed, read_values, read)


def _slow_array(array: pa.Array, slow: Callable[[Sequence[Any]], _Read]) -> _Read:
    """Values that Arrow has parsed, one by one; whole numbers that are doubles by now may have lost digits."""
    if not pa.types.is_floating(array.type):
        return slow(array.to_pylist())
    array, great = _exact_doubles(array)
    converted, bad = slow(array.to_pylist())
    return converted, great if bad is None else bad if great is None else bad | great


def _parsed_type(type_: PostgresType, form: Form | None) -> pa.DataType | None:
    """As what Arrow may parse the values of a column that are then converted one by one."""
    if type_.is_array or type_.is_as_sent:
        return None
    return _PARSED_TYPES.get(_publishers_kind(type_) if form is None else form.kind)


def _fast(type_: PostgresType, form: Form | None) -> tuple[Any, pa.DataType, _Convert] | None:
    kind = _publishers_kind(type_) if form is None else form.kind
    if kind is Kind.INTEGER and type_.name in INTEGER_BITS:
        return int, pa.int64(), _integers(type_.name)
    if kind is Kind.TEXT and type_.is_decimal:
        return str, pa.string(), _decimals(type_)
    if kind is Kind.TEXT and type_.is_text:
        return str, pa.string(), _as_parsed
    return _BY_NAME_AND_KIND.get((type_.name, kind))


def _fast_array(type_: PostgresType, form: Form | None) -> tuple[Any, pa.DataType, _Convert] | None:
    # Debezium makes nulls of arrays in arrays; whoever does not lose them needs no look at each value.
    if form is not None or not type_.element.is_text:
        return None
    return list[str | None], pa.list_(pa.string()), _as_parsed


def _as_parsed(array: pa.Array) -> _Read:
    return array, None


def _publishers_kind(type_: PostgresType) -> Kind:
    return form_of_mode(type_, PUBLISHER).kind


def _integers(name: str) -> _Convert:
    bits = INTEGER_BITS[name]
    low, high = (0, (1 << 32) - 1) if name == "oid" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return lambda array: _within(array, low, high)


def _within(array: pa.Array, low: int, high: int) -> _Read:
    """Values out of a range are bad."""
    bounds = pc.min_max(array)
    if not bounds["min"].is_valid or (bounds["min"].as_py() >= low and bounds["max"].as_py() <= high):
        return array, None
    good = pc.and_(pc.greater_equal(array, low), pc.less_equal(array, high))
    return _where(array, good)


def _where(array: pa.Array, good: pa.Array) -> _Read:
    """The array with null where it is not good; nulls are good."""
    if pc.all(good).as_py() in {True, None}:
        return array, None
    bad = pc.invert(pc.fill_null(good, True))
    mask = bad.to_numpy(zero_copy_only=False)
    return pc.if_else(bad, pa.scalar(None, array.type), array), mask


def _exact_doubles(array: pa.Array) -> _Read:
    # A whole number that great may have come with more digits than a double has.
    return _where(array, pc.less(pc.abs(array), _EXACT_IN_DOUBLE))


def _dates(array: pa.Array) -> _Read:
    array, bad = _within(array, *_DAYS)
    return array.cast(pa.int32()).cast(pa.date32()), bad


def _timestamps(array: pa.Array) -> _Read:
    array, bad = _within(array, *_MICROSECONDS)
    return array.cast(pa.timestamp("us")), bad


def _zoned(texts: pa.Array) -> _Read:
    texts, bad = _where(texts, pc.match_substring_regex(texts, _ZONED))
    return texts.cast(pa.timestamp("us", "UTC")), bad


def _decimals(type_: PostgresType) -> _Convert:
    precision, scale = type_.arguments
    whole = precision - scale
    pattern = rf"^-?\d{{1,{max(whole, 1)}}}(\.\d{{1,{scale}}})?$" if scale > 0 else rf"^-?\d{{1,{whole}}}$"
    arrow_type = pa.decimal128(precision, max(scale, 0))

    def convert(texts: pa.Array) -> _Read:
        texts, bad = _where(texts, pc.match_substring_regex(texts, pattern))
        return texts.cast(arrow_type), bad

    return convert


_BY_NAME_AND_KIND: dict[tuple[str, Kind], tuple[Any, pa.DataType, _Convert]] = {
    ("boolean", Kind.BOOLEAN): (bool, pa.bool_(), _as_parsed),
    ("double precision", Kind.FLOAT): (float, pa.float64(), _exact_doubles),
    ("double precision", Kind.DOUBLE): (float, pa.float64(), _exact_doubles),
    ("date", Kind.DAYS): (int, pa.int64(), _dates),
    ("timestamp", Kind.MICROSECONDS): (int, pa.int64(), _timestamps),
    ("timestamptz", Kind.ZONED_TIMESTAMP): (str, pa.string(), _zoned),
}
_PARSED_TYPES: dict[Kind, pa.DataType] = {
    **dict.fromkeys((Kind.INTEGER, Kind.DAYS, Kind.MILLISECONDS, Kind.MICROSECONDS, Kind.NANOSECONDS), pa.int64()),
    **dict.fromkeys((Kind.FLOAT, Kind.DOUBLE), pa.float64()),
    **dict.fromkeys(
        (
            Kind.TEXT, Kind.ISO_DATE, Kind.ISO_TIME, Kind.ISO_TIMESTAMP, Kind.ZONED_TIME, Kind.ZONED_TIMESTAMP,
            Kind.ISO_DURATION, Kind.DURATION, Kind.UNSCALED, Kind.BASE64, Kind.BASE64_URL, Kind.HEX, Kind.BITS,
        ),
        pa.string(),
    ),
    Kind.BOOLEAN: pa.bool_(),
}  # fmt: skip
"""The one type in JSON that a form has; of a value of any other the law decides."""


def _one_by_one(convert: Callable[[Any], Any], arrow_type: pa.DataType) -> Callable[[Sequence[Any]], _Read]:
    def read(values: Sequence[Any]) -> _Read:
        bad = np.zeros(len(values), np.bool_)
        converted: list[Any] = []
        for place, value in enumerate(values):
            try:
                converted.append(None if value is None else convert(value))
            except RecordFault:
                bad[place] = True
                converted.append(None)
        try:
            return pa.array(converted, arrow_type), bad if bad.any() else None
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return pa.nulls(len(values), arrow_type), np.ones(len(values), np.bool_)

    return read


def column_masker(column: Column, pii_key: bytes) -> Callable[[pa.ChunkedArray], pa.Array] | None:
    """What masks all values of a column; None where nothing is to be masked."""
    mask = masker(column.mask, pii_key)
    if mask is None:
        return None
    if column.mask == "redact":
        return lambda values: pa.nulls(len(values), values.type)
    if column.mask == "last4":
        return lambda values: _last4(values.combine_chunks())
    return lambda values: tokens(values, pii_key)


def _last4(texts: pa.Array) -> pa.Array:
    lengths = pc.utf8_length(texts)
    is_longer = pc.greater(lengths, LAST_SHOWN)
    hidden = pc.if_else(is_longer, pc.subtract(lengths, LAST_SHOWN), lengths)
    nothing = pa.scalar("", texts.type)
    shown = pc.if_else(is_longer, pc.utf8_slice_codeunits(texts, -LAST_SHOWN), nothing)
    stars = pc.binary_repeat(pa.scalar("*", texts.type), hidden)
    return pc.binary_join_element_wise(stars, shown, nothing)
