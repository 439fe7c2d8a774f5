"""Placeholder: what stands for an unchanged TOASTed value, which the log does not carry, in each type and mode.

Source of the facts: Debezium's UnchangedToastedPlaceholder, and events recorded from Debezium 3.6.3 in all modes of a
row whose columns of every type that is TOASTed were left unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from typing import Any

from cdc.postgres_type import PostgresType
from cdc.producer import UNSTATED, ProducerModes

_ARRAYS_WITH_A_PLACEHOLDER = frozenset({"text", "varchar", "integer", "bigint", "uuid", "json", "jsonb"})


def placeholders(type_: PostgresType | None, modes: ProducerModes = UNSTATED) -> tuple[Any, ...]:
    """All values that say "unchanged" in a column of a type; None is the type of a column that no contract names."""
    text = modes.placeholder
    octets = text.encode()
    in_base64 = base64.b64encode(octets).decode()
    if type_ is not None and type_.is_as_sent:
        type_ = None
    if type_ is None or type_.is_array:
        # Java's UUID.nameUUIDFromBytes: a version 3 uuid without a name space.
        named = uuid.UUID(bytes=hashlib.md5(octets, usedforsecurity=False).digest(), version=3)
        arrays = ([text], list(octets), [str(named)], [in_base64], [{text: text}])
        return arrays if type_ is not None else (text, *arrays)
    if type_.name == "bytea":
        # With binary.handling.mode=hex it is the text itself, which could be a value where base64 has `_`.
        return (in_base64,) if modes.binary == "base64-url-safe" else (in_base64, text)
    if type_.name == "hstore":
        return (json.dumps({text: text}, separators=(",", ":")), {text: text}, text)
    return (text,)


def is_placeholder(value: Any, type_: PostgresType | None) -> bool:
    """Whether a value says "unchanged"; its form depends on the type."""
    return value in placeholders(type_)


def may_be_null(type_: PostgresType, modes: ProducerModes) -> bool:
    """Whether Debezium gives null for an unchanged TOASTed value of a type, so that a null may also mean "unchanged".

    It does where it has no placeholder: in most arrays, in long bit strings, and in bytea as base64 text. Where no
    schema and no contract tells the mode, any that is allowed may be the producer's.
    """
    if type_.name == "bytea":
        return modes.binary not in {"bytes", *(() if type_.is_array else ("hex",))}
    if type_.name == "date":
        return type_.is_array and modes.time in {None, "connect", "isostring"}
    if type_.name in {"bit", "varbit"}:
        return type_.can_be_toasted
    return type_.is_array and type_.name not in _ARRAYS_WITH_A_PLACEHOLDER


def is_null_when_unread(type_: PostgresType) -> bool:
    """Whether Debezium gives null for any value of a type, since it cannot read it.

    So it does for `name` from the log (the snapshot has it), and for arrays of bit strings.
    """
    return type_.name in {"bit", "varbit"} if type_.is_array else type_.name == "name"
