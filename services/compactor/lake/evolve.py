"""Evolve: what becomes of a table's schema when the contract has changed since the table was made. Pure.

A type is widened where Iceberg reads old files exactly; a column that the contract no longer names is taken out (the
contract is the permission to show it); one that the table does not have yet is left to be filled. All else would show
false values of old rows, and is refused before anything is touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pyiceberg.schema import Schema
from pyiceberg.types import (
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
)

from cdc.contract import TableContract
from compactor.mask import fingerprint

SOURCE_TABLE, KEY, MASKS, PII_KEY_CHECK = "cdc.source-table", "cdc.key", "cdc.masks", "cdc.pii-key-check"
SOURCE_COLUMNS, PII_KEY_VERSION = "cdc.source-columns", "cdc.pii-key-version"
_PROMOTIONS: tuple[tuple[type[IcebergType], type[IcebergType]], ...] = (
    (IntegerType, LongType),
    (FloatType, DoubleType),
)


@dataclass(frozen=True, slots=True)
class Evolution:
    """How a table follows its contract: the `schema` and `properties` that it gets, and what that means by column.

    `problems` says what cannot follow.
    """

    schema: Schema
    properties: Mapping[str, str]
    widened: tuple[str, ...]
    dropped: tuple[str, ...]
    problems: tuple[str, ...]


def identity(contract: TableContract, pii_key: bytes, pii_key_version: str = "") -> dict[str, str]:
    """What a table's properties say of how its rows were made; rows made otherwise would not fit to them.

    A table has the tokens of one masking key only; its version is told beside the fingerprint, which is what counts.
    """
    has_tokens = any(column.mask == "token" for column in contract.columns)
    check = fingerprint(pii_key) if has_tokens else ""
    return {
        SOURCE_TABLE: contract.source_name,
        KEY: ",".join(contract.key),
        MASKS: ",".join(
            sorted(f"{column.name}={column.mask}" for column in contract.columns if column.mask != "clear")
        ),
        SOURCE_COLUMNS: json.dumps(
            {column.name: column.source_name for column in contract.columns}, ensure_ascii=False
        ),
        PII_KEY_CHECK: check,
        PII_KEY_VERSION: (pii_key_version or check) if has_tokens else "",
    }


def evolution(
    present: Schema,
    wanted: Schema,
    stated: Mapping[str, str],
    contract: TableContract,
    pii_key: bytes,
    pii_key_version: str = "",
) -> Evolution:
    """How a table with the schema `present` and the properties `stated` follows its contract, whose schema is `wanted`.

    The contract is here one of columns that the table has: a new one is filled before the table gets it.
    """
    targets = {field.name: field.field_type for field in wanted.fields}
    fields: list[NestedField] = []
    widened: list[str] = []
    dropped: list[str] = []
    properties = identity(contract, pii_key, pii_key_version)
    problems = list(_of_identity(stated, properties))
    for field in present.fields:
        if field.name not in targets:
            if field.name in stated.get(KEY, "").split(","):
                continue  # a changed key is said once
            dropped.append(field.name)
            continue
        promoted = promotion(field.field_type, targets[field.name])
        if promoted is None:
            problems.append(f"{field.name} is {field.field_type} in the lake and cannot become {targets[field.name]}")
            continue
        if promoted != field.field_type:
            widened.append(field.name)
        fields.append(field.model_copy(update={"field_type": promoted}))
    problems += [f"{name} is missing in the lake" for name in targets if not _is_in(present, name)]
    old_masks = _parsed_masks(stated.get(MASKS, ""))
    problems += [
        f"{column.name} is masked by {old_masks.get(column.name, 'clear')} in the lake and cannot become {column.mask}"
        for column in contract.columns
        if old_masks.get(column.name, "clear") != column.mask
    ]
    if not properties[PII_KEY_CHECK]:
        properties |= {name: stated.get(name, "") for name in (PII_KEY_CHECK, PII_KEY_VERSION)}
    return Evolution(
        schema=Schema(*fields, schema_id=present.schema_id, identifier_field_ids=present.identifier_field_ids),
        properties={name: value for name, value in properties.items() if stated.get(name) != value},
        widened=tuple(widened),
        dropped=tuple(dropped),
        problems=tuple(problems),
    )


def promotion(present: IcebergType, wanted: IcebergType) -> IcebergType | None:
    """The type that exactly holds what old files have and what the wanted one can have; None if there is none.

    Source of the fact: the Iceberg specification, "Schema evolution", for format version 2.
    """
    if present == wanted:
        return present
    if isinstance(present, ListType) and isinstance(wanted, ListType):
        element = promotion(present.element_type, wanted.element_type)
        return (
            None
            if element is None
            else ListType(present.element_id, element, element_required=present.element_required)
        )
    if any(isinstance(present, old) and isinstance(wanted, new) for old, new in _PROMOTIONS):
        return wanted
    if isinstance(present, DecimalType) and isinstance(wanted, DecimalType):
        return wanted if present.scale == wanted.scale and present.precision < wanted.precision else None
    return None


def _of_identity(stated: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    if stated.get(SOURCE_TABLE) != now[SOURCE_TABLE]:
        yield f"the lake's rows come from another source table, {stated.get(SOURCE_TABLE) or 'an unknown one'}"
    if stated.get(KEY) != now[KEY]:
        yield f"the lake's key is {stated.get(KEY) or 'unknown'}, the contract's {now[KEY]}"
    before = stated.get(PII_KEY_CHECK)
    if before and now[PII_KEY_CHECK] and before != now[PII_KEY_CHECK]:
        of_then = stated.get(PII_KEY_VERSION) or before
        yield (
            f"the lake's tokens were made with another masking key (CDC_PII_KEY): with version {of_then}, and version "
            f"{now[PII_KEY_VERSION]} is given; joins would miss rows without a word. Give the key of then "
            f"(secretsmanager:<arn>#{of_then}, if it is there), or rebuild the table with the new one"
        )


def source_names(stated: Mapping[str, str], names: Iterable[str]) -> tuple[str, ...]:
    """What columns of the lake are called at the source, as the table's properties say."""
    sources = json.loads(stated.get(SOURCE_COLUMNS) or "{}")
    return tuple(sources.get(name, name) for name in names)


def _is_in(schema: Schema, name: str) -> bool:
    return any(field.name == name for field in schema.fields)


def _parsed_masks(stated: str) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in stated.split(",") if "=" in entry)
