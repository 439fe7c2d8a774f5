"""The source's columns change under the whole pipeline, on a real Postgres with our own publisher."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from compactor.counts import parse_counts
from sandbox import usuarios
from sandbox.pipeline import Pace
from tests.changing_pipeline import ChangingPipeline

pytestmark = pytest.mark.slow


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


def add_all(table: dict[str, Any]) -> None:
    table["customProperties"] = [one for one in table["customProperties"] if one["property"] != "onNewColumn"]
    table["customProperties"].append({"property": "onNewColumn", "value": "add"})


def test_added_columns_are_shown_in_their_types_with_their_defaults_in_rows_that_nobody_touched(tmp_path: Path) -> None:
    with ChangingPipeline(tmp_path, Pace(shards=2)) as pipeline:
        pipeline.state(add_all)
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as source:
            usuarios.create(source, 30, Random(5), datetime.now(UTC))
            pipeline.start()
            assert pipeline.differing() == (30, 0)
            source.execute("""
                ALTER TABLE "Usuários" ADD nota integer DEFAULT 7, ADD preco numeric(12,2) DEFAULT 1.50,
                ADD desde timestamptz DEFAULT now(), ADD apelido text, ADD dia date DEFAULT '0044-03-15',
                ADD marcas text[] DEFAULT '{a,"b,c"}', ADD certo boolean DEFAULT false
            """)
            source.execute("""UPDATE "Usuários" SET apelido = 'novo', nota = NULL, dia = NULL WHERE id % 10 = 0""")
            types = {
                "nota": "integer", "preco": "numeric(12,2)", "desde": "timestamptz", "apelido": "text", "dia": "date",
                "marcas": "text[]", "certo": "boolean",
            }  # fmt: skip
            assert pipeline.wait_until_shown(**types) == (30, 0)
            source.execute("""INSERT INTO "Usuários" (id, marcas) VALUES (9001, NULL)""")
            source.execute("""UPDATE "Usuários" SET nome = 'outro' WHERE id % 3 = 0""")
            assert pipeline.wait_until_shown(**types) == (31, 0)
            # Added anew under its name, with no change between: it is another column now.
            source.execute("""ALTER TABLE "Usuários" DROP nota""")
            source.execute("""ALTER TABLE "Usuários" ADD nota text DEFAULT 'sete'""")
            source.execute("""UPDATE "Usuários" SET nota = 'oito' WHERE id % 10 = 0""")
            source.execute("""UPDATE "Usuários" SET nome = 'outro' WHERE id % 3 = 0 OR id = 9001""")
            assert pipeline.wait_until_shown(**{**types, "nota": "text"}) == (31, 0)
        pipeline.stop()


def test_a_held_column_that_was_dropped_and_added_again_is_filled_with_what_it_is_now(tmp_path: Path) -> None:
    with ChangingPipeline(tmp_path, Pace(shards=2)) as pipeline:
        pipeline.state(lambda _table: None)
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as source:
            usuarios.create(source, 30, Random(5), datetime.now(UTC))
            pipeline.start()
            assert pipeline.differing() == (30, 0)
            source.execute("""ALTER TABLE "Usuários" ADD fase integer DEFAULT 1""")
            source.execute("""UPDATE "Usuários" SET fase = 11 WHERE id % 2 = 0""")
            assert pipeline.differing() == (30, 0)
            source.execute("""ALTER TABLE "Usuários" DROP fase""")
            source.execute("""UPDATE "Usuários" SET nome = 'sem fase' WHERE id % 5 = 0""")
            source.execute("""ALTER TABLE "Usuários" ADD fase integer DEFAULT 2""")
            source.execute("""UPDATE "Usuários" SET fase = 22 WHERE id % 3 = 0""")
            assert pipeline.differing() == (30, 0)
            pipeline.state(lambda table: table["properties"].append(FASE))
            assert pipeline.differing() == (30, 0)
        pipeline.stop()


FASE = {"name": "fase", "physicalType": "integer", "classification": "internal"}


def scale_and_kind(table: dict[str, Any]) -> None:
    """What another scale or kind asks for: another name in the lake."""
    column(table, "saldo").update(name="saldo_4", physicalName="saldo", physicalType="numeric(18,4)")
    column(table, "ativo").update(name="ativo_desde", physicalName="ativo", physicalType="integer")


def test_narrowing_needs_no_change_and_another_scale_or_kind_another_name(tmp_path: Path) -> None:
    with ChangingPipeline(tmp_path, Pace(shards=2)) as pipeline:
        pipeline.state(lambda _table: None)
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as source:
            usuarios.create(source, 30, Random(5), datetime.now(UTC))
            pipeline.start()
            assert pipeline.differing() == (30, 0)
            source.execute("""ALTER TABLE "Usuários" ALTER saldo TYPE numeric(10,2), ALTER telefone TYPE varchar(60)""")
            source.execute("""UPDATE "Usuários" SET saldo = 12345678.90 WHERE id % 4 = 0""")
            assert pipeline.differing() == (30, 0)

            source.execute("""
                ALTER TABLE "Usuários" ALTER saldo TYPE numeric(18,4), ALTER ativo TYPE integer USING ativo::integer
            """)
            source.execute("""UPDATE "Usuários" SET saldo = 12345678901234.5678 WHERE id % 7 = 0""")
            rows, differing = pipeline.differing()
            assert rows == 30
            assert differing  # what no longer fits is not merged, and counted by column
            counts = parse_counts(pipeline.lake().table("usuarios").properties)
            assert counts.values["saldo"] == {"value-not-held": 4}
            pipeline.state(scale_and_kind)
            # Nothing is filled across a change that was set aside: a long text must be sent again.
            source.execute("""UPDATE "Usuários" SET ativo = 2, bio = 'nova'""")
            assert pipeline.differing() == (30, 0)
        pipeline.stop()
