"""DMS number: JSON's numbers with every digit that they came with, and doubt where DMS may have lost some.

AWS documents that integers of more than 16 digits come in scientific notation; whether their digits went through a
double on the way is not documented, so that such a number must prove itself (docs/dms.md).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cdc.errors import RecordFault

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?P<exponent>[eE][+-]?\d{1,4})?", re.ASCII)
_NUMBER_LENGTH_MAX = 1000
_SURE_DIGITS = 15
"""As many significant digits pass through a double unharmed (DBL_DIG)."""
_WHOLE_IN_DOUBLE_BELOW = 2**53
EXPONENT_MAX = 400
"""Numbers of more digits before or behind the point are in no column of ours."""


@dataclass(frozen=True, slots=True)
class Scientific:
    """A number that came with an exponent: DMS may have lost digits of it, so it must prove itself."""

    number: Decimal


def number(text: str) -> Decimal | Scientific:
    """A number that is no plain integer, with every digit that its text has; a decoder's `float_hook`.

    Raises:
        ValueError: when it is none, or far beyond what any column holds.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= _NUMBER_LENGTH_MAX else None
    if match is None:
        raise ValueError("no number, or one of absurd length")
    return Scientific(Decimal(text)) if match["exponent"] else Decimal(text)


def exact_number(value: Any, scale: int) -> Decimal:
    """A number of a column with so many decimals, sure to have lost none of its digits.

    Raises:
        RecordFault: when it is none, or may have lost some.
    """
    if isinstance(value, str):
        try:
            value = number(value)
        except ValueError:
            raise RecordFault("value-not-held", "no number") from None
    if isinstance(value, Scientific):
        if not _is_sure(value.number, scale):
            raise RecordFault(
                "value-not-held", "a number in scientific notation that may have lost digits; set UseLargeIntegerValue"
            )
        return value.number
    if type(value) is int or isinstance(value, Decimal):
        return Decimal(value)
    raise RecordFault("value-not-held", "no number")


def _is_sure(value: Decimal, scale: int) -> bool:
    """Whether a number written with an exponent cannot be what a double made of another one."""
    if not value or value.adjusted() + 1 + scale <= _SURE_DIGITS:
        return True
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent > -scale or value.adjusted() > EXPONENT_MAX:
        return False  # not all digits down to the column's last decimal are written
    if scale == 0 and abs(value) < _WHOLE_IN_DOUBLE_BELOW:
        return True
    double = float(value)
    return math.isfinite(double) and value not in {Decimal(double), Decimal(repr(double))}
