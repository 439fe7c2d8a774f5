"""Temporal: dates, times, timestamps and intervals in each form of `time.precision.mode` and `interval.handling.mode`.

Only the years 1 to 9999 are held: beyond them the readers of the lake differ, and infinities are no times at all.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from cdc.form import Form, Kind
from cdc.postgres_type import PostgresType
from compactor.held import Converter, not_held, unstated

_EPOCH_DATE = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a Postgres timestamp has no zone
_MILLISECOND_DIGITS = 3
_DAY = 86_400_000_000
_NANOSECONDS = 1000
_FACTORS = {Kind.MILLISECONDS: 1000, Kind.MICROSECONDS: 1}
_MILLISECONDS_OF_OUR_DAYS = (range(-2_208_988_800_000, -31_536_000_000), range(31_536_000_000, 7_258_118_400_000))
"""The years 1900 to 2199, but for two around 1970; read as microseconds they are some weeks before and after 1970."""
_TEXT_MAX = len("2024-03-10T15:34:56.789012Z")
_ISO_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?0*Z")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\dZ")
_ISO_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z")
_ZONED_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?Z")
_ISO_DURATION = re.compile(r"P(-?\d+Y)?(-?\d+M)?(-?\d+D)?(T(-?\d+H)?(-?\d+M)?(-?\d+(\.\d{1,6})?S)?)?")
_OUTSIDE = "an infinite {}, or one outside the years 1 to 9999"
_MODE = "time.precision.mode"
_CUT = (
    "a producer with time.precision.mode=connect cuts this column to milliseconds: use another mode, "
    "or name its type {}(3)"
)


def date_converter(_type: PostgresType, form: Form) -> Converter | None:
    """The converter of dates in a form."""
    return {Kind.DAYS: _days, Kind.ISO_DATE: _iso_date, Kind.BY_VALUE: _date_by_value}.get(form.kind)


def _days(value: Any) -> date:
    if type(value) is not int:
        raise not_held("no number of days")
    try:
        return _EPOCH_DATE + timedelta(days=value)
    except OverflowError:
        raise not_held(_OUTSIDE.format("date")) from None


def _iso_date(value: Any) -> date:
    if not isinstance(value, str):
        raise not_held("no date in ISO 8601")
    try:
        return date.fromisoformat(value[:-1] if _ISO_DATE.fullmatch(value) else "")
    except ValueError:
        raise not_held(_OUTSIDE.format("date")) from None


def _date_by_value(value: Any) -> date:
    return _iso_date(value) if isinstance(value, str) else _days(value)


def timestamp_converter(type_: PostgresType, form: Form) -> Converter | None:
    """The converter of timestamps without zone in a form."""
    if form.is_cut and type_.subsecond_digits > _MILLISECOND_DIGITS:
        return _refused(_CUT.format("timestamp"))
    if form.kind in _FACTORS:
        return _timestamp(_FACTORS[form.kind])
    if form.kind is Kind.BY_VALUE:
        return _timestamp_by_value(type_)
    return {Kind.NANOSECONDS: _timestamp_of_nanoseconds, Kind.ISO_TIMESTAMP: _iso_timestamp}.get(form.kind)


def _timestamp(microseconds: int) -> Converter:
    def convert(value: Any) -> datetime:
        if type(value) is not int:
            raise not_held("no number of milli- or microseconds")
        try:
            return _EPOCH + timedelta(microseconds=value * microseconds)
        except OverflowError:
            raise not_held(_OUTSIDE.format("timestamp")) from None

    return convert


def _timestamp_of_nanoseconds(value: Any) -> Any:
    if type(value) is not int or value % _NANOSECONDS:
        # The sentinels of the infinities are no whole microseconds.
        raise not_held("no number of nanoseconds that is whole microseconds, or an infinite timestamp")
    return _timestamp(1)(value // _NANOSECONDS)


def _iso_timestamp(value: Any) -> datetime:
    return _timestamptz(value).replace(tzinfo=None)


def _timestamp_by_value(type_: PostgresType) -> Converter:
    """The unit of `adaptive`, unless the number would then lie where one of `connect` would."""
    is_fine = type_.subsecond_digits > _MILLISECOND_DIGITS
    convert = _timestamp(1 if is_fine else 1000)

    def by_value(value: Any) -> Any:
        if isinstance(value, str):
            raise unstated(_MODE, "a text, which isostring gives, and a column that has become a timestamptz")
        if is_fine and type(value) is int and any(value in years for years in _MILLISECONDS_OF_OUR_DAYS):
            raise unstated(_MODE, "a number that may be microseconds of 1970 or milliseconds")
        return convert(value)

    return by_value


def timestamptz_converter(_type: PostgresType, form: Form) -> Converter | None:
    """The converter of timestamps with zone, which all modes render alike."""
    return _timestamptz if form.kind in {Kind.ZONED_TIMESTAMP, Kind.BY_VALUE} else None


def _timestamptz(value: Any) -> datetime:
    if not isinstance(value, str):
        raise not_held("no timestamp in ISO 8601")
    if len(value) > _TEXT_MAX and not _ISO_TIMESTAMP.fullmatch(value):
        raise not_held(_OUTSIDE.format("timestamp"))
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise not_held("a timestamp without zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise not_held(_OUTSIDE.format("timestamp")) from None


def time_converter(type_: PostgresType, form: Form) -> Converter | None:
    """The converter of times of day in a form, to the text that Postgres writes."""
    if form.is_cut and type_.subsecond_digits > _MILLISECOND_DIGITS:
        return _refused(_CUT.format("time"))
    if form.kind in _FACTORS:
        return _time(_FACTORS[form.kind])
    if form.kind is Kind.BY_VALUE:
        return _time_by_value(type_)
    return {Kind.NANOSECONDS: _time_of_nanoseconds, Kind.ISO_TIME: _iso_time}.get(form.kind)


def _time(microseconds: int) -> Converter:
    def convert(value: Any) -> str:
        if type(value) is not int or not 0 <= value * microseconds <= _DAY:
            raise not_held("no time of a day in the unit of the column")
        seconds, fraction = divmod(value * microseconds, 1_000_000)
        minutes, seconds = divmod(seconds, 60)
        text = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
        return f"{text}.{fraction:06}".rstrip("0") if fraction else text

    return convert


def _time_of_nanoseconds(value: Any) -> str:
    if type(value) is not int or value % _NANOSECONDS:
        raise not_held("no number of nanoseconds that is whole microseconds")
    return str(_time(1)(value // _NANOSECONDS))


def _iso_time(value: Any) -> str:
    if not isinstance(value, str) or not _ISO_TIME.fullmatch(value):
        raise not_held("no time of a day in ISO 8601")
    if value == "00:00:00Z":
        raise not_held("00:00 or 24:00, which time.precision.mode=isostring renders alike: use microseconds")
    text = value[:-1]
    return text.rstrip("0") if "." in text else text


def _time_by_value(type_: PostgresType) -> Converter:
    is_fine = type_.subsecond_digits > _MILLISECOND_DIGITS
    convert = _time(1 if is_fine else 1000)

    def by_value(value: Any) -> str:
        if isinstance(value, str):
            raise unstated(_MODE, "a text, which isostring gives, and a column that has become a timetz")
        # The first minute of a day in microseconds, or any time in milliseconds: whole seconds speak for the former.
        if is_fine and type(value) is int and 0 < value <= _DAY // 1000 and value % 1_000_000:
            raise unstated(_MODE, "a number that may be micro- or milliseconds")
        return str(convert(value))

    return by_value


def timetz_converter(_type: PostgresType, form: Form) -> Converter | None:
    """The converter of times of day with zone, which Debezium has turned into UTC."""
    return _timetz if form.kind in {Kind.ZONED_TIME, Kind.BY_VALUE} else None


def _timetz(value: Any) -> str:
    if not isinstance(value, str) or not _ZONED_TIME.fullmatch(value):
        raise not_held("no time of a day at UTC in ISO 8601")
    return value


def interval_converter(_type: PostgresType, form: Form) -> Converter | None:
    """The converter of intervals; a number of microseconds does not tell a month from 30 days and 10.5 hours."""
    if form.kind in {Kind.ISO_DURATION, Kind.BY_VALUE, Kind.DURATION}:
        return _interval
    return None


def _interval(value: Any) -> str:
    if type(value) is int:
        raise not_held(
            "an interval as an approximate number: the producer must have interval.handling.mode=string, "
            "or the contract name the column a bigint of microseconds"
        )
    if not isinstance(value, str) or not _ISO_DURATION.fullmatch(value):
        raise not_held("no interval in ISO 8601")
    return value


def _refused(what: str) -> Converter:
    def convert(_value: Any) -> Any:
        raise not_held(what)

    return convert
