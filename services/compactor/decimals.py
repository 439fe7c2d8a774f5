"""Decimals: numeric and money in each form of `decimal.handling.mode`, to a decimal or to the digits as text."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

from cdc.form import Form, Kind
from cdc.postgres_type import PostgresType
from compactor.held import Converter, not_held, unstated

MONEY = PostgresType("numeric", (19, 2))
"""A money is a 64-bit number of cents."""
_EXACT_IN_DOUBLE = 10**15
"""A decimal of so few steps of its scale comes back from a double unharmed: no other one has the same double."""
_DIGITS_MAX = 131_072
_SCALE_MAX = 16_383
"""Postgres's own limits for a numeric without precision: digits before and after the point."""
_BASE64_MAX = 4 * (_DIGITS_MAX + _SCALE_MAX) // 7
_TEXT_MAX = _DIGITS_MAX + _SCALE_MAX + 3
_EXACT = Context(prec=_DIGITS_MAX + _SCALE_MAX, Emax=999_999, Emin=-999_999)
_TEXT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_SPECIAL = {
    "NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity",
    "NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity",
}  # fmt: skip
_DOUBLES_END = ("Infinity", "-Infinity")
_MODE = "decimal.handling.mode"


def converter(type_: PostgresType, form: Form) -> Converter | None:
    """The converter of a numeric or money in a form; None where no number comes in such a form."""
    read = _reader(type_, form)
    if read is None:
        return None
    type_ = MONEY if type_.name == "money" else type_
    hold = _decimal(*type_.arguments) if type_.is_decimal else _digits(type_)
    return lambda value: hold(read(value))


def _reader(type_: PostgresType, form: Form) -> Callable[[Any], Decimal] | None:
    if form.kind is Kind.UNSCALED and form.scale is not None:
        return _unscaled(form.scale)
    if form.kind is Kind.DOUBLE:
        return _double(type_)
    simple: dict[Kind, Callable[[Any], Decimal]] = {
        Kind.TEXT: _text, Kind.VARIABLE_SCALE: _variable_scale, Kind.INTEGER: _whole, Kind.BY_VALUE: _by_value(type_),
    }  # fmt: skip
    return simple.get(form.kind)


def _text(value: Any) -> Decimal:
    if type(value) is int:
        return _whole(value)
    if not isinstance(value, str):
        raise not_held("no exact number: decimal.handling.mode must be string")
    if value in _SPECIAL:
        return Decimal(_SPECIAL[value])
    if len(value) > _TEXT_MAX or not _TEXT.fullmatch(value):
        raise not_held("no number")
    return Decimal(value)


def _whole(value: Any) -> Decimal:
    if type(value) is not int:
        raise not_held("no whole number")
    return Decimal(value)


def _unscaled(scale: int) -> Callable[[Any], Decimal]:
    def read(value: Any) -> Decimal:
        if not isinstance(value, str) or not value or len(value) > _BASE64_MAX:
            raise not_held("no unscaled number as base64")
        try:
            number = int.from_bytes(base64.b64decode(value, validate=True), "big", signed=True)
        except (ValueError, binascii.Error):
            raise not_held("no unscaled number as base64") from None
        return Decimal(number).scaleb(-scale, _EXACT)

    return read


def _variable_scale(value: Any) -> Decimal:
    scale = value.get("scale") if isinstance(value, dict) else None
    if not isinstance(value, dict) or type(scale) is not int or not -_DIGITS_MAX <= scale <= _SCALE_MAX:
        raise not_held("no number with its scale")
    return _unscaled(scale)(value.get("value"))


def _double(type_: PostgresType) -> Callable[[Any], Decimal]:
    scale = MONEY.arguments[1] if type_.name == "money" else type_.arguments[1] if type_.arguments else None

    def read(value: Any) -> Decimal:
        if value == "NaN":
            return Decimal("NaN")
        if value in _DOUBLES_END:
            raise not_held(f"a double's infinity, or a number too great for one: {_MODE} must be string or precise")
        if type(value) not in {float, int} or not math.isfinite(value):
            raise not_held("no double")
        if scale is None or abs(value) * 10**scale >= _EXACT_IN_DOUBLE:
            raise not_held(f"a double, which may have lost digits of a {type_}: {_MODE} must be string or precise")
        return Decimal(repr(value))

    return read


def _by_value(type_: PostgresType) -> Callable[[Any], Decimal]:
    """Text that is no base64 is a decimal; a number is a double; what has its scale with it needs no more."""
    from_double = _double(type_)

    def read(value: Any) -> Decimal:
        if isinstance(value, dict):
            return _variable_scale(value)
        if not isinstance(value, str) or value in _DOUBLES_END:
            return from_double(value)
        if value in _SPECIAL:
            return Decimal(_SPECIAL[value])
        if len(value) > _TEXT_MAX:
            raise not_held("no number")
        if not _TEXT.fullmatch(value):
            raise unstated(_MODE, "no number in text, and as base64 without its scale")
        if _BASE64.fullmatch(value):
            raise unstated(_MODE, "digits that may be a number in text or in base64")
        return Decimal(value)

    return read


def _decimal(precision: int, scale: int) -> Callable[[Decimal], Decimal]:
    step = Decimal(1).scaleb(-scale)

    def hold(number: Decimal) -> Decimal:
        if not number.is_finite():
            raise not_held("NaN or infinity, which no decimal of the lake holds")
        _check(number, precision, scale)
        return number.quantize(step, context=_EXACT)

    return hold


def _check(number: Decimal, precision: int, scale: int) -> None:
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    too_fine = -exponent > scale and any(digits[max(exponent + scale + len(digits), 0) :])
    too_great = bool(number) and number.adjusted() + 1 > precision - scale
    if too_fine or too_great:
        raise not_held(f"more digits than numeric({precision},{scale}) has")


def _digits(type_: PostgresType) -> Callable[[Decimal], str]:
    """As Postgres writes it: all digits, no exponent."""

    def hold(number: Decimal) -> str:
        if not number.is_finite():
            return str(number)
        if not -_SCALE_MAX <= number.adjusted() < _DIGITS_MAX:
            raise not_held("more digits than a numeric has")
        if type_.arguments:
            precision, scale = type_.arguments
            _check(number, precision, scale)
            return f"{number.quantize(Decimal(1).scaleb(-scale), context=_EXACT):f}"
        if number.is_zero():
            number = number.copy_abs()  # Postgres has no negative zero
        return f"{number:f}"

    return hold
