"""Table contract: what a table is called, how its columns are typed, keyed, classified and masked in the lake.

A contract is a document of the Open Data Contract Standard v3.1 (bitol-io/open-data-contract-standard), one table each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from open_data_contract_standard.model import CustomProperty, OpenDataContractStandard, SchemaObject, SchemaProperty
from pydantic import BeforeValidator, ValidationError

from cdc.dms_lob import LOB_MAX_SIZE
from cdc.dms_value import normaliser
from cdc.errors import FatalFault, RecordFault
from cdc.postgres_type import PostgresType, parse_type
from cdc.producer import UNSTATED, ProducerModes, read_modes
from cdc.readers import COLUMNS_MAX, HISTORY_SUFFIX, column_name_faults, table_name_faults

MASKS = ("clear", "token", "redact", "last4")
SENSITIVE = ("restricted", "confidential")
CLASSIFICATIONS = ("public", "internal", *SENSITIVE)
VALUE_BEFORE = "valueBeforeAdded"
_SOURCE_TABLE = re.compile(r'(?P<schema>"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)\.(?P<table>"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)')


@dataclass(frozen=True, slots=True)
class ValueBefore:
    """What ADD COLUMN gave to the rows that were there, which no event ever says; in the form of our publisher's."""

    value: Any


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `name` in the lake, `source_name` in Postgres, its type, and its mask (`clear`: none).

    `former_names` are what Postgres called it before it was renamed there; events of then still say them.
    `value_before` is the value of rows from before the column was added, where that is known.
    """

    name: str
    source_name: str
    type: PostgresType
    classification: str
    mask: str
    former_names: tuple[str, ...] = ()
    value_before: ValueBefore | None = None


@dataclass(frozen=True, slots=True)
class TableContract:
    """One table: where it comes from, what it is called in the lake, its columns, its key and its promises.

    `key` holds lake column names in the order of the primary key; `latency_seconds_max` is the freshness promised;
    `producer` is what is stated of the way in which Debezium renders values. `dms_full_images` states that DMS sends
    unchanged TOASTed values too, so that its null means null; `dms_lob_max_size` is the task's LobMaxSize in KiB
    (docs/dms.md). `left_out` are columns of the source that stay out of the lake on purpose; `new_value_before` states
    what any new column is in the rows that are there.
    """

    name: str
    source_schema: str
    source_table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    on_new_column: str
    latency_seconds_max: float
    producer: ProducerModes = UNSTATED
    dms_full_images: bool = False
    dms_lob_max_size: int = LOB_MAX_SIZE
    left_out: tuple[str, ...] = ()
    new_value_before: ValueBefore | None = None

    @property
    def source_name(self) -> str:
        """The source table as an operator would write it."""
        return f'{self.source_schema}."{self.source_table}"'

    def has(self, name: str) -> bool:
        """Whether the lake has a column of that name."""
        return any(column.name == name for column in self.columns)

    @property
    def source_columns(self) -> frozenset[str]:
        """All names that the contract knows of columns at the source, former ones and those left out as well."""
        named = (name for column in self.columns for name in (column.source_name, *column.former_names))
        return frozenset((*named, *self.left_out))

    @property
    def current_names(self) -> Mapping[str, str]:
        """What each former name of a column was renamed to at the source."""
        return {former: column.source_name for column in self.columns for former in column.former_names}

    def column(self, name: str) -> Column:
        """The column of that name in the lake."""
        return next(column for column in self.columns if column.name == name)


class ContractFault(FatalFault):
    """A contract is wrong; `problems` names everything that is."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(f"{len(problems)} problem(s) in the table contracts")
        self.problems = tuple(problems)


def under_current_names(row: Mapping[str, Any], current_names: Mapping[str, str]) -> Mapping[str, Any]:
    """A row of the source in which a column that was renamed later has the name that it has now.

    A row that has both names keeps them: `faults_of_names` says so.
    """
    if current_names.keys().isdisjoint(row):
        return row
    return {
        current_names[name] if name in current_names and current_names[name] not in row else name: value
        for name, value in row.items()
    }


def faults_of_names(row: Mapping[str, Any], contract: TableContract) -> tuple[RecordFault, ...]:
    """A fault for each column that a row of the source has under its present name and a former one: one of the two is
    another column, of before or after the rename, and nothing tells which.

    Raises:
        RecordFault: when it is a column of the key.
    """
    found = tuple(
        RecordFault(
            "ambiguous-name",
            "the event has the column's present name and a former one",
            where=column.name,
            hint="merge what is older than the rename by the contract of then, and take formerNames out afterwards",
        )
        for column in contract.columns
        if column.former_names and column.source_name in row and not row.keys().isdisjoint(column.former_names)
    )
    for fault in found:
        if fault.where in contract.key:
            raise fault
    return found


def load_folder(folder: Path) -> tuple[TableContract, ...]:
    """All contracts of a folder (`*.odcs.yaml`), by lake name.

    Raises:
        ContractFault: naming every problem of every file at once.
    """
    if not folder.is_dir():
        raise ContractFault([f"no such folder: {folder}"])
    contracts: list[TableContract] = []
    problems: list[str] = []
    files = sorted(folder.glob("*.odcs.yaml"))
    if not files:
        problems.append(f"no contract (*.odcs.yaml) in {folder}")
    for file in files:
        try:
            contracts.append(parse_contract(file.read_text(encoding="utf-8")))
        except ContractFault as fault:
            problems.extend(f"{file.name}: {problem}" for problem in fault.problems)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{file.name}: cannot be read ({type(error).__name__})")
    for field in ("name", "source_name"):
        values = [getattr(contract, field) for contract in contracts]
        problems.extend(
            f"two contracts have the {field} {value}" for value in {v for v in values if values.count(v) > 1}
        )
    names = {contract.name for contract in contracts}
    problems.extend(
        f"the table {name} would be the history of another"
        for name in names
        if name.removesuffix(HISTORY_SUFFIX) in names - {name}
    )
    if problems:
        raise ContractFault(problems)
    return tuple(sorted(contracts, key=lambda contract: contract.name))


def parse_contract(text: str) -> TableContract:
    """The contract that a YAML document states.

    Raises:
        ContractFault: naming every problem at once.
    """
    try:
        document = OpenDataContractStandard.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ContractFault([f"is no YAML{f' at line {mark.line + 1}' if mark else ''}"]) from None
    except ValidationError as error:
        raise ContractFault([f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]) from None
    problems: list[str] = []
    tables = document.schema_ or []
    if len(tables) != 1:
        raise ContractFault([f"must describe exactly one table under `schema`, has {len(tables)}"])
    table = tables[0]
    contract = TableContract(
        name=_lake_name(table.physicalName or table.name, "the table", table_name_faults, problems),
        columns=tuple(_column(prop, problems) for prop in table.properties or []),
        key=_key(table, problems),
        on_new_column=_on_new_column(table, problems),
        latency_seconds_max=_latency_seconds(document, problems),
        producer=read_modes(lambda name: _custom(table.customProperties, name), problems),
        dms_full_images=_dms_full_images(table, problems),
        dms_lob_max_size=_dms_lob_max_size(table, problems),
        left_out=_names(table.customProperties, "leftOut", "the table", problems),
        new_value_before=_new_value_before(table, problems),
        **_source_table(table, problems),
    )
    if len(contract.columns) > COLUMNS_MAX:
        problems.append(
            f"has {len(contract.columns)} columns, and Redshift reads {COLUMNS_MAX} beside the service's own"
        )
    sources = [name for c in contract.columns for name in (c.source_name, *c.former_names)]
    for names in ([c.name for c in contract.columns], sources):
        problems.extend(f"column {name}: stands twice" for name in sorted({n for n in names if names.count(n) > 1}))
    if problems:
        raise ContractFault(problems)
    return contract


def _custom(properties: list[CustomProperty] | None, name: str) -> Any:
    return next((prop.value for prop in properties or [] if prop.property == name), None)


def _lake_name(name: str | None, what: str, faults: Callable[[str], tuple[str, ...]], problems: list[str]) -> str:
    problems.extend(f"{what}: the lake's name {name!r}: {fault}" for fault in faults(name or ""))
    return name or ""


def parse_source_table(text: str) -> tuple[str, str] | None:
    """Schema and table that a name like `public."Usuários"` stands for; None when it is no such name."""
    match = _SOURCE_TABLE.fullmatch(text)
    return (_unquoted(match["schema"]), _unquoted(match["table"])) if match else None


def _source_table(table: SchemaObject, problems: list[str]) -> Mapping[str, str]:
    stated = _custom(table.customProperties, "sourceTable")
    names = parse_source_table(stated if isinstance(stated, str) else "")
    if names is None:
        problems.append('custom property sourceTable must name the table in Postgres, like public."Usuários"')
        return {"source_schema": "", "source_table": ""}
    return {"source_schema": names[0], "source_table": names[1]}


def _unquoted(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def _column(prop: SchemaProperty, problems: list[str]) -> Column:
    name = _lake_name(prop.name, f"column {prop.name}", column_name_faults, problems)
    kind = parse_type(prop.physicalType or "")
    if kind is None:
        problems.append(f"column {name}: physicalType {prop.physicalType!r} is no Postgres type that the lake can hold")
        kind = PostgresType("text")
    classification = prop.classification or ""
    if classification not in CLASSIFICATIONS:
        problems.append(f"column {name}: classification must be one of {', '.join(CLASSIFICATIONS)}")
    mask = _custom(prop.customProperties, "mask")
    if mask is None and classification in SENSITIVE:
        problems.append(f"column {name}: is {classification} and needs a custom property mask ({', '.join(MASKS)})")
    if mask not in {None, *MASKS}:
        problems.append(f"column {name}: mask must be one of {', '.join(MASKS)}")
    if mask in {"token", "last4"} and not kind.is_text:
        problems.append(f"column {name}: mask {mask} is for text; a {kind} column can be redact or clear")
    if prop.primaryKey and not kind.can_be_key:
        problems.append(f"column {name}: a {kind} column cannot be a key")
    if prop.primaryKey and mask in {"redact", "last4"}:
        problems.append(f"column {name}: a key can be masked by token only, else rows become one")
    former = _names(prop.customProperties, "formerNames", f"column {name}", problems)
    before = _value_before(prop, kind, problems)
    return Column(name, prop.physicalName or name, kind, classification, mask or "clear", former, before)


def _names(properties: list[CustomProperty] | None, of: str, where: str, problems: list[str]) -> tuple[str, ...]:
    stated = _custom(properties, of) or []
    if isinstance(stated, list) and all(isinstance(item, str) and item for item in stated):
        return tuple(stated)
    problems.append(f"{where}: custom property {of} must be a list of the source's column names")
    return ()


def _new_value_before(table: SchemaObject, problems: list[str]) -> ValueBefore | None:
    stated = [custom for custom in table.customProperties or [] if custom.property == VALUE_BEFORE]
    if any(custom.value is not None for custom in stated):
        problems.append(f"{VALUE_BEFORE} of the table can only be null: that new columns come without a default")
    return ValueBefore(None) if stated else None


def _value_before(prop: SchemaProperty, type_: PostgresType, problems: list[str]) -> ValueBefore | None:
    if all(custom.property != VALUE_BEFORE for custom in prop.customProperties or []):
        return None
    try:
        return value_before(type_, _custom(prop.customProperties, VALUE_BEFORE))
    except RecordFault as fault:
        problems.append(f"column {prop.name}: {VALUE_BEFORE} is no {type_} as Postgres writes it ({fault.what})")
        return None


def value_before(type_: PostgresType, stated: Any) -> ValueBefore:
    """What a contract's `valueBeforeAdded` says: null, or a value as Postgres writes it in text.

    Raises:
        RecordFault: when it is no value of the type, or one of a type whose text is not read.
    """
    if stated is None:
        return ValueBefore(None)
    if isinstance(stated, (dict, list)):
        raise RecordFault("value-not-held", "it must be a text as Postgres writes it, not a structure")
    text = str(stated).lower() if isinstance(stated, bool) else str(stated)
    return ValueBefore(normaliser(type_)(text))


def _key(table: SchemaObject, problems: list[str]) -> tuple[str, ...]:
    keyed = [prop for prop in table.properties or [] if prop.primaryKey]
    if not keyed:
        problems.append("no column is the primaryKey; a table without one cannot be merged")
    return tuple(prop.name or "" for prop in sorted(keyed, key=lambda prop: prop.primaryKeyPosition or 0))


def _on_new_column(table: SchemaObject, problems: list[str]) -> str:
    stated = _custom(table.customProperties, "onNewColumn") or "hold"
    if stated not in {"hold", "add"}:
        problems.append("custom property onNewColumn must be hold or add")
    return str(stated)


def _dms_full_images(table: SchemaObject, problems: list[str]) -> bool:
    stated = _custom(table.customProperties, "dms.fullImages")
    if stated is not None and not isinstance(stated, bool):
        problems.append("custom property dms.fullImages must be true or false")
    return stated is True


def _dms_lob_max_size(table: SchemaObject, problems: list[str]) -> int:
    stated = _custom(table.customProperties, "dms.lobMaxSize")
    if stated is None:
        return LOB_MAX_SIZE
    if type(stated) is not int or stated <= 0:
        problems.append("custom property dms.lobMaxSize must be a number of kilobytes, as LobMaxSize of the task is")
        return LOB_MAX_SIZE
    return stated


def _latency_seconds(document: OpenDataContractStandard, problems: list[str]) -> float:
    stated = next((sla for sla in document.slaProperties or [] if sla.property == "latency"), None)
    factor = {"s": 1, "seconds": 1, "m": 60, "min": 60, "minutes": 60, "h": 3600, "hours": 3600}
    try:
        seconds = float(stated.value) * factor[stated.unit or "s"] if stated is not None and stated.value else 0.0
    except (KeyError, TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < math.inf:
        problems.append("slaProperties must promise a latency, like {property: latency, value: 60, unit: s}")
    return seconds


def _contracts(value: object) -> tuple[TableContract, ...]:
    try:
        return load_folder(Path(str(value)))
    except ContractFault as fault:
        # settings.load unfolds the tuple into one line for each problem
        raise ValueError(fault.problems) from None


ContractsSetting = Annotated[tuple[TableContract, ...], BeforeValidator(_contracts)]
