"""A fleet of consumers on a stream that is resharded while it is written to; and a checker of raw that shares no code with them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from sandbox.aws import Aws
from sandbox.process import Command, Process, SandboxFault, tail, wait_until
from tests.emulator import Service

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 240  # a limit for what has gone wrong; nothing right takes as long
KEYS = 1000
PUT_RECORDS_MAX = 500


def event(number: int) -> bytes:
    """The change of this number, of one of a thousand keys."""
    source = {"schema": "public", "table": "Usuários", "lsn": number, "ts_us": 1_700_000_000_000_000 + number}
    return json.dumps({"op": "u", "before": None, "after": {"id": number % KEYS}, "source": source}).encode()


@dataclass
class Fleet:
    """Workers that read one stream, of any service's, into a bucket."""

    kinesis: Service
    aws: Aws
    folder: Path
    dice: Random
    name: str = field(default_factory=lambda: f"fleet-{uuid.uuid4().hex[:12]}")
    workers: list[Process] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    written: int = 0
    last: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._client = self.kinesis.kinesis()
        self._s3 = self.aws.client("s3")

    def create(self, shards: int) -> None:
        """Make the stream and the bucket."""
        self._client.create_stream(StreamName=self.name, ShardCount=shards)
        self._wait_until_active()
        self.aws.create_bucket(self.name)

    def write(self, count: int) -> None:
        """Put the next records, those of a key in order."""
        numbers = range(self.written + 1, self.written + 1 + count)
        for start in range(0, count, PUT_RECORDS_MAX):
            records = [
                {"Data": event(number), "PartitionKey": f"key-{number % KEYS}"}
                for number in numbers[start : start + PUT_RECORDS_MAX]
            ]
            answer = self._client.put_records(StreamName=self.name, Records=records)  # type: ignore[arg-type]
            assert answer["FailedRecordCount"] == 0
            for entry in answer["Records"]:
                self.last[entry["ShardId"]] = int(entry["SequenceNumber"])
        self.written += count

    def start_worker(self, *arguments: str) -> Process:
        """Start one more consumer."""
        log = self.folder / f"worker-{len(self.logs)}.log"
        worker = Process(
            Command(
                name="cdc-consumer",
                arguments=(sys.executable, "-m", "cdc_consumer.cli", "run", *arguments),
                environment=self.aws.environment()
                | {
                    "AWS_ENDPOINT_URL_KINESIS": self.kinesis.endpoint_url,
                    "PATH": os.defpath,
                    "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
                    "CDC_SOURCE": f"kinesis://{self.name}",
                    "CDC_TABLES": str(ROOT / "tables"),
                    "CDC_RAW": f"s3://{self.name}/raw",
                    "CDC_QUARANTINE": f"s3://{self.name}/quarantine",
                    "CDC_LEASES": self.name,
                    "CDC_LEASE_SECONDS": "4",
                    "CDC_BATCH_AGE_SECONDS": "1",
                    "CDC_BATCH_BYTES": "300000",  # about a thousand records
                },
                directory=self.folder,
                log=log,
            )
        )
        self.logs.append(log)
        self.workers.append(worker)
        return worker

    def kill_one(self) -> None:
        """End a worker in the middle of its work, and start another."""
        victim = self.workers.pop(self.dice.randrange(len(self.workers)))
        assert victim.exit_status is None, victim.command.log.read_text(encoding="utf-8")
        victim.kill()
        self.start_worker()

    def stop_all(self) -> None:
        """Ask all workers to end, as an orchestrator would; each must end well."""
        for worker in self.workers:
            assert worker.stop(PATIENCE_SECONDS) == 0, worker.command.log.read_text(encoding="utf-8")
        self.workers.clear()

    def kill_all(self) -> None:
        """End what still runs."""
        for worker in self.workers:
            worker.kill()

    def split_and_merge(self) -> None:
        """Split an open shard, and merge two others that are neighbours."""
        victim = self.dice.choice(self._open_shards())
        first, last = (int(victim["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey"))
        self._client.split_shard(
            StreamName=self.name, ShardToSplit=victim["ShardId"], NewStartingHashKey=str((first + last) // 2)
        )
        self._wait_until_active()
        shards = self._open_shards()
        at = self.dice.randrange(len(shards) - 1)
        low, high = shards[at]["ShardId"], shards[at + 1]["ShardId"]
        self._client.merge_shards(StreamName=self.name, ShardToMerge=low, AdjacentShardToMerge=high)
        self._wait_until_active()

    def batches(self) -> int:
        """How many batch records there are."""
        return sum(1 for _ in self._entries("raw/_batches/"))

    def wait_for_batches(self, count: int) -> None:
        """Wait until there are so many batch records."""
        self._wait(lambda: self.batches() >= count, f"{count} batches are written")

    def wait_until_complete(self) -> None:
        """Wait until raw covers the last record of every shard."""

        def covered() -> dict[str, int]:
            names = [entry["Key"].split("/")[3:] for entry in self._entries("raw/_batches/")]
            return {shard: int(name.split("~")[0]) for shard, name in names}  # the last one listed ends last

        def is_complete() -> bool:
            reached = covered()
            return all(reached.get(shard, 0) >= number for shard, number in self.last.items())

        self._wait(is_complete, "raw covers every record")

    def _wait(self, probe: Callable[[], bool], what: str) -> None:
        def holds_while_all_live() -> bool:
            for worker in self.workers:
                assert worker.exit_status is None, worker.command.log.read_text(encoding="utf-8")
            return probe()

        try:
            wait_until(holds_while_all_live, PATIENCE_SECONDS, what, poll_seconds=0.2)
        except SandboxFault as fault:
            # Any of them may be the one that is stuck; and what the log says is gone with the test's folder.
            for log in self.logs:
                fault.add_note(f"the last words of {log.name}:\n{tail(log)}")
            fault.add_note(f"leases held: {dict(self.owners())}, batches: {self.batches()}, written: {self.written}")
            raise

    def owners(self) -> dict[str, int]:
        """How many leases each worker has."""
        burdens: dict[str, int] = defaultdict(int)
        for item in self.aws.client("dynamodb").scan(TableName=self.name, ConsistentRead=True)["Items"]:
            if "leaseOwner" in item:
                burdens[item["leaseOwner"]["S"]] += 1
        return burdens

    def said(self, what: str) -> list[dict[str, Any]]:
        """The lines of all workers' logs about an event; a killed worker's last line may be cut off."""
        lines = [line for log in self.logs for line in log.read_text(encoding="utf-8").splitlines()]
        whole = [json.loads(line) for line in lines if line.endswith("}")]
        return [line for line in whole if line["event"] == what]

    def check_parents_before_children(self) -> None:
        """No batch of a child was there before the record that closed each of its parents."""
        begun: dict[str, datetime] = {}
        closed: dict[str, datetime] = {}
        for entry in self._entries("raw/_batches/"):
            shard, written_at = entry["Key"].split("/")[3], entry["LastModified"]
            begun[shard] = min(written_at, begun.get(shard, written_at))
            if self._json(entry["Key"]).get("closed"):
                closed[shard] = min(written_at, closed.get(shard, written_at))
        assert closed
        for shard, parents in self.parents().items():
            for parent in parents:
                assert shard not in begun or closed[parent] <= begun[shard], f"{shard} began before {parent} was closed"

    def parents(self) -> dict[str, list[str]]:
        """Every shard's parents."""
        return {
            shard["ShardId"]: [shard[which] for which in ("ParentShardId", "AdjacentParentShardId") if shard.get(which)]
            for shard in self._list_shards()
        }

    def batch_records(self) -> Iterator[dict[str, Any]]:
        """All batch records, by shard and end."""
        for entry in self._entries("raw/_batches/"):
            yield self._json(entry["Key"])

    def numbers(self) -> dict[str, list[int]]:
        """The numbers of the changes in raw by shard, overlaps once, after each chain was found whole and each object right."""
        chains: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in self.batch_records():
            chains[record["shard"]].append(record)
        return {shard: list(self._numbers(shard, chain)) for shard, chain in chains.items()}

    def _numbers(self, shard: str, chain: list[dict[str, Any]]) -> Iterator[int]:
        covered = 0
        for record in sorted(chain, key=lambda one: (int(one["upto"]), int(one["after"]))):
            assert int(record["after"]) <= covered, f"gap in {shard}"
            for ref in record.get("objects", ()):
                body = self._s3.get_object(Bucket=self.name, Key=f"raw/{ref['path']}")["Body"].read()
                assert (len(body), hashlib.sha256(body).hexdigest()) == (ref["bytes"], ref["sha256"])
                lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
                assert len(lines) == ref["records"]
                for line in lines:
                    assert int(record["after"]) < int(line["seq"]) <= int(record["upto"])
                    if int(line["seq"]) > covered:
                        yield line["event"]["source"]["lsn"]
            covered = max(covered, int(record["upto"]))

    def _entries(self, prefix: str) -> Iterator[Any]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            yield from page.get("Contents", ())

    def _json(self, key: str) -> Any:
        return json.loads(self._s3.get_object(Bucket=self.name, Key=key)["Body"].read())

    def _list_shards(self) -> list[Any]:
        answer = self._client.list_shards(StreamName=self.name)
        assert "NextToken" not in answer
        return list(answer["Shards"])

    def _open_shards(self) -> list[Any]:
        shards = [one for one in self._list_shards() if not one["SequenceNumberRange"].get("EndingSequenceNumber")]
        return sorted(shards, key=lambda one: int(one["HashKeyRange"]["StartingHashKey"]))

    def _wait_until_active(self) -> None:
        def is_active() -> bool:
            summary = self._client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
            return summary["StreamStatus"] == "ACTIVE"

        wait_until(is_active, PATIENCE_SECONDS, "the stream is active")


def by_lineage(parents: dict[str, list[str]]) -> list[str]:
    """All shards, each after its parents."""
    done: list[str] = []
    while len(done) < len(parents):
        done += [shard for shard in parents if shard not in done and all(one in done for one in parents[shard])]
    return done
