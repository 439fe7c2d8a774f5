"""A person is erased by the steps of docs/lgpd.md: no file of the lake knows them any more, and merging goes on."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import fastavro
import pyarrow.parquet as pq
import pytest

from sandbox.aws import LAKE_BUCKET, Aws
from tests.compactor_world import World, change, put
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
CODE = re.compile(r"^   ```python\n(.*?)^   ```", re.MULTILINE | re.DOTALL)
SECRET = "Leonor que pediu para sair"


def steps(world: World) -> list[str]:
    """The code of the document, for this table."""
    name = world.contract.name
    texts = CODE.findall((ROOT / "docs" / "lgpd.md").read_text(encoding="utf-8"))
    found = [re.sub(r"^   ", "", text, flags=re.MULTILINE).replace('"usuarios', f'"{name}') for text in texts]
    assert len(found) == 1
    return found


def run(world: World, code: str) -> str:
    """Run code as an operator would, in a process with the compactor's settings."""
    environment = {**os.environ, **world.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
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


def test_the_documented_steps_leave_no_trace_in_the_lake(aws: Aws, world: World) -> None:
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

    (erase,) = steps(world)
    assert run(world, erase) == "5 rows erased\n"
    world.restart()
    world.merge()
    put(shard, world.contract, change("u", 12, 2, "b2", "z"))
    world.merge()
    world.maintain(datetime.now(UTC) + timedelta(days=4, minutes=1))

    assert world.rows() == {1: ("a2", "y", 9), 2: ("b2", "z", 12)}
    assert [row[:3] for row in world.history()] == [(6, "c", 1), (7, "c", 2), (9, "u", 1), (12, "u", 2)]
    assert not [text for text in told(aws, world) if SECRET in text or "Leonor" in text]
