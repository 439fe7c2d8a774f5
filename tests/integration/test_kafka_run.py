"""The consumer as a process on a Kafka broker: every record in raw, whatever happens to the process or the group."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.aws import Aws
from sandbox.kafka import Kafka
from sandbox.process import wait_until
from tests.consumer_scene import ROOT
from tests.kafka_scene import PARTITIONS, PATIENCE_SECONDS, KafkaScene, event
from tests.raw_reader import read_raw

pytestmark = pytest.mark.slow


@pytest.fixture
def scene(aws: Aws, kafka: Kafka, tmp_path: Path) -> Iterator[KafkaScene]:
    name = f"kafka-{uuid.uuid4().hex[:12]}"
    kafka.create_topic(name, PARTITIONS)
    aws.create_bucket(name)
    founding = (ROOT / "tables" / "usuarios.odcs.yaml").read_text(encoding="utf-8")
    (tmp_path / "usuarios.odcs.yaml").write_text(founding, encoding="utf-8")
    second = founding.replace("usuarios", "pedidos").replace('public."Usuários"', "public.pedidos")
    (tmp_path / "pedidos.odcs.yaml").write_text(second, encoding="utf-8")
    scene_ = KafkaScene(aws, tmp_path, name, kafka=kafka)
    yield scene_
    for process in scene_.started:
        process.kill()


def test_tables_garbage_and_tombstones_of_three_partitions(scene: KafkaScene) -> None:
    events = [event(number, table) for number in range(150) for table in ("Usuários", "pedidos")]
    garbage = [b"\xff\xfe\x00garbage", b"[" * 5000, b"no json", b"\x00", b'[{"a":1}]'] * 6
    scene.write(*events, *garbage, *[None] * 15, *[b""] * 15)
    expected = scene.events()
    quarantined = {key: data for key, data in scene.put.items() if data in set(garbage)}
    scene.write(*[event(number, "sessoes") for number in range(30)], *[b'{"ts_ms":1795252014174}'] * 30)
    process = scene.catch_up()

    raw = read_raw(scene)
    assert set(raw.chains) == {"0", "1", "2"}
    assert raw.events == expected
    for key, found in raw.events.items():
        assert raw.tables[key] == {"Usuários": "usuarios", "pedidos": "pedidos"}[found["source"]["table"]]
    assert raw.quarantined == quarantined
    assert (raw.left_out, raw.empty) == (60, 30)
    tips = {path.rsplit("/", 1)[1]: json.loads(body) for path, body in scene.objects("raw/_tips/").items()}
    assert set(tips) == {"0.json", "1.json", "2.json"}
    assert all(tip["read_to_tip_at"] for tip in tips.values())
    said = process.command.log.read_text(encoding="utf-8")
    assert "garbage" not in said
    assert "José" not in said

    scene.write(event(1000))
    scene.catch_up()
    assert read_raw(scene).events == {
        **expected,
        ("0", max(at for shard, at in scene.put if shard == "0")): json.loads(event(1000)),
    }


def test_killed_again_and_again_it_loses_nothing(scene: KafkaScene) -> None:
    scene.kill_again_and_again(3, lambda numbers: scene.write(*map(event, numbers)))
    scene.catch_up()
    assert read_raw(scene).events == scene.events()


def test_two_workers_rebalance_while_records_flow_and_one_is_killed(scene: KafkaScene) -> None:
    first = scene.consumer(CDC_BATCH_BYTES="3000")
    wait_until(lambda: len(scene.assigned(first)) == PARTITIONS, PATIENCE_SECONDS, "the first worker has all")
    number = 0

    def flows_until_shared() -> bool:
        nonlocal number
        scene.write(*map(event, range(number, number + 30)))
        number += 30
        shares = [scene.assigned(first), scene.assigned(second)]
        return all(shares) and len(shares[0] | shares[1]) == PARTITIONS

    second = scene.consumer(CDC_BATCH_BYTES="3000")
    wait_until(flows_until_shared, PATIENCE_SECONDS, "both workers have partitions", poll_seconds=0.2)
    second.kill()
    scene.write(*map(event, range(number, number + 30)))
    number += 30

    def flows_until_complete() -> bool:
        nonlocal number
        if len(scene.assigned(first)) < PARTITIONS:
            scene.write(*map(event, range(number, number + 30)))
            number += 30
            return False
        return read_raw(scene).events == scene.events()

    wait_until(flows_until_complete, PATIENCE_SECONDS, "the first worker has read all", poll_seconds=0.5)
    assert first.stop(PATIENCE_SECONDS) == 0, first.command.log.read_text(encoding="utf-8")
    assert "lease lost" not in {line["event"] for line in scene.log(first)}
    raw = read_raw(scene)
    assert raw.events == scene.events()
    assert len(raw.chains) == PARTITIONS


def test_a_worker_that_hangs_is_replaced_and_finds_its_way_back(scene: KafkaScene) -> None:
    first = scene.consumer()
    scene.write(*map(event, range(30)))
    wait_until(lambda: len(scene.assigned(first)) == PARTITIONS, PATIENCE_SECONDS, "the first worker has all")
    first.signal(signal.SIGSTOP)
    scene.write(*map(event, range(30, 60)))
    second = scene.consumer()
    wait_until(lambda: read_raw(scene).events == scene.events(), PATIENCE_SECONDS, "the second worker has read all")
    first.signal(signal.SIGCONT)

    def is_back() -> bool:
        """It was told that its partitions are lost, or go: the client says either, by which it notices first."""
        told = [line["event"] for line in scene.log(first)]
        left = min((told.index(event) for event in ("partitions lost", "partitions go") if event in told), default=None)
        return left is not None and "partitions assigned" in told[left:]

    wait_until(is_back, PATIENCE_SECONDS, "the first worker is in the group again", poll_seconds=0.2)
    scene.write(*map(event, range(60, 90)))
    wait_until(lambda: read_raw(scene).events == scene.events(), PATIENCE_SECONDS, "all is read")
    assert [worker.stop(PATIENCE_SECONDS) for worker in (first, second)] == [0, 0]
    assert read_raw(scene).events == scene.events()


def test_after_sigterm_the_next_one_goes_on(scene: KafkaScene) -> None:
    """No batch would be written by itself before this test's patience is over."""
    slow = {"CDC_BATCH_AGE_SECONDS": "3600"}
    scene.write(*map(event, range(30)))
    process = scene.consumer(**slow)
    wait_until(lambda: len(scene.assigned(process)) == PARTITIONS, PATIENCE_SECONDS, "the worker has all")
    assert process.stop(PATIENCE_SECONDS) == 0, process.command.log.read_text(encoding="utf-8")
    scene.write(*map(event, range(30, 60)))
    scene.catch_up(**slow)
    assert read_raw(scene).events == scene.events()


def test_two_workers_until_caught_up_both_end(scene: KafkaScene) -> None:
    scene.write(*map(event, range(100)))
    workers = [scene.consumer("--until-caught-up"), scene.consumer("--until-caught-up")]
    assert [worker.finish(PATIENCE_SECONDS) for worker in workers] == [0, 0]
    assert read_raw(scene).events == scene.events()


def test_a_topic_made_anew_is_another_stream(scene: KafkaScene) -> None:
    scene.write(*map(event, range(30)))
    scene.catch_up()
    before = scene.objects("raw/_batches/")
    scene.kafka.delete_topic(scene.name)
    scene.kafka.create_topic(scene.name, PARTITIONS)
    scene.put.clear()
    scene.write(*map(event, range(100, 106)))
    scene.catch_up()
    after = scene.objects("raw/_batches/")
    streams = {path.split("/")[2] for path in after}
    assert len(streams) == 2
    assert all(stream.startswith(f"{scene.name}-") for stream in streams)
    assert before.items() <= after.items()
    new = [json.loads(body) for path, body in after.items() if path not in before]
    assert {record["after"] for record in new} == {"0"}
    assert sum(ref["records"] for record in new for ref in record["objects"]) == 6


def test_the_end_of_a_transaction_is_no_gap_and_is_covered(scene: KafkaScene) -> None:
    """Each transaction ends with a record of its own that no reader gets."""
    producer = scene.producer(transactional_id=scene.name)
    producer.init_transactions(PATIENCE_SECONDS)
    for number in range(3):
        producer.begin_transaction()
        scene.write(event(2 * number), event(2 * number + 1), partition=0, producer=producer)
        producer.commit_transaction(PATIENCE_SECONDS)
    scene.catch_up()
    raw = read_raw(scene)
    assert [at for _, at in sorted(raw.events)] == [1, 2, 4, 5, 7, 8]
    chain = raw.chains["0"]
    # However many batches it took: they follow one another, and the last one ends behind the last transaction's end.
    assert [record["after"] for record in chain] == ["0", *(record["upto"] for record in chain[:-1])]
    assert chain[-1]["upto"] == "9"
    batches = scene.objects("raw/_batches/")
    scene.catch_up()
    assert scene.objects("raw/_batches/") == batches


@pytest.mark.parametrize(("topic", "hint"), [("no-such-topic", "CDC_SOURCE"), ("compacted", "cleanup.policy")])
def test_a_topic_that_cannot_be_read_whole_ends_the_program_with_a_hint(
    scene: KafkaScene, topic: str, hint: str
) -> None:
    name = f"{scene.name}-{topic}"
    if topic == "compacted":
        scene.kafka.create_topic(name, 1, cleanup_policy="compact,delete")
    process = scene.consumer(CDC_SOURCE=f"kafka://{scene.kafka.server}/{scene.name},{name}")
    assert process.finish(PATIENCE_SECONDS) == 1
    last = scene.log(process)[-1]
    assert (last["event"], last["where"]) == ("failed", name)
    assert hint in last["hint"]


def test_a_topic_that_goes_while_it_is_read_ends_the_program(scene: KafkaScene) -> None:
    scene.write(*map(event, range(3)))
    process = scene.consumer()
    wait_until(lambda: len(read_raw(scene).events) == 3, PATIENCE_SECONDS, "all is read")
    scene.kafka.delete_topic(scene.name)
    # On Tansu the client itself crashes at a topic that is gone (docs/kafka.md); either way nobody takes it for success.
    assert process.finish(PATIENCE_SECONDS) != 0
    again = scene.consumer("--until-caught-up")
    assert again.finish(PATIENCE_SECONDS) == 1
    assert scene.log(again)[-1]["where"] == scene.name
    assert len(read_raw(scene).events) == 3


def test_wrong_settings_are_all_named_at_once_and_nothing_is_said_of_their_values(scene: KafkaScene) -> None:
    process = scene.consumer(
        CDC_SOURCE="kafka://secret-user:secret@broker/topic",
        CDC_LEASES="!",
        CDC_KAFKA_AUTO_OFFSET_RESET="secret",
        CDC_KAFKA_SASL_PASWORD="secret",
    )
    assert process.finish(PATIENCE_SECONDS) == 2
    said = process.command.log.read_text(encoding="utf-8")
    assert all(
        name in said for name in ("CDC_SOURCE", "CDC_LEASES", "CDC_KAFKA_AUTO_OFFSET_RESET", "CDC_KAFKA_SASL_PASSWORD")
    )
    assert "secret" not in said


def test_sigterm_while_the_broker_is_away_ends_the_program_with_0(scene: KafkaScene) -> None:
    process = scene.consumer(CDC_SOURCE=f"kafka://127.0.0.1:1/{scene.name}")
    wait_until(lambda: any(line["event"] == "backing off" for line in scene.log(process)), PATIENCE_SECONDS, "it tries")
    process.signal(signal.SIGTERM)
    assert process.finish(PATIENCE_SECONDS) == 0
