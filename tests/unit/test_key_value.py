"""A key's value as the lake has it: what says it exactly is taken, what would be taken for another is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from compactor.lake.key_value import stored_value

MONEY = pa.decimal128(10, 2)
INSTANT = pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("given", "type_", "stored"),
    [
        ("42", pa.int64(), 42),
        (42, pa.int64(), 42),
        (-1, pa.int32(), -1),
        ("12.5", MONEY, Decimal("12.50")),
        (12, MONEY, Decimal(12)),
        ("042", pa.string(), "042"),
        ("042", pa.large_string(), "042"),
        ("true", pa.bool_(), True),
        ("0.1", pa.float64(), 0.1),
        ("2026-11-21", pa.date32(), date(2026, 11, 21)),
        ("2026-11-21 10:00:00", pa.timestamp("us"), datetime(2026, 11, 21, 10)),
        ("2026-11-21T10:00:00-03:00", INSTANT, datetime(2026, 11, 21, 13, tzinfo=UTC)),
    ],
)
def test_what_says_a_value_exactly_is_taken(given: object, type_: pa.DataType, stored: object) -> None:
    assert stored_value(given, type_) == stored


@pytest.mark.parametrize(
    ("given", "type_"),
    [
        (20260101, pa.date32()),
        (1_700_000_000, pa.timestamp("us")),
        (1_700_000_000, INSTANT),
        (42, pa.string()),
        (1, pa.bool_()),
        (1, pa.float64()),
        ("042", pa.int64()),
        ("4.0", pa.int64()),
        (2**40, pa.int32()),
        ("12.505", MONEY),
        ("1", pa.bool_()),
        ("2026-11-21 10:00:00", INSTANT),
        ("2026-11-21 10:00:00Z", pa.timestamp("us")),
        ("yesterday", pa.date32()),
    ],
)
def test_what_would_be_taken_for_another_value_is_refused(given: object, type_: pa.DataType) -> None:
    with pytest.raises((pa.ArrowException, ArithmeticError, TypeError, ValueError)):
        stored_value(given, type_)
