"""A key's value as a column of the lake has it, from what an operator gave: nothing is guessed or rounded."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa


def stored_value(given: object, type_: pa.DataType) -> Any:
    """The value of a type that a text, or an integer of JSON, says.

    An integer stands for a number alone: of a date or a time it would be an offset, which nobody means.

    Raises:
        ArrowException, ArithmeticError, TypeError, ValueError: when it says none, or not exactly one.
    """
    if isinstance(given, str):
        stored = pa.scalar(given).cast(type_).as_py()
        is_the_same = _is_said_by(given, stored)
    elif pa.types.is_integer(type_) or pa.types.is_decimal(type_):
        stored = pa.scalar(given, type_).as_py()
        is_the_same = stored == given
    else:
        raise TypeError
    if not is_the_same:
        raise ValueError
    return stored


def _is_said_by(text: str, stored: object) -> bool:
    """Whether a text says this value, and no other one that would be stored alike."""
    match stored:
        case bool():
            said: object = {"true": True, "false": False}.get(text)
        case datetime():
            said = datetime.fromisoformat(text)
        case date():
            said = date.fromisoformat(text)
        case Decimal():
            said = Decimal(text)
        case float():
            return stored in (float(text), float(np.float32(text)))
        case bytes():
            said = text.encode()
        case _:
            return text == str(stored)
    return said == stored
