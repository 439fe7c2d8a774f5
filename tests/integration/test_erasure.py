"""A person is erased by the steps of docs/lgpd.md: no file of the lake knows them any more, and merging goes on."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fastavro
import pyarrow.parquet as pq
import pytest

from cdc_ops.cli import main
from compactor.lake.commit import Changes, Committed, commit
from compactor.lake.table import LakeTable
from sandbox.aws import LAKE_BUCKET, Aws
from tests.compactor_world import CONTRACT, World, change, put, raising
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
CODE = re.compile(r"^   ```sh\n(.*?)^   ```", re.MULTILINE | re.DOTALL)
SECRET = "Leonor que pediu para sair"


def steps(world: World) -> list[list[str]]:
    """The commands of the document, for this table."""
    (text,) = CODE.findall((ROOT / "docs" / "lgpd.md").read_text(encoding="utf-8"))
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [[world.contract.name if word == "usuarios" else word for word in line] for line in lines]


def run(world: World, folder: Path, command: list[str]) -> str:
    """Run a command as an operator would, in a process with the compactor's settings."""
    assert command[0] == "cdc"
    (folder / f"{world.contract.name}.odcs.yaml").write_text(CONTRACT.format(name=world.contract.name), "utf-8")
    told = {"PYTHONPATH": f"{ROOT}:{ROOT / 'services'}", "CDC_TABLES": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "cdc_ops.cli", *command[1:]],
        env={**os.environ, **world.environment, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(aws: Aws, world: World) -> Iterator[str]:
    """What every file below the table and its history says, read as what it is."""
    s3 = aws.client("s3")
    for place in (world.pair().table, world.pair().history):
        prefix = place.table.location().removeprefix(f"s3://{LAKE_BUCKET}/") + "/"
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=LAKE_BUCKET, Prefix=prefix):
            for one in page.get("Contents", ()):
                body = s3.get_object(Bucket=LAKE_BUCKET, Key=one["Key"])["Body"].read()
                if one["Key"].endswith(".parquet"):
                    yield str(pq.read_table(io.BytesIO(body)).to_pylist())
                elif one["Key"].endswith(".avro"):
                    yield str(list(fastavro.reader(io.BytesIO(body))))
                else:
                    yield body.decode()


def test_the_documented_steps_leave_no_trace_in_the_lake(aws: Aws, world: World, tmp_path: Path) -> None:
    shard = world.shard()
    put(
        shard, world.contract, change("c", 5, 42, SECRET, "x"), change("c", 6, 1, "a", "y"), change("c", 7, 2, "b", "z")
    )
    world.merge()
    put(shard, world.contract, change("u", 8, 42, SECRET, "w"), change("u", 9, 1, "a2", "y"))
    world.merge()
    put(shard, world.contract, change("d", 10, 42))
    world.merge()
    assert 42 not in world.rows()
    assert any(SECRET in text for text in told(aws, world))

    look, erase = steps(world)
    before = sorted(told(aws, world))
    found = run(world, tmp_path, look)
    assert re.search(r": 5 rows in \d files, and \d files of older snapshots, know this key; the row is gone;", found)
    assert sorted(told(aws, world)) == before, "a look changes nothing"
    assert f"{world.contract.name}: 5 rows erased" in run(world, tmp_path, erase)
    assert '"rows":0,"files":0,"is_alive":false,"older_files":0' in run(world, tmp_path, [*look, "--json"])
    world.restart()
    world.merge()
    put(shard, world.contract, change("u", 12, 2, "b2", "z"))
    world.merge()
    world.maintain(datetime.now(UTC) + timedelta(days=4, minutes=1))

    assert world.rows() == {1: ("a2", "y", 9), 2: ("b2", "z", 12)}
    assert [row[:3] for row in world.history()] == [(6, "c", 1), (7, "c", 2), (9, "u", 1), (12, "u", 2)]
    assert not [text for text in told(aws, world) if SECRET in text or "Leonor" in text]


def snapshots(world: World) -> list[int]:
    """The snapshots that the table and its history remember."""
    return [
        one.snapshot_id
        for place in (world.pair().table, world.pair().history)
        for one in place.table.metadata.snapshots
    ]


def write_and_delete(world: World) -> None:
    """A person who comes and goes, beside one who stays."""
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 42, SECRET, "x"), change("c", 6, 1, "a", "y"))
    world.merge()
    put(shard, world.contract, change("d", 7, 42))
    world.merge()


def refused(table: str, folder: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> int:
    """The exit code of `cdc erase --yes` of a key, in this process."""
    (folder / f"{table}.odcs.yaml").write_text(CONTRACT.format(name=table), "utf-8")
    monkeypatch.setenv("CDC_TABLES", str(folder))
    return main(["erase", table, "--key", f"id={key}", "--yes"])


def test_what_is_no_value_of_the_key_is_refused_and_not_repeated(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(world.shard(), world.contract, change("c", 5, 42, "a", "x"))
    world.merge()
    assert refused(world.contract.name, tmp_path, monkeypatch, "forty-two") == 2
    told = capsys.readouterr().err
    assert "key: id: is no value of the column's type" in told
    assert "forty-two" not in told
    assert world.rows() == {42: ("a", "x", 5)}


def test_a_living_person_is_not_erased(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(world.shard(), world.contract, change("c", 5, 42, "a", "x"))
    world.merge()
    look, _ = steps(world)
    assert "the row is alive; nothing was erased: delete it at the source first" in run(world, tmp_path, look)
    assert '"is_alive":true' in run(world, tmp_path, [*look, "--json"])
    before = snapshots(world)
    assert refused(world.contract.name, tmp_path, monkeypatch, "42") == 1
    assert "the row is alive" in capsys.readouterr().err
    assert snapshots(world) == before
    assert world.rows() == {42: ("a", "x", 5)}


def test_a_key_that_nobody_has_changes_nothing_and_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_and_delete(world)
    before = snapshots(world)
    assert refused(world.contract.name, tmp_path, monkeypatch, "4242") == 1
    assert "nobody has this key" in capsys.readouterr().err
    assert snapshots(world) == before


def test_an_erasure_that_was_cut_off_is_told_and_finished(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_and_delete(world)
    with monkeypatch.context() as cut:
        cut.setattr("compactor.lake.erase.expire", raising(OSError("the line is dead")))
        assert refused(world.contract.name, tmp_path, cut, "42") == 1
    assert "what was erased until then stays erased (lake." in (told := capsys.readouterr().err)
    assert "run this again" in told
    look, erase = steps(world)
    found = run(world, tmp_path, look)
    assert re.search(
        r": 0 rows, but \d files of older snapshots know this key; not finished: run again with --yes", found
    )
    run(world, tmp_path, erase)
    assert "nobody has this key" in run(world, tmp_path, look)
    assert len(snapshots(world)) == 2


def test_a_compactor_that_was_not_stopped_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_and_delete(world)
    once = iter([True])

    def commit_behind_another(lake: LakeTable, changes: Changes) -> Committed:
        committed = commit(lake, changes)
        if next(once, False):
            for another in (world.pair().table, world.pair().history):
                commit(another, Changes(None))
        return committed

    monkeypatch.setattr("compactor.lake.erase.commit", commit_behind_another)
    assert refused(world.contract.name, tmp_path, monkeypatch, "42") == 1
    told = capsys.readouterr().err
    assert "another writer committed meanwhile; what was erased until then stays erased" in told
    assert "stop the compactor, and run this again" in told


@pytest.mark.usefixtures("aws_environment")
def test_a_table_that_is_not_made_yet_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused("nowhere", tmp_path, monkeypatch, "42") == 1
    assert "the table is not in the catalog" in capsys.readouterr().err
