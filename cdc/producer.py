"""Producer modes: what a contract states of the settings by which its producer renders values.

Only messages without schemas need them, and only where a value's own form does not tell. The names and values are those
of Debezium's connector for PostgreSQL (debezium.io, "Connector configuration properties").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PREFIX = "debezium."
_ALLOWED = {
    "time.precision.mode": (
        "adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds",
    ),
    "decimal.handling.mode": ("precise", "double", "string"),
    "binary.handling.mode": ("bytes", "base64", "base64-url-safe", "hex"),
    "interval.handling.mode": ("numeric", "string"),
    "hstore.handling.mode": ("json", "map"),
}  # fmt: skip
_PLACEHOLDER_SETTING = "unavailable.value.placeholder"
NULL_SETTING = "replace.null.with.default"
DEFAULT_PLACEHOLDER = "__debezium_unavailable_value"


@dataclass(frozen=True, slots=True)
class ProducerModes:
    """The stated modes; None where the contract states nothing.

    `placeholder` is the text that stands for an unchanged TOASTed value. `is_null_replaced` says that the converter may
    write a column's default for a null, as Kafka Connect's JsonConverter does unless it is told not to.
    """

    time: str | None = None
    decimal: str | None = None
    binary: str | None = None
    interval: str | None = None
    hstore: str | None = None
    placeholder: str = DEFAULT_PLACEHOLDER
    is_null_replaced: bool = True


UNSTATED = ProducerModes()
PUBLISHER = ProducerModes("adaptive", "string", "bytes", "numeric", "json")
"""What our own publisher writes."""


def read_modes(stated: Callable[[str], Any], problems: list[str]) -> ProducerModes:
    """The modes out of a contract's custom properties; adds to `problems` what no Debezium has."""
    modes: list[str | None] = []
    for name, allowed in _ALLOWED.items():
        value = stated(PREFIX + name)
        if value is not None and value not in allowed:
            problems.append(f"custom property {PREFIX}{name} must be one of {', '.join(allowed)}")
        modes.append(value)
    placeholder = stated(PREFIX + _PLACEHOLDER_SETTING)
    if placeholder is not None and (not isinstance(placeholder, str) or not placeholder):
        problems.append(f"custom property {PREFIX}{_PLACEHOLDER_SETTING} must be a text")
        placeholder = None
    is_null_replaced = stated(PREFIX + NULL_SETTING)
    if is_null_replaced not in {None, True, False}:
        problems.append(f"custom property {PREFIX}{NULL_SETTING} must be true or false")
    time, decimal, binary, interval, hstore = modes
    return ProducerModes(
        time, decimal, binary, interval, hstore, placeholder or DEFAULT_PLACEHOLDER, is_null_replaced is not False
    )
