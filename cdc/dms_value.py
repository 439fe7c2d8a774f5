"""DMS value: a value as AWS DMS renders it → the form that Debezium's JSON has for the type, exactly, or a fault.

The compactor converts that form further, so that the lake's values have one converter. Source of the facts: AWS DMS
user guide, "Using Amazon Kinesis Data Streams as a target" and "Using a PostgreSQL database as a source", and
published samples. docs/dms.md has what was chosen where these are silent.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

import msgspec

from cdc.dms_number import EXPONENT_MAX, Scientific, exact_number, number
from cdc.errors import RecordFault
from cdc.postgres_array import parse_array
from cdc.postgres_type import PostgresType

Normaliser = Callable[[Any], Any]

_JSON = msgspec.json.Decoder(msgspec.Raw)
_INTEGER_DIGITS_MAX = 19
_EXACT = Context(prec=10_000)
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_NUMERIC_OUT = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_RANGE_OUT = re.compile(r"empty|[\[(][^\[\](),]*,[^\[\](),]*[\])]", re.ASCII)
_DAY = r"(?P<day>\d{4}-\d\d-\d\d)"
_CLOCK = r"(?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?"
_DATE = re.compile(_DAY + r"(?:[T ]00:00:00(?:\.0+)?Z?)?", re.ASCII)
_TIME = re.compile(_CLOCK + "Z?", re.ASCII)
_TIMESTAMP = re.compile(_DAY + "[T ]" + _CLOCK + "Z?", re.ASCII)
_TIMESTAMPTZ = re.compile(_DAY + "[T ]" + _CLOCK + r"(?P<zone>Z|[+-]\d\d(?::?\d\d(?::\d\d)?)?)", re.ASCII)
_MICROSECOND_DIGITS = 6
_MILLISECOND_DIGITS = 3
_REAL_DIGITS = (6, 7, 8, 9)
_MONEY = PostgresType("numeric", (19, 2))
"""DMS has NUMERIC(38,4) for money, which has two decimals itself."""
_EPOCH_DATE = date(1970, 1, 1)
_TEXT = frozenset({"text", "varchar", "citext", "name", "enum", "inet", "cidr", "macaddr", "macaddr8", "xml"})
# Not tstzrange: its text has the zone of whatever session wrote it.
_RANGES = frozenset({"int4range", "int8range", "numrange", "daterange", "tsrange"})


@lru_cache(maxsize=256)
def normaliser(type_: PostgresType) -> Normaliser:
    """The function that brings non-null values of a type from DMS's form to Debezium's.

    It raises RecordFault(`value-not-held`), without naming the value, for what cannot be told exactly. Types of which
    no rendering by DMS is known are refused value by value.
    """
    if type_.is_array:
        return _array(type_)
    if type_.name in {"smallint", "integer", "bigint"}:
        return _integer
    if type_.name == "numeric":
        return _numeric(type_)
    if type_.name in {"time", "timestamp"}:
        return _clock(type_)
    if type_.name == "char":
        return _char(type_)
    simple: dict[str, Normaliser] = {
        "real": _real, "double precision": _double, "boolean": _boolean, "date": _date, "timestamptz": _timestamptz,
        "money": _numeric(_MONEY), "bytea": _bytes, "json": _json, "jsonb": _json, "uuid": _uuid,
        **dict.fromkeys(_RANGES, _range), **dict.fromkeys(_TEXT, _text),
    }  # fmt: skip
    return simple.get(type_.name, _as_it_is if type_.is_as_sent else _unknown)


def _fault(what: str) -> RecordFault:
    return RecordFault("value-not-held", what)


def _as_it_is(value: Any) -> Any:
    return value


def _unknown(_value: Any) -> Any:
    raise _fault("no rendering of this type by DMS is known")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _fault("no text")
    return value


def _char(type_: PostgresType) -> Normaliser:
    """Postgres shows a char(n) with all its blanks; DMS may send it without."""

    def convert(value: Any) -> str:
        if not type_.arguments and value == "":
            raise _fault("an empty text, which is a blank in a char(1) and empty in a bpchar: state which")
        return _text(value).ljust(type_.arguments[0] if type_.arguments else 0)

    return convert


def _integer(value: Any) -> int:
    exact = exact_number(value, 0)
    if exact.adjusted() >= _INTEGER_DIGITS_MAX or exact != exact.to_integral_value():
        raise _fault("no integer of 64 bits")
    return int(exact)


def _numeric(type_: PostgresType) -> Normaliser:
    if not type_.arguments:

        def rounded(_value: Any) -> str:
            raise _fault("DMS rounds a numeric without precision to six decimals")

        return rounded
    scale = type_.arguments[1] if len(type_.arguments) > 1 else 0
    step = Decimal(1).scaleb(-scale)

    def convert(value: Any) -> str:
        if isinstance(value, str) and value in _NOT_FINITE:
            return value
        exact = exact_number(value, scale)
        if abs(exact.adjusted()) > EXPONENT_MAX:
            raise _fault("no number that a numeric holds")
        # As Postgres writes it, with all decimals: one text for one number, since keys are compared.
        written = exact.quantize(step, context=_EXACT)
        if written != exact:
            raise _fault(f"more decimals than {type_} has")
        return format(written or abs(written), "f")

    return convert


def _double(value: Any) -> float | str:
    if isinstance(value, str) and value in _NOT_FINITE:
        return value
    if isinstance(value, str):
        try:
            value = number(value)
        except ValueError:
            raise _fault("no number") from None
    exact = value.number if isinstance(value, Scientific) else value
    if type(exact) is not int and not isinstance(exact, Decimal):
        raise _fault("no number")
    try:
        double = float(exact)
    except OverflowError:
        raise _fault("no number that a double holds") from None
    if math.isinf(double) or (double == 0 and exact != 0):
        raise _fault("no number that a double holds")
    return double


def _real(value: Any) -> float | str:
    double = _double(value)
    if isinstance(double, str):
        return double
    try:
        real = _as_real(double)
    except OverflowError:
        raise _fault("no number that a real holds") from None
    if real != double:
        return double
    # One that DMS made a double of has digits that no real has, but is that very real: the fewest that tell it.
    return next(short for digits in _REAL_DIGITS if _as_real(short := float(f"{real:.{digits}g}")) == real)


def _as_real(double: float) -> float:
    (real,) = struct.unpack("<f", struct.pack("<f", double))
    return float(real)


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    # DMS maps boolean to CHAR(5), so that blanks may follow.
    known = _BOOLEANS.get(str(value).rstrip(" ").lower()) if type(value) in {str, int} else None
    if known is None:
        raise _fault("no boolean")
    return known


def _date(value: Any) -> int:
    match = _matched(_DATE, value, "no date")
    return (_day(match["day"]) - _EPOCH_DATE).days


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _fault("no date between the years 1 and 9999") from None


def _microseconds(match: re.Match[str]) -> int:
    """The time of day of a match of `_CLOCK`."""
    try:
        clock = time.fromisoformat(match["clock"])
    except ValueError:
        raise _fault("no time of day") from None
    fraction = (match["fraction"] or "").rstrip("0")
    if len(fraction) > _MICROSECOND_DIGITS:
        raise _fault("a time finer than Postgres's microseconds")
    whole = (clock.hour * 60 + clock.minute) * 60 + clock.second
    return whole * 1_000_000 + int(fraction.ljust(_MICROSECOND_DIGITS, "0"))


def _clock(type_: PostgresType) -> Normaliser:
    """Milliseconds for columns of at most three digits, else microseconds, as `time.precision.mode=adaptive` has it.

    A `Z` is not looked at: DMS writes it after a plain timestamp as well, where it says nothing of a zone.
    """
    unit = 1000 if type_.arguments and type_.arguments[0] <= _MILLISECOND_DIGITS else 1
    form = _TIME if type_.name == "time" else _TIMESTAMP

    def convert(value: Any) -> int:
        match = _matched(form, value, f"no {type_.name} in ISO 8601")
        microseconds = _microseconds(match)
        if form is _TIMESTAMP:
            microseconds += (_day(match["day"]) - _EPOCH_DATE).days * 86_400_000_000
        if microseconds % unit:
            raise _fault(f"a time finer than {type_} has")
        return microseconds // unit

    return convert


def _timestamptz(value: Any) -> str:
    match = _matched(_TIMESTAMPTZ, value, "no timestamp with zone in ISO 8601")
    microseconds, zone = _microseconds(match), match["zone"]
    try:
        midnight = datetime.fromisoformat(f"{_day(match['day'])}T00:00:00{zone}").astimezone(UTC)
        moment = midnight + timedelta(microseconds=microseconds)
    except (ValueError, OverflowError):
        raise _fault("no timestamp between the years 1 and 9999") from None
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _matched(form: re.Pattern[str], value: Any, what: str) -> re.Match[str]:
    match = form.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _fault(what)
    return match


def _bytes(value: Any) -> str:
    digits = _text(value)
    if digits[:2] in {"0x", "0X", "\\x"}:
        digits = digits[2:]
    if re.fullmatch("(?:[0-9a-fA-F]{2})*+", digits) is None:
        raise _fault("no hexadecimal digits, or cut off by the limited LOB mode (LobMaxSize)")
    return base64.b64encode(bytes.fromhex(digits)).decode()


def _json(value: Any) -> str:
    document = _text(value)
    try:
        _JSON.decode(document)
    except (msgspec.DecodeError, RecursionError):
        _check_slowly(document)
    return document


def _check_slowly(document: str) -> None:
    """Python's own reader takes an escaped half of a surrogate pair, as a json column does."""

    def refuse(_constant: str) -> None:
        raise _fault("NaN or an infinity, which JSON has not")

    try:
        # Numbers as text, whose digits are then no matter.
        json.loads(document, parse_constant=refuse, parse_int=str, parse_float=str)
    except RecursionError:
        raise _fault("JSON that is nested too deeply to be checked") from None
    except ValueError:
        raise _fault("no JSON: most likely cut off by the limited LOB mode (LobMaxSize)") from None


def _uuid(value: Any) -> str:
    try:
        return str(uuid.UUID(_text(value)))
    except ValueError:
        raise _fault("no uuid") from None


def _range(value: Any) -> str:
    if _RANGE_OUT.fullmatch(_text(value)) is None:
        raise _fault("no range in Postgres's form")
    return str(value)


def _unrounded(value: Any) -> str:
    if not isinstance(value, str) or (_NUMERIC_OUT.fullmatch(value) is None and value not in _NOT_FINITE):
        raise _fault("no numeric in Postgres's form")
    return value


def _array(type_: PostgresType) -> Normaliser:
    # Of an array DMS sends Postgres's own text, in which no numeric is rounded.
    element = _unrounded if type_.element == PostgresType("numeric") else normaliser(type_.element)

    def convert(value: Any) -> list[Any]:
        try:
            items = parse_array(_text(value))
        except ValueError:
            raise _fault("no array of one dimension in Postgres's form, or cut off by the limited LOB mode") from None
        return [None if item is None else element(item) for item in items]

    return convert
