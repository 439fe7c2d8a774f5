"""Avro names: which column a field is, since Avro has no `ç` and no `-` in its names.

Source of the facts: debezium.io, `field.name.adjustment.mode` and `column.propagate.source.type`; messages recorded
from Debezium 3.6.3 in both modes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeGuard

from cdc.debezium.forms import SchemaField

_STATED = "__debezium.source.column.name"
_NOT_AVRO = re.compile(r"[^A-Za-z0-9_]")
_NOT_PLAIN = re.compile(r"^[0-9]|[^A-Za-z0-9]")


def source_names(fields: Iterable[SchemaField], columns: Iterable[str]) -> Mapping[str, str]:
    """The columns by the fields that stand for them under another name; `columns` are those of the contract.

    What the schema states counts first. Else a field that is no column itself stands for the one column whose name
    Debezium would have changed to the field's; where that holds for several columns, or the column has a field of its
    own name, nothing is taken for it: the column is then missing, loudly.
    """
    columns = set(columns)
    stated = {field.field: (field.parameters or {}).get(_STATED) for field in fields if field.field is not None}
    found = _unambiguous({name: column for name, column in stated.items() if _is_adjusted(column, name)}, stated.keys())
    names = {name for name in stated if name not in columns and name not in found and stated[name] is None}
    for adjust in (_with_underscores, _with_unicode):
        left = columns - (stated.keys() - found.keys()) - set(found.values())
        adjusted = {column: adjust(column) for column in left}
        counts = Counter(adjusted.values())
        found |= {name: column for column, name in adjusted.items() if name in names and counts[name] == 1}
        names -= found.keys()
    return found


def _is_adjusted(column: Any, name: str) -> TypeGuard[str]:
    return isinstance(column, str) and column != name and name in {_with_underscores(column), _with_unicode(column)}


def _unambiguous(found: Mapping[str, str], present: AbstractSet[str]) -> dict[str, str]:
    """Those that no two fields claim, nor a field of that very name."""
    counts = Counter(found.values())
    return {name: column for name, column in found.items() if counts[column] == 1 and column not in present}


def _with_underscores(name: str) -> str:
    """As `field.name.adjustment.mode=avro` does it."""
    text = _NOT_AVRO.sub(lambda match: "_" * len(_units(match[0])), name)
    return f"_{text}" if text[:1].isdecimal() else text


def _with_unicode(name: str) -> str:
    """As `field.name.adjustment.mode=avro_unicode` does it."""
    return _NOT_PLAIN.sub(lambda match: "".join(f"_u{unit:04x}" for unit in _units(match[0])), name)


def _units(character: str) -> list[int]:
    """A character as Java counts it: in units of UTF-16."""
    octets = character.encode("utf-16-be")
    return [int.from_bytes(octets[start : start + 2], "big") for start in range(0, len(octets), 2)]
