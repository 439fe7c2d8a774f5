"""`cdc replay` as an operator runs it, with a real source, the programs as processes, and every row compared."""

from __future__ import annotations

import gzip
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from cdc_ops.cli import main
from sandbox import usuarios
from sandbox.aws import LAKE_BUCKET
from sandbox.compare import compare
from sandbox.pipeline import PII_KEY, STREAM, Pace, Pipeline

pytestmark = pytest.mark.slow
TO = ("--to", f"kinesis://{STREAM}")
PATIENCE_SECONDS = 180


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A running pipeline with forty rows, whose settings are those of the test itself as well."""
    with Pipeline(tmp_path, Pace(shards=2)) as running:
        for name in [name for name in os.environ if name.startswith("CDC_")]:
            monkeypatch.delenv(name)
        for name, value in running.environment().items():
            if name.startswith(("CDC_", "AWS_", "PYICEBERG_")):
                monkeypatch.setenv(name, value)
        with psycopg.connect(running.postgres.dsn, autocommit=True) as source:
            usuarios.create(source, 40, Random(3), datetime.now(UTC))
            running.start()
            running.wait_until_complete(running.source_clock(), PATIENCE_SECONDS)
        yield running


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; returns its exit code and its summary."""

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main(["replay", "--json", *words])
        told = capsys.readouterr()
        return code, json.loads(told.out) if told.out else {"err": told.err}

    return run


def differences(pipeline: Pipeline) -> int:
    return compare(pipeline.postgres.dsn, pipeline.lake(), pipeline.contract, PII_KEY).differences


def settle(pipeline: Pipeline) -> None:
    """Wait until what is on the stream now is in the lake: a later heartbeat lies behind it in every shard."""
    pipeline.wait_until_complete(pipeline.source_clock(), PATIENCE_SECONDS)


def history(pipeline: Pipeline, *columns: str) -> list[tuple[Any, ...]]:
    table = pipeline.lake().table(f"{pipeline.contract.name}_history")
    assert table is not None
    rows = table.scan(selected_fields=columns).to_arrow().to_pylist()
    return sorted(tuple(str(row[name]) for name in columns) for row in rows)


def merged(pipeline: Pipeline) -> dict[str, int]:
    """What the compactor says that it has merged up to now."""
    log = (pipeline.directory / "compactor.log").read_text().splitlines()
    lines = [line for line in map(json.loads, log) if line.get("event") == "merged"]
    return {name: sum(line[name] for line in lines) for name in ("changes", "duplicates", "healed")}


def objects(pipeline: Pipeline, prefix: str) -> list[str]:
    found = pipeline.aws.client("s3").list_objects_v2(Bucket=LAKE_BUCKET, Prefix=f"quarantine/{prefix}")
    return [entry["Key"] for entry in found.get("Contents", ())]


def test_what_was_set_aside_comes_back_mended_and_what_followed_it_too(
    pipeline: Pipeline, replay: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as source:
        key = source.execute('SELECT min(id) FROM "Usuários"').fetchone()
        long = Random(4).randbytes(6000).hex()  # too long for its row, so that later updates leave it out
        source.execute("UPDATE \"Usuários\" SET saldo = 'NaN', bio = %s WHERE id = %s", (long, *(key or ())))
        source.execute('UPDATE "Usuários" SET saldo = 5 WHERE id = %s', key)
        source.execute("UPDATE \"Usuários\" SET nome = 'depois' WHERE id = %s", key)
        settle(pipeline)
    assert differences(pipeline) == 1
    code, told = replay("--from", "quarantine", "--dry-run")
    assert (code, told["by_reason"], told["replayed"]) == (0, {"unresolved": 2, "value-not-held": 1}, 0)
    assert told["by_table"] == {"usuarios": 3}

    # What was unresolved cannot come in before that which it waits for.
    assert replay("--from", "quarantine", "--reason", "unresolved", *TO)[0] == 0
    settle(pipeline)
    assert differences(pipeline) == 1

    # The record is mended in a file: there is no decimal for NaN, and the next change has another value anyway.
    kept, mended = tmp_path / "kept.jsonl", tmp_path / "mended.jsonl.gz"
    assert replay("--from", "quarantine", "--reason", "value-not-held", "--to", str(kept))[0] == 0
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    mended.write_bytes(gzip.compress(kept.read_bytes().replace(b'"NAN"', b"null")))
    assert replay("--from", str(mended), *TO)[1]["replayed"] == 1
    settle(pipeline)
    assert differences(pipeline) == 1
    code, told = replay("--from", "quarantine", "--reason", "unresolved", *TO, "--resolve")
    assert (code, told["replayed"], told["moved_objects"]) == (0, 2, told["objects"])
    settle(pipeline)
    assert differences(pipeline) == 0
    assert merged(pipeline)["healed"] == 3

    # History has each change once, and of those that were set aside the mark as well.
    ops = [row for row in history(pipeline, "id", "cdc_lsn", "cdc_op") if row[0] == str(key[0] if key else 0)]
    assert sorted(op for _, _, op in ops) == ["q", "q", "q", "r", "u", "u", "u"]
    assert objects(pipeline, "unresolved/") == []
    assert len(objects(pipeline, "_replayed/unresolved/")) == told["objects"]
    assert objects(pipeline, "value-not-held/")
    # What was resolved comes back only when it is asked for.
    assert replay("--from", "quarantine", "--dry-run")[1]["by_reason"] == {"value-not-held": 1}
    assert replay("--from", "quarantine", "--path", "_replayed/", "--dry-run")[1]["by_reason"] == {"unresolved": 2}
    capsys.readouterr()
    assert main(["replay", "--from", "quarantine", "--dry-run"]) == 0
    assert not any(value in capsys.readouterr().err for value in ("depois", long[:20], "NAN"))


def test_a_day_of_raw_on_the_stream_again_changes_nothing(pipeline: Pipeline, replay: Any, tmp_path: Path) -> None:
    with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as source:
        source.execute("UPDATE \"Usuários\" SET nome = nome || '!' WHERE id % 2 = 0")
        source.execute('DELETE FROM "Usuários" WHERE id % 7 = 3')
        settle(pipeline)
    now = datetime.now(UTC)
    day = f"{now - timedelta(days=1):%Y-%m-%d}..{now + timedelta(days=1):%Y-%m-%d}"
    before, told_before = history(pipeline, "id", "cdc_lsn", "cdc_op", "bio"), merged(pipeline)
    assert differences(pipeline) == 0

    recorded = tmp_path / "day.jsonl.gz"
    code, told = replay("--from", "raw", "--day", day, "--to", str(recorded))
    assert (code, told["replayed"]) == (0, len(before))
    assert told["by_table"] == {"usuarios": len(before)}
    assert len(gzip.decompress(recorded.read_bytes()).splitlines()) == len(before)
    stop = ("--resume", str(tmp_path / "stop.json"))
    code, told = replay("--from", "raw", "--day", day, "--table", "usuarios", *TO, "--records-per-second", "0", *stop)
    assert (code, told["replayed"], told["is_whole"]) == (0, len(before), True)
    # The same again finds only what the first run itself has brought into raw, the day being today.
    code, told = replay("--from", "raw", "--day", day, "--table", "usuarios", *TO, "--records-per-second", "0", *stop)
    assert (code, told["skipped"]) == (0, len(before))
    assert told["replayed"] <= len(before)
    # The recorded day once more, as it had arrived but faster.
    assert replay("--from", str(recorded), *TO, "--speed", "100")[1]["replayed"] == len(before)
    settle(pipeline)
    after = merged(pipeline)
    assert after["duplicates"] - told_before["duplicates"] == 2 * len(before) + told["replayed"]
    assert (after["changes"], after["healed"]) == (told_before["changes"], 0)
    assert history(pipeline, "id", "cdc_lsn", "cdc_op", "bio") == before
    assert differences(pipeline) == 0
    assert not objects(pipeline, "")


def test_a_stream_that_is_not_there_is_named_and_nothing_is_moved(
    pipeline: Pipeline, replay: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.aws.client("kinesis").put_record(StreamName=STREAM, Data=b"{no json", PartitionKey="1")
    settle(pipeline)
    code, told = replay("--from", "quarantine", "--to", "kinesis://elsewhere", "--resolve")
    assert code == 1
    assert "elsewhere" in told["err"]
    assert len(objects(pipeline, "not-json/")) == 1
    # What cannot be read comes back as it was, and goes where it was.
    code, told = replay("--from", "quarantine", *TO, "--resolve")
    assert (code, told["by_reason"], told["by_table"]) == (0, {"not-json": 1}, {"unknown": 1})
    settle(pipeline)
    assert len(objects(pipeline, "not-json/")) == 1
    assert len(objects(pipeline, "_replayed/not-json/")) == 1
