"""Dates and times: Postgres's ISO text to the numbers and texts of Debezium's `time.precision.mode=adaptive`.

Source of the facts: events recorded from Debezium 3.6.3 on Postgres 18. Where Debezium gives a wrong value, ours is
right: it loses the era of dates in a snapshot, moves 1582-10-05..14 by ten days, and wraps timestamps beyond 64 bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from msgspec import Raw

Json = str | int | bool | None | Raw | Sequence["Json"] | Mapping[str, "Json"]
"""What an encoder of JSON takes; `Raw` is JSON already."""
Renderer = Callable[[str], Json]
"""Turns a value's Postgres text into what it is in JSON."""

_ORDINAL_1970: Final = date(1970, 1, 1).toordinal()
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - both sides of the subtraction have no zone
_DAY_US: Final = 86_400_000_000
_MONTH_US: Final = 2_629_800_000_000
"""Debezium's month: 365.25 / 12 days."""
_INT64_MAX: Final = 2**63 - 1
_DATE = re.compile(r"(?P<year>\d{4,})-(?P<month>\d\d)-(?P<day>\d\d)")
_TIMESTAMP = re.compile(r"(?P<date>\d+-\d\d-\d\d) (?P<time>[\d:.]+)(?:\+00)?(?P<era> BC)?")
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?")
_TIMETZ = re.compile(r"(?P<time>[\d:.]+)(?P<sign>[+-])(?P<hours>\d\d)(?::(?P<minutes>\d\d))?(?::(?P<seconds>\d\d))?")
_INTERVAL = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d{1,6}))?S)?)?"
)


@dataclass(frozen=True, slots=True)
class DateInfinity:
    """The numbers that stand for the dates `infinity` and `-infinity`; no real date has them."""

    positive: int
    negative: int


INFINITY_STREAMED: Final = DateInfinity(-2147472692, -2147472691)
"""What Debezium gives while streaming: an int32 that overflowed."""
INFINITY_BACKFILLED: Final = DateInfinity(-622191234, -625821272)
"""What Debezium gives in a snapshot: another path through Java's dates, another overflow."""
TIMESTAMP_INFINITY_US: Final = 9223372036825200000
"""PGStatement.DATE_POSITIVE_INFINITY of the JDBC driver."""
TIMESTAMP_NEGATIVE_INFINITY_US: Final = -9223372036832400000


def date_renderer(infinity: DateInfinity) -> Renderer:
    """Days since 1970."""
    special = {"infinity": infinity.positive, "-infinity": infinity.negative}

    def render(text: str) -> int:
        return special.get(text) or _days(text)

    return render


def timestamp_renderer(precision: int) -> Renderer:
    """Milliseconds since 1970 where the column has at most three digits of a second, else microseconds."""
    divisor = 1000 if precision <= 3 else 1
    special = {
        "infinity": TIMESTAMP_INFINITY_US // divisor,
        "-infinity": TIMESTAMP_NEGATIVE_INFINITY_US // divisor,
    }

    def render(text: str) -> int:
        return special.get(text) or _timestamp_us(text) // divisor

    return render


def timestamptz_renderer(precision: int) -> Renderer:
    """ISO text in UTC with as many digits of a second as the column has; infinity stays a word."""
    zeros = "." + "0" * precision if precision else ""
    length = 19 + len(zeros)

    def render(text: str) -> str:
        # The zone of the session is UTC: "2024-03-10 15:34:56.78+00".
        if text[4] == "-" and text[-3:] == "+00":
            end = len(text) - 3
            if end < length:
                padding = zeros[end - 19 :]
                return f"{text[:10]}T{text[11:end]}{padding}Z"
            return f"{text[:10]}T{text[11:end]}Z"
        if text.endswith("infinity"):
            return text
        match = _matched(_TIMESTAMP, text)
        year, month_and_day = match["date"].split("-", 1)
        time = match["time"] + zeros[len(match["time"]) - 8 :]
        return f"{_iso_year(int(year), is_bc=bool(match['era']))}-{month_and_day}T{time}Z"

    return render


def time_renderer(precision: int) -> Renderer:
    """Milliseconds or microseconds since midnight; 24:00:00 is a whole day."""
    divisor = 1000 if precision <= 3 else 1

    def render(text: str) -> int:
        return _time_us(text) // divisor

    return render


def timetz(text: str) -> str:
    """ISO text of the time of day in UTC, with as few digits as it needs."""
    match = _matched(_TIMETZ, text)
    offset = int(match["hours"]) * 3600 + int(match["minutes"] or 0) * 60 + int(match["seconds"] or 0)
    offset_us = (-offset if match["sign"] == "-" else offset) * 10**6
    seconds, microseconds = divmod((_time_us(match["time"]) - offset_us) % _DAY_US, 10**6)
    fraction = f".{microseconds:06}".rstrip("0") if microseconds else ""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}Z"


def interval(text: str) -> int:
    """Microseconds, a month taken for 30.4375 days, held within 64 bits; the session's interval style is ISO 8601."""
    if text.endswith("infinity"):
        return -_INT64_MAX - 1 if text.startswith("-") else _INT64_MAX
    match = _matched(_INTERVAL, text)
    years, months, days, hours, minutes = (int(part or 0) for part in match.groups()[:5])
    sign, seconds, fraction = match.groups()[5:]
    seconds_us = int(seconds or 0) * 10**6 + int((fraction or "").ljust(6, "0"))
    total = (years * 12 + months) * _MONTH_US + days * _DAY_US + (hours * 60 + minutes) * 60 * 10**6
    total += -seconds_us if sign else seconds_us
    return max(-_INT64_MAX - 1, min(_INT64_MAX, total))


def _days(text: str) -> int:
    if len(text) == 10:
        return date.fromisoformat(text).toordinal() - _ORDINAL_1970
    match = _matched(_DATE, text)
    year, month, day = int(match["year"]), int(match["month"]), int(match["day"])
    if text.endswith(" BC"):
        year = 1 - year
    # 400 years are 146,097 days: any year has the calendar of one that Python's dates know.
    cycles = (year - 2000) // 400
    return date(year - cycles * 400, month, day).toordinal() - _ORDINAL_1970 + cycles * 146_097


def _timestamp_us(text: str) -> int:
    if len(text) <= 26 and text[4] == "-" and text[-1] != "C":
        since = datetime.fromisoformat(text) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    match = _matched(_TIMESTAMP, text)
    return _days(match["date"] + (match["era"] or "")) * _DAY_US + _time_us(match["time"])


def _time_us(text: str) -> int:
    hours, minutes, seconds, fraction = _matched(_TIME, text).groups()
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 10**6 + int((fraction or "").ljust(6, "0"))


def _iso_year(year: int, *, is_bc: bool) -> str:
    year = 1 - year if is_bc else year
    if year > 9999:
        return f"+{year}"
    return f"-{-year:04}" if year < 0 else f"{year:04}"


def _matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.match(text)
    if match is None:
        # The caller names table and column; the value itself must not show.
        raise ValueError("not in Postgres's ISO form")
    return match
