"""Avro value: how raw has what is in Avro, where that is not what Avro has: decimals as text, bytes in base64.

Source of the facts: BigDecimal.toPlainString; Confluent's AvroData, which writes a default into a schema as Avro's
specification has it, bytes as a text of ISO 8859-1; its output for defaults of every type.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

from cdc.debezium.forms import CONNECT_DECIMAL, VARIABLE_SCALE_DECIMAL, SchemaField

_DIGITS_MAX = 131_072 + 16_383
"""Postgres's limit for a numeric, before and after the point; so long is its text at most."""
_UNSCALED_BYTES_MAX = _DIGITS_MAX * 5 // 12
_EXACT = Context(prec=_DIGITS_MAX, Emax=999_999, Emin=-999_999)


def decimal_text(octets: bytes, scale: int) -> str:
    """A decimal as BigDecimal.toPlainString has it.

    Raises:
        ValueError: when it has more digits than any of Postgres, or none.
    """
    if not octets or len(octets) > _UNSCALED_BYTES_MAX or not -_DIGITS_MAX <= scale <= _DIGITS_MAX:
        raise ValueError("a decimal has more digits than any of Postgres, or none")
    number = Decimal(int.from_bytes(octets, "big", signed=True)).scaleb(-scale, _EXACT)
    return f"{number:f}" if number or scale > 0 else "0"


def default_of(member: Mapping[str, Any]) -> Any:
    """The default that a record's member of an Avro schema states, None where it states none.

    What the type says comes first: Connect's own default is there, also where Avro could not have it.
    """
    type_ = member["type"]
    branches = type_ if isinstance(type_, list) else [type_]
    stated = (branch.get("connect.default") for branch in branches if isinstance(branch, dict))
    return next((default for default in stated if default is not None), member.get("default"))


def default_in_raw(field: SchemaField, default: Any) -> Any:
    """A default as raw has a value that equals it.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: when it is no value of its type.
    """
    value = default
    if default is None:
        pass
    elif field.name == CONNECT_DECIMAL:
        value = decimal_text(_octets(default), int((field.parameters or {})["scale"]))
    elif field.name == VARIABLE_SCALE_DECIMAL:
        value = decimal_text(_octets(default["value"]), int(default["scale"]))
    elif field.type == "bytes":
        value = base64.b64encode(_octets(default)).decode("ascii")
    elif field.items is not None:
        value = [default_in_raw(field.items, item) for item in default]
    elif field.values is not None:
        value = {name: default_in_raw(field.values, inner) for name, inner in default.items()}
    elif field.fields is not None:
        value = {member.field: default_in_raw(member, default[member.field]) for member in field.fields}
    return value


def _octets(text: str) -> bytes:
    return text.encode("latin-1")
