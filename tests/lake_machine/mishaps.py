"""Mishaps: what goes wrong in a step of the machine, once, at the next opportunity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from compactor import compactor as compactor_module
from compactor.lake.pair import TablePair

if TYPE_CHECKING:
    from tests.lake_machine.machine import LakeMachine

MISHAPS = (
    "crash before history", "crash between the tables", "crash after the table", "crash at the quarantine", "landed, no answer",
    "not landed, no answer", "landed late", "foreign commit at the commit", "another compactor at the commit",
    "another compactor between the tables",
)  # fmt: skip


def plan(machine: LakeMachine, mishap: str, patches: pytest.MonkeyPatch) -> None:
    """Have something go wrong at the next opportunity, once."""
    commit_table = TablePair.commit_table

    def instead(owner: Any, name: str, act: Callable[..., Any]) -> None:
        real = getattr(owner, name)

        def once(*arguments: Any, **named: Any) -> Any:
            patches.undo()
            machine.done[mishap] += 1
            return act(lambda: real(*arguments, **named))

        patches.setattr(owner, name, once)

    def crash(_real: Callable[[], Any]) -> None:
        raise KeyboardInterrupt

    def crash_after(real: Callable[[], Any]) -> None:
        real()
        raise KeyboardInterrupt

    def lost(real: Callable[[], Any]) -> None:
        real()
        raise ConnectionError

    def not_landed(_real: Callable[[], Any]) -> None:
        raise ConnectionError

    def late(real: Callable[[], Any]) -> None:
        instead(type(machine.catalog), "commit_table", lambda second: (real(), second())[1])
        raise ConnectionError

    def foreign(real: Callable[[], Any]) -> Any:
        table = machine.pair().table.table
        table.append(table.schema().as_arrow().empty_table())
        return real()

    def rival(real: Callable[[], Any]) -> Any:
        machine.rival_step()
        return real()

    acts: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "crash before history": (TablePair, "commit_history", crash),
        "crash between the tables": (TablePair, "commit_table", crash),
        "crash after the table": (TablePair, "commit_table", crash_after),
        "crash at the quarantine": (compactor_module, "quarantine", crash),
        "crash in maintenance": (type(machine.catalog), "commit_table", crash_after),
        "landed, no answer": (type(machine.catalog), "commit_table", lost),
        "not landed, no answer": (type(machine.catalog), "commit_table", not_landed),
        "landed late": (type(machine.catalog), "commit_table", late),
        "foreign commit at the commit": (TablePair, "commit_table", foreign),
        "another compactor at the commit": (TablePair, "commit_history", rival),
        "another compactor between the tables": (TablePair, "commit_table", rival),
    }
    assert commit_table is TablePair.commit_table
    instead(*acts[mishap])


def commit_as_another_engine(pair: TablePair, what: str) -> bool:
    """Commit something that changes no row; False where there is nothing yet that it could be done to."""
    table = pair.history.table if "history" in what else pair.table.table
    if what == "property":
        with table.transaction() as change:
            change.set_properties({"somebody": "else"})
    elif table.current_snapshot() is None or (what == "rewrite" and not table.scan().count()):
        return False
    elif what == "rewrite":
        table.overwrite(table.scan().to_arrow())
    else:
        table.append(table.schema().as_arrow().empty_table())
    return True
