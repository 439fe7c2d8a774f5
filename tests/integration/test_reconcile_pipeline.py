"""`cdc reconcile` as an operator runs it, on the whole pipeline: no false alarm under load, and each planted fault."""

from __future__ import annotations

import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from cdc_ops.cli import main
from compactor.lake.catalog import open_catalog
from compactor.lake.commit import Changes, commit
from compactor.lake.landing import CommitConflict
from compactor.lake.table import LakeTable
from sandbox import usuarios
from sandbox.pipeline import Pace, Pipeline
from sandbox.workload import Workload

pytestmark = pytest.mark.slow
ROWS = 1500


def plant() -> tuple[int, int, int]:
    """Falsify the lake's table behind the compactor's back; the keys that are then missing, differing and surplus."""
    catalog = open_catalog("lake")
    while True:
        lake = LakeTable(catalog, ("lake", "usuarios"), catalog.load_table(("lake", "usuarios")))
        file = next(file for file in lake.live_files() if file.records - len(file.deleted) >= 3)
        alive = np.delete(np.arange(file.records), file.deleted)[:2]
        rows = lake.read(file.path, lake.arrow_schema.names, alive).to_pylist()
        missing, differing = (row["id"] for row in rows)
        added = [rows[1] | {"nome": "0" * 64}, rows[1] | {"id": -4711}]
        dead = {file.path: np.union1d(file.deleted, alive).astype(np.int64)}
        try:
            commit(lake, Changes(pa.Table.from_pylist(added, lake.arrow_schema), dead))
        except CommitConflict:
            continue  # the compactor was first
        return missing, differing, -4711


def test_reconcile_on_the_running_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(*arguments: str) -> tuple[int, Any]:
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    with Pipeline(tmp_path, Pace(shards=2)) as pipeline:
        for variable in [variable for variable in os.environ if variable.startswith("CDC_")]:
            monkeypatch.delenv(variable)
        for variable, value in pipeline.environment().items():
            if variable.startswith(("CDC_", "AWS_", "PYICEBERG_")):
                monkeypatch.setenv(variable, value)
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            usuarios.create(connection, ROWS, Random(5), datetime.now(UTC))
        pipeline.start()
        pipeline.wait_until_complete(pipeline.source_clock(), 120)

        # The application goes on meanwhile.
        stop = threading.Event()
        workload = Workload(pipeline.postgres.dsn, Random(5), datetime.now(UTC), workers=2, changes_per_second=30)
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(workload.run, stop=stop)
            try:
                code, told = answer("reconcile", "usuarios", "--rows-per-second", "300")
            finally:
                stop.set()
            assert working.result().changes > 0
        (table,) = told["tables"]
        assert (code, table["differences"], table["undecided"], table["is_equal"]) == (0, {}, 0, True)
        assert table["rechecked"] > 0, "nothing changed while the source was read, so nothing was shown"
        _, status = answer("status")
        assert status["tables"][0]["last_proof_at"].startswith(table["began_at"][:19])

        # What no change ever says: the lake is falsified, and the source has a value that the lake cannot hold.
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            connection.execute('UPDATE "Usuários" SET saldo = \'NaN\' WHERE id = (SELECT max(id) FROM "Usuários")')
        pipeline.wait_until_complete(pipeline.source_clock(), 120)
        missing, differing, surplus = plant()
        keys = tmp_path / "keys.jsonl"
        code, told = answer("reconcile", "--keys-to", str(keys))
        (table,) = told["tables"]
        assert (code, table["is_equal"], table["undecided"]) == (1, False, 0)
        assert table["differences"] == {"differing": 1, "missing": 1, "not-held": 1, "surplus": 1}
        assert table["columns"] == {"nome": 1, "saldo": 1}
        lines = [json.loads(line) for line in keys.read_text().splitlines()]
        by_kind = {line["kind"]: int(line["key"][0]) for line in lines if line["kind"] != "not-held"}
        assert by_kind == {"missing": missing, "differing": differing, "surplus": surplus}
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
        code, status = answer("status")
        assert code == 1
        assert "unequal" in {problem["kind"] for problem in status["problems"]}
        assert status["tables"][0]["last_reconciled"]["differences"] == table["differences"]
        assert main(["reconcile", "--keys-to", str(keys)]) == 2
        pipeline.stop()
