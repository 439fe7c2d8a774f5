"""A lost slot on real servers: rows are deleted and changed unseen, and the lake still comes to equal the source."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest

from cdc_ops.cli import main
from sandbox import usuarios
from sandbox.compare import compare
from sandbox.pipeline import PII_KEY, STREAM, Pace, Pipeline

pytestmark = pytest.mark.slow


def differences(pipeline: Pipeline) -> tuple[int, int]:
    outcome = compare(pipeline.postgres.dsn, pipeline.lake(), pipeline.contract, PII_KEY)
    return outcome.rows, outcome.differences


def test_what_happened_while_the_slot_was_lost_is_in_the_lake_after_the_new_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Pipeline(tmp_path, Pace(shards=2)) as pipeline:
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as source:
            usuarios.create(source, 60, Random(5), datetime.now(UTC))
            pipeline.start()
            pipeline.wait_until_complete(pipeline.source_clock(), 120)
            source.execute('UPDATE "Usuários" SET nome = %s WHERE id %% 2 = 0', ["antes"])
            pipeline.wait_until_complete(pipeline.source_clock(), 120)
            assert differences(pipeline) == (60, 0)
            assert {row[0] for row in epochs(pipeline)} == {1}

            pipeline.kill("cdc-publisher")
            (slot,) = source.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
            source.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
            )
            drop(source, str(slot[0]))
            source.execute('DELETE FROM "Usuários" WHERE id %% 3 = 0', [])
            source.execute('UPDATE "Usuários" SET bio = %s WHERE id %% 5 = 0', ["ninguém viu"])
            pipeline.start("cdc-publisher")
            source.execute('UPDATE "Usuários" SET nome = %s WHERE id %% 7 = 0', ["durante"])
            pipeline.wait_until_complete(pipeline.source_clock(), 180)
            assert differences(pipeline) == (40, 0)
            told = set(epochs(pipeline))
            assert {(1, 6, "u"), (2, 6, "d"), (2, 5, "r")} <= told
            assert not any(epoch == 2 and key % 3 == 0 and op != "d" for epoch, key, op in told)

            # What came before must not come again as if it was newer than the snapshot: only the rest is put back.
            older, rest = (sum((epoch == 1) is is_older and op != "d" for epoch, _, op in epochs(pipeline)) for is_older in (True, False))  # fmt: skip
            for name, value in pipeline.environment().items():
                if name.startswith(("CDC_", "AWS_")):
                    monkeypatch.setenv(name, value)
            capsys.readouterr()
            now, to = datetime.now(UTC), f"kinesis://{STREAM}"
            day = f"{now - timedelta(days=1):%Y-%m-%d}..{now:%Y-%m-%d}"
            assert main(["replay", "--json", "--from", "raw", "--day", day, "--to", to]) == 1
            summary = json.loads(capsys.readouterr().out)
            assert (summary["left_out"], summary["replayed"]) == ({"older-epoch": older}, rest)
            pipeline.wait_until_complete(pipeline.source_clock(), 180)
            assert differences(pipeline) == (40, 0)
        pipeline.stop()


def drop(source: psycopg.Connection, slot: str) -> None:
    """Drop a slot, once its walsender is gone."""
    while True:
        try:
            source.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        except psycopg.errors.ObjectInUse:
            continue
        return


def epochs(pipeline: Pipeline) -> list[tuple[int, int, str]]:
    """Epoch, key and operation of everything in history."""
    rows = pipeline.lake().by_pyiceberg(f"{pipeline.contract.name}_history")
    return [(row["cdc_epoch"], row["id"], row["cdc_op"]) for row in rows]
