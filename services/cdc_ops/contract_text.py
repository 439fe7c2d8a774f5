"""Contract text: a draft as a commented YAML document, which a person reads, mends and confirms."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import yaml

from cdc.contract import SENSITIVE, VALUE_BEFORE, parse_contract
from cdc.errors import FatalFault
from cdc.lake_name import shown, source_table
from cdc.postgres_type import PostgresType
from cdc_ops.draft import Draft, DraftColumn, LeftOut

_HEADER = """\
# The table contract of {table}, as an Open Data Contract Standard document (v3.1).
# `cdc contract` wrote it from the database's catalogs, without a look at any row. What is PROPOSED is a guess from a
# column's name, and one that is not may be personal all the same: a person must go through all columns, then set status
# to active. `cdc contract --check` tells later when the table has changed.
#
# name            what the column is called in the lake (Athena wants [a-z0-9_]); physicalName is its name in Postgres
#                 where that is another
# physicalType    the Postgres type at the source, from which the lake's type follows
# classification  public, internal, confidential or restricted; the last two need a mask
# mask            what the lake shows of a personal column: token (keyed HMAC-SHA256: equal values stay equal, so joins
#                 still work), last4 (the last four characters), redact (nothing) or clear (everything, said outright);
#                 token and last4 are for text, and a key can only be token or clear
# valueBeforeAdded  what ADD COLUMN gave to the rows that were there, as the database still knows it; no event says it
"""
_DOCUMENT = """\
apiVersion: v3.1.0
kind: DataContract
id: urn:usuarios-cdc:{name}
name: {name}
version: 1.0.0
status: draft # active, once a person has confirmed it
dataProduct: {name}
# domain and tenant: whose data this is
description:
  purpose: {purpose}
  usage: Query with Athena or Redshift Spectrum; never join back to the application's database.
  limitations: Seconds old, never older than the latency promised below without an alarm.
schema:
  - name: {name}
    physicalName: {name}
    physicalType: table
    logicalType: object
"""
_LATENCY = """\
slaProperties:
  - property: latency # from commit at the source to visible in the lake; commits are made twice as often
    value: {value:.15g}
    unit: s
"""
_LOGICAL_TYPES = {
    "smallint": "integer", "integer": "integer", "bigint": "integer", "real": "number", "double precision": "number",
    "numeric": "number", "boolean": "boolean", "date": "date", "timestamp": "timestamp", "timestamptz": "timestamp",
    "json": "object", "jsonb": "object",
}  # fmt: skip


def contract_text(draft: Draft) -> str:
    """The draft as a document that `cdc.contract.parse_contract` reads back as the same contract.

    Raises:
        FatalFault: when it would not, which is a mistake of this program.
    """
    contract = draft.contract
    table = source_table(contract.source_schema, contract.source_table)
    purpose = f"Every change of the application's table {table}, for reports that must never touch its database."
    lines = [
        *_HEADER.format(table=shown(table)).splitlines(),
        *_DOCUMENT.format(name=contract.name, purpose=_scalar(purpose)).splitlines(),
        *([f"    description: {_scalar(draft.description)}"] if draft.description else []),
        "    customProperties:",
        "      - property: sourceTable",
        f"        value: {_scalar(table)}",
        "      - property: onNewColumn # hold: a new column stays hidden until named here; add: it is shown at once",
        f"        value: {contract.on_new_column}",
        *_left_out(draft.left_out),
        "    properties:",
    ]
    for column in draft.columns:
        lines += _column(column, contract.key)
    text = "\n".join(lines) + "\n" + _LATENCY.format(value=contract.latency_seconds_max)
    if parse_contract(text) != contract:
        raise FatalFault(
            "the contract that was written does not say what was meant",
            where=table,
            hint="report it with the table's definition",
        )
    return text


def _column(draft: DraftColumn, key: Sequence[str]) -> Iterator[str]:
    column, live = draft.column, draft.live
    yield f"      - name: {_scalar(column.name)}"
    if column.source_name != column.name:
        yield f"        physicalName: {_scalar(column.source_name)}"
    if live.description:
        yield f"        description: {_scalar(live.description)}"
    yield f"        logicalType: {_logical_type(column.type)}"
    if column.type.is_array:
        yield f"        items: {{ logicalType: {_logical_type(column.type.element)} }}"
    if live.is_enum:
        yield f"        # at the source the enum {shown(live.declared)}; the lake has its labels as text"
    yield f"        physicalType: {_scalar(str(column.type))}"
    if column.name in key:
        yield "        primaryKey: true"
        yield f"        primaryKeyPosition: {key.index(column.name) + 1}"
    if column.name in key or not (live.nullable or column.mask == "redact"):
        yield "        required: true"
    if draft.reason:
        yield f"        # PROPOSED: {shown(draft.reason)}. A person must confirm classification and mask."
    elif column.type.name in {"json", "jsonb", "bytea"}:
        yield "        # holds whatever the application puts into it: look for personal data"
    yield f"        classification: {column.classification}"
    yield from _custom_properties(draft)


def _custom_properties(draft: DraftColumn) -> Iterator[str]:
    column, before = draft.column, draft.live.value_before
    custom = []
    if column.mask != "clear" or column.classification in SENSITIVE:
        custom.append(f"{{ property: mask, value: {column.mask} }}")
    if column.value_before is not None and before is not None:
        custom.append(f"{{ property: {VALUE_BEFORE}, value: {_scalar(before)} }}")
    elif before is not None:
        yield "        # was added with a default that cannot be stated here; rows of before it was added have that"
    if custom:
        yield f"        customProperties: [{', '.join(custom)}]"


def _left_out(columns: Sequence[LeftOut]) -> Iterator[str]:
    if columns:
        yield "      - property: leftOut # columns that stay out of the lake; --check reports no drift for them"
        yield "        value:"
    for column in columns:
        yield f"          # {column}"
        yield f"          - {_scalar(column.live.name)}"


def _logical_type(type_: PostgresType) -> str:
    return "array" if type_.is_array else _LOGICAL_TYPES.get(type_.name, "string")


def _scalar(text: str) -> str:
    """Text as a YAML scalar on one line."""
    for style in (None, '"'):
        dumped = yaml.safe_dump(text, default_style=style, allow_unicode=True, width=sys.maxsize)
        dumped = dumped.removesuffix("\n").removesuffix("\n...")
        if "\n" not in dumped:
            return dumped
    raise AssertionError("double quotes hold any text on one line")
