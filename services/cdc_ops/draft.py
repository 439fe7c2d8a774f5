"""Draft: a new contract for a live table, with lake names, proposed masks, and the columns that must stay out."""

from __future__ import annotations

from dataclasses import dataclass

from cdc.contract import Column, TableContract, ValueBefore, value_before
from cdc.errors import FatalFault, RecordFault
from cdc.lake_name import lake_names, lake_table_name, shown
from cdc_ops.live_table import Identity, LiveColumn, LiveTable
from cdc_ops.personal import propose


class UnfitTable(FatalFault):
    """A table cannot have a contract; `problems` names everything that must change first."""

    def __init__(self, problems: list[str], where: str) -> None:
        super().__init__(f"{len(problems)} problem(s) keep the table from having a contract", where=where)
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class DraftColumn:
    """A column of the contract beside what the source says of it; `reason` says why a mask was proposed."""

    column: Column
    live: LiveColumn
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that the contract cannot have: `why`, and what to `do` if it is wanted."""

    live: LiveColumn
    why: str
    do: str

    def __str__(self) -> str:
        return f"column {shown(self.live.name)} ({shown(self.live.declared)}): {self.why}; {self.do}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A contract as it is proposed, and what its text tells beside it; `caution` is what must change at the source."""

    contract: TableContract
    columns: tuple[DraftColumn, ...]
    left_out: tuple[LeftOut, ...]
    description: str
    caution: str = ""


def draft(live: LiveTable, name: str | None, latency_seconds: float) -> Draft:
    """A contract for the table; `name` is its name in the lake, by default made from the source's.

    Raises:
        UnfitTable: naming everything that keeps the table from having one.
    """
    left_out = tuple(out for column in live.columns if (out := _left_out(column)) is not None)
    if problems := _key_problems(live, left_out):
        raise UnfitTable(problems, live.source_name)
    names = dict(zip([c.name for c in live.columns], lake_names([c.name for c in live.columns]), strict=True))
    columns = tuple(
        _column(column, names[column.name], is_key=column.name in live.key)
        for column in live.columns
        if column.name not in {out.live.name for out in left_out}
    )
    contract = TableContract(
        name=name or lake_table_name(live.name),
        source_schema=live.schema,
        source_table=live.name,
        columns=tuple(column.column for column in columns),
        key=tuple(names[column] for column in live.key),
        on_new_column="hold",
        latency_seconds_max=latency_seconds,
        left_out=tuple(out.live.name for out in left_out),
    )
    return Draft(contract, columns, left_out, live.description, _caution(live))


def _caution(live: LiveTable) -> str:
    if live.identity is not Identity.NOTHING:
        return ""
    return (
        "the log does not tell which row is updated or deleted: ALTER TABLE "
        f"{live.source_name} REPLICA IDENTITY DEFAULT, or FULL if the primary key is deferrable"
    )


def stated_before(live: LiveColumn) -> ValueBefore | None:
    """What rows from before the column was added have; None where the catalogs do not say, or it cannot be stated."""
    if live.type is None or live.value_before is None:
        return None
    try:
        return value_before(live.type, live.value_before)
    except RecordFault:
        return None


def _left_out(column: LiveColumn) -> LeftOut | None:
    if column.generated:
        return LeftOut(column, "is generated, so the log does not carry it", "compute it in the queries that want it")
    if column.type is not None:
        return None
    if "numeric" in column.declared:
        do = "to have it, give it a precision of at most 38 at the source, like numeric(38,10)"
    else:
        do = "to have it, give it another type at the source, such as text"
    return LeftOut(column, "the lake cannot hold its type exactly", do)


def _key_problems(live: LiveTable, left_out: tuple[LeftOut, ...]) -> list[str]:
    if not live.key:
        return ["it has no primary key, without which its changes cannot be told apart; add one at the source"]
    unfit = [
        f"column {shown(column.name)} ({shown(column.declared)}): is in the primary key, but its type is no key"
        for column in live.columns
        if column.name in live.key and column.type is not None and not column.type.can_be_key
    ]
    return unfit + [f"{out} - and the primary key needs it" for out in left_out if out.live.name in live.key]


def _column(live: LiveColumn, name: str, *, is_key: bool) -> DraftColumn:
    assert live.type is not None
    proposal = propose(live.name, live.type, is_key=is_key)
    before = stated_before(live)
    column = Column(name, live.name, live.type, proposal.classification, proposal.mask, value_before=before)
    return DraftColumn(column, live, proposal.reason)
