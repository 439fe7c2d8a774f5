"""`cdc replay` onto Kafka: what the consumer reads there is what was kept, each key's records in their order."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc import aws as clients
from cdc.objects import S3Objects
from cdc.settings import S3Location
from cdc_ops.cli import main
from sandbox.aws import Aws
from sandbox.kafka import Kafka
from tests.kafka_scene import PARTITIONS, ROOT, KafkaScene
from tests.raw_reader import read_raw
from tests.raw_zone import START, ShardWriter, event

pytestmark = pytest.mark.slow
KEYS = 20


@pytest.fixture
def scene(
    aws: Aws, kafka: Kafka, tmp_path: Path, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[KafkaScene]:
    name = f"replay-{uuid.uuid4().hex[:12]}"
    kafka.create_topic(name, PARTITIONS)
    aws.create_bucket(name)
    (tmp_path / "usuarios.odcs.yaml").write_text((ROOT / "tables" / "usuarios.odcs.yaml").read_text(encoding="utf-8"))
    for variable in [variable for variable in os.environ if variable.startswith("CDC_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("CDC_TABLES", str(tmp_path))
    monkeypatch.setenv("CDC_RAW", f"s3://{name}/recorded")
    scene_ = KafkaScene(aws, kafka, tmp_path, name)
    yield scene_
    for process in scene_.started:
        process.kill()


def test_a_day_of_raw_arrives_whole_and_in_the_order_of_each_key(
    scene: KafkaScene, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = S3Objects(clients.s3(), S3Location(scene.name, "recorded"))
    for shard in (ShardWriter(recorded, f"shardId-{number:012}") for number in range(2)):
        place = int(shard.shard[-1])
        for batch in range(4):
            lsns = range(1 + batch * 300, 301 + batch * 300)
            shard.batch([event("u", lsn, {"id": lsn % KEYS * 2 + place}) for lsn in lsns], table="usuarios")
    words = ("--from", "raw", "--day", f"{START:%Y-%m-%d}", "--to", f"kafka://{scene.kafka.server}/{scene.name}")
    assert main(["replay", *words, "--records-per-second", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["replayed"], told["left_out"], told["is_whole"]) == (2400, {}, True)

    scene.catch_up()
    found = read_raw(scene)
    by_key: dict[int, list[tuple[str, int, int]]] = {}
    for (partition, number), payload in found.events.items():
        by_key.setdefault(payload["after"]["id"], []).append((partition, number, payload["source"]["lsn"]))
    assert len(found.events) == 2400
    assert len(by_key) == 2 * KEYS
    for places in by_key.values():
        assert len({partition for partition, _, _ in places}) == 1
        assert [lsn for _, _, lsn in sorted(places)] == sorted(lsn for _, _, lsn in places)
    assert len({partition for partition, _ in found.events}) == PARTITIONS


def test_a_topic_that_is_not_there_is_not_made(scene: KafkaScene, capsys: pytest.CaptureFixture[str]) -> None:
    missing = f"missing-{uuid.uuid4().hex[:8]}"
    words = ("--from", "raw", "--day", "2026-11-21", "--to", f"kafka://{scene.kafka.server}/{missing}")
    assert main(["replay", *words]) == 1
    assert "there is no such topic" in capsys.readouterr().err
    assert missing not in scene.kafka.admin().list_topics(timeout=10).topics
