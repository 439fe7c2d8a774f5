"""Debezium JSON to change event: every dialect of Debezium's PostgreSQL connector, as it and our publisher write it.

Source of the facts: debezium.io, "Debezium connector for PostgreSQL", and events recorded from Debezium 3.6 in all
modes.
"""

from __future__ import annotations

from cdc.debezium.decode import Decoder, committed_at, decode
from cdc.debezium.placeholder import is_placeholder
from cdc.producer import DEFAULT_PLACEHOLDER as PLACEHOLDER

__all__ = ["PLACEHOLDER", "Decoder", "committed_at", "decode", "is_placeholder"]
