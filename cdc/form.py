"""Form: how a producer renders the values of a column, so that a JSON number or text can be read for what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class Kind(Enum):
    """A rendering in JSON. `BY_VALUE` is one that nobody stated: the value's own form must tell, or it is set aside."""

    INTEGER = auto()
    FLOAT = auto()
    DOUBLE = auto()
    BOOLEAN = auto()
    TEXT = auto()
    DAYS = auto()
    ISO_DATE = auto()
    MILLISECONDS = auto()
    MICROSECONDS = auto()
    NANOSECONDS = auto()
    ISO_TIME = auto()
    ISO_TIMESTAMP = auto()
    ZONED_TIME = auto()
    ZONED_TIMESTAMP = auto()
    DURATION = auto()
    ISO_DURATION = auto()
    UNSCALED = auto()
    VARIABLE_SCALE = auto()
    BASE64 = auto()
    BASE64_URL = auto()
    HEX = auto()
    BITS = auto()
    MAP = auto()
    POINT = auto()
    GEOMETRY = auto()
    ARRAY = auto()
    BY_VALUE = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Form:
    """A rendering: `scale` of an unscaled decimal, `element` of an array.

    `is_cut` says that the producer cuts times to milliseconds whatever the column has. `is_lossless` says that an array
    arrives as it is; Debezium turns an array in an array into nulls. `is_null_when_unchanged` says that an unchanged
    value which the log does not carry comes as null, like a value that was set to null; `is_null_when_unread` that any
    value does, since the producer cannot read the type. `default`, if any, is what comes for a null too.
    """

    kind: Kind
    scale: int | None = None
    element: Form | None = None
    is_cut: bool = False
    is_lossless: bool = True
    is_null_when_unchanged: bool = False
    is_null_when_unread: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """The forms of a table's columns, by source name; one object for all events of the same dialect.

    `told_types` are the types of columns that the contract does not name, each as a contract would state it, where the
    dialect tells them exactly.
    """

    by_column: Mapping[str, Form]
    told_types: Mapping[str, str] = field(default_factory=dict)
