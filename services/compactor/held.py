"""Held: the fault of a value that the lake cannot hold exactly, and what a converter is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cdc.errors import RecordFault

Converter = Callable[[Any], Any]


def not_held(what: str) -> RecordFault:
    """The fault of a value; `what` never names it. Whoever knows the column adds its name."""
    return RecordFault("value-not-held", what)


def unstated(setting: str, what: str) -> RecordFault:
    """The fault of a value that only the producer's setting would make plain."""
    return not_held(f"{what}; the contract must state the custom property debezium.{setting}, as the producer has it")
