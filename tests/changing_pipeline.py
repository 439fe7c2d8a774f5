"""A pipeline whose contract changes while it runs: the founding one, copied and edited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import yaml

from cdc.contract import Column, TableContract, load_folder
from cdc.postgres_type import parse_type
from compactor.columns_seen import ColumnsSeen, parse_columns
from sandbox.compare import compare
from sandbox.pipeline import PII_KEY, Pipeline
from sandbox.process import SandboxFault, wait_until
from tests.conftest import ROOT


class ChangingPipeline(Pipeline):
    """A pipeline whose contract is a copy of the founding one, to be changed."""

    @property
    def contract(self) -> TableContract:
        (contract,) = load_folder(self.directory / "tables")
        return contract

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "CDC_TABLES": str(self.directory / "tables")}

    def state(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Write the contract changed, and start the compactor again with it."""
        file = self.directory / "tables" / "usuarios.odcs.yaml"
        document = yaml.safe_load((file if file.exists() else ROOT / "tables" / file.name).read_text(encoding="utf-8"))
        change(document["schema"][0])
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        if "compactor" in self.processes:
            self.kill("compactor")
            self.start("compactor")

    def differing(self) -> tuple[int, int]:
        """Rows of the source, and how many differ, once the lake has all and no column waits."""
        self.wait_until_complete(self.source_clock(), 120)
        self.wait_until_none_waits()
        self.wait_until_complete(self.source_clock(), 120)
        outcome = compare(self.postgres.dsn, self.lake(), self.contract, PII_KEY)
        return outcome.rows, outcome.differences

    def wait_until_none_waits(self) -> None:
        """Touch a row now and then, as an application does, until no column waits.

        What was dropped of a table is known for sure only when the slot has left it behind, and told with a change.
        """

        waiting: dict[str, str] = {}

        def none_waits() -> bool:
            waiting.clear()
            waiting.update(self.columns_seen().waiting)
            if not waiting:
                return True
            with psycopg.connect(self.postgres.dsn, autocommit=True) as source:
                source.execute('UPDATE "Usuários" SET bio = bio WHERE id = (SELECT min(id) FROM "Usuários")')
            return False

        try:
            wait_until(none_waits, 240, "no column waits", poll_seconds=1)
        except SandboxFault as fault:
            raise AssertionError(f"still waiting: {waiting}") from fault

    def columns_seen(self) -> ColumnsSeen:
        """What the lake's table says of new columns."""
        return parse_columns(self.lake().table(self.contract.name).properties)

    def wait_until_shown(self, **columns: str) -> tuple[int, int]:
        """Wait until columns that the contract does not name are shown, in these types; then compare them as well."""
        more = []
        for name, type_ in columns.items():
            kind = parse_type(type_)
            assert kind is not None
            more.append(Column(name, name, kind, "internal", "clear"))
        contract = replace(self.contract, columns=(*self.contract.columns, *more))
        self.wait_until_complete(self.source_clock(), 120)
        wait_until(lambda: self.columns_seen().added.keys() >= columns.keys(), 120, "new columns are added")
        self.wait_until_none_waits()
        self.wait_until_complete(self.source_clock(), 120)
        outcome = compare(self.postgres.dsn, self.lake(), contract, PII_KEY)
        return outcome.rows, outcome.differences
