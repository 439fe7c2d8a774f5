"""What `make up` and `make prove` do to the containers, done to the same programs as processes; the containers' setup."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
import pytest

from sandbox import containers, usuarios
from sandbox.aws import Aws
from sandbox.pipeline import ROOT, Pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("pipeline")) as pipeline:
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            usuarios.create(connection, 100, Random(1), datetime.now(UTC))
        pipeline.start()
        yield pipeline


def rows(pipeline: Pipeline) -> int:
    with psycopg.connect(pipeline.postgres.dsn) as connection:
        ((count,),) = connection.execute('SELECT count(*) FROM "Usuários"').fetchall()
    assert isinstance(count, int)
    return count


def test_waiting_ends_when_the_lake_shows_a_change_that_was_made_then(pipeline: Pipeline) -> None:
    before = rows(pipeline)
    told = containers.wait(pipeline.postgres.dsn, pipeline.lake(), pipeline.contract, Random(2))
    assert "was in the lake after" in told
    assert rows(pipeline) == before + 1
    assert len(pipeline.lake().by_duckdb(pipeline.contract.name)) == before + 1


def test_the_proof_compares_every_row_with_the_source(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    found = containers.prove(pipeline.postgres.dsn, pipeline.lake(), pipeline.contract, 2, Random(3))
    assert found == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"lake equals source: {rows(pipeline)} rows, 0 differences"


def test_the_proof_tells_a_row_that_differs(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "PII_KEY", "another key than the compactor masks with, long enough")
    assert containers.prove(pipeline.postgres.dsn, pipeline.lake(), pipeline.contract, 1, Random(4)) > 0
    assert "column email" in capsys.readouterr().out


def test_the_setup_makes_bucket_and_stream_and_may_be_repeated(
    aws: Aws, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"STREAM": "setup-stream", "BUCKET": "setup-bucket", "SHARDS": "3"}.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        runpy.run_path(str(Path(ROOT) / "infra" / "docker" / "aws" / "setup.py"), run_name="__main__")
    assert len(aws.client("kinesis").list_shards(StreamName="setup-stream")["Shards"]) == 3
    aws.client("s3").head_bucket(Bucket="setup-bucket")
