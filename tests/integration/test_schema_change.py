"""The source's columns change under the whole pipeline, on a real Postgres with our own publisher."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
import yaml

from cdc.contract import TableContract, load_folder
from sandbox import usuarios
from sandbox.compare import compare
from sandbox.pipeline import PII_KEY, Pace, Pipeline
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


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
        self.wait_until_complete(self.source_clock(), 120)
        outcome = compare(self.postgres.dsn, self.lake(), self.contract, PII_KEY)
        return outcome.rows, outcome.differences


def column(table: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(prop for prop in table["properties"] if prop["name"] == name)
    return found


def add_apelido(table: dict[str, Any]) -> None:
    before = {"property": "valueBeforeAdded", "value": "sem"}
    new = {"name": "apelido", "physicalType": "text", "classification": "internal", "customProperties": [before]}
    table["properties"].append(new)


def rename_widen_and_drop(table: dict[str, Any]) -> None:
    column(table, "apelido")["physicalName"] = "alcunha"
    column(table, "apelido")["customProperties"].append({"property": "formerNames", "value": ["apelido"]})
    column(table, "saldo")["physicalType"] = "numeric(14,2)"
    table["properties"].remove(column(table, "tags"))


def test_columns_are_added_renamed_widened_and_dropped_and_the_lake_equals_the_source(tmp_path: Path) -> None:
    with ChangingPipeline(tmp_path, Pace(shards=2)) as pipeline:
        pipeline.state(lambda _table: None)
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as source:
            usuarios.create(source, 30, Random(5), datetime.now(UTC))
            pipeline.start()
            assert pipeline.differing() == (30, 0)

            source.execute("""ALTER TABLE "Usuários" ADD COLUMN apelido text DEFAULT 'sem'""")
            source.execute("""UPDATE "Usuários" SET apelido = repeat('longo ', 3000) WHERE id % 3 = 0""")
            source.execute("""UPDATE "Usuários" SET nome = 'outro' WHERE id % 6 = 0""")
            source.execute("""INSERT INTO "Usuários" (id, nome) VALUES (9001, 'novo')""")
            assert pipeline.differing() == (31, 0)  # held: the contract does not name it
            pipeline.state(add_apelido)
            assert pipeline.differing() == (31, 0)

            source.execute("""ALTER TABLE "Usuários" RENAME COLUMN apelido TO alcunha""")
            source.execute("""ALTER TABLE "Usuários" ALTER COLUMN saldo TYPE numeric(14,2)""")
            pipeline.state(rename_widen_and_drop)
            source.execute("""ALTER TABLE "Usuários" DROP COLUMN tags""")
            source.execute("""UPDATE "Usuários" SET alcunha = 'x', saldo = 123456789012.34 WHERE id % 4 = 0""")
            source.execute("""UPDATE "Usuários" SET nome = 'de novo' WHERE id % 5 = 0""")
            assert pipeline.differing() == (31, 0)
        pipeline.stop()
