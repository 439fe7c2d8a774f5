"""A reader of raw for tests: it checks all that the format promises, and shares no code with the consumer."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Protocol


class HasObjects(Protocol):
    """Somewhere with a bucket that has raw and quarantine."""

    def objects(self, prefix: str) -> dict[str, bytes]:
        """What lies below a prefix."""


@dataclass
class Raw:
    """What lies in raw, read by a checker that shares no code with the consumer."""

    chains: dict[str, list[dict[str, Any]]]
    events: dict[tuple[str, int], Any]
    tables: dict[tuple[str, int], str]
    quarantined: dict[tuple[str, int], bytes]
    left_out: int
    empty: int


def read_raw(scene: HasObjects) -> Raw:
    """Read every batch record in order, see that no shard's chain has a gap, and that every object is what it says."""
    raw = Raw(defaultdict(list), {}, {}, {}, 0, 0)
    for body in scene.objects("raw/_batches/").values():
        record = json.loads(body)
        raw.chains[record["shard"]].append(record)
    stored = scene.objects("raw/postgres/")
    quarantined: list[dict[str, Any]] = []
    for body in scene.objects("quarantine/").values():
        quarantined += [json.loads(line) for line in gzip.decompress(body).splitlines()]
    for shard, chain in raw.chains.items():
        covered = 0
        for record in sorted(chain, key=lambda one: (int(one["upto"]), int(one["after"]))):
            assert int(record["after"]) <= covered, f"gap in {shard}"
            overlap = int(record["after"]) < covered
            for ref in record.get("objects", ()):
                body = stored[f"raw/{ref['path']}"]
                assert (len(body), hashlib.sha256(body).hexdigest()) == (ref["bytes"], ref["sha256"])
                lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
                assert len(lines) == ref["records"]
                for line in lines:
                    assert int(record["after"]) < int(line["seq"]) <= int(record["upto"])
                    assert line["shard"] == shard
                    raw.events[shard, int(line["seq"])] = line["event"]
                    raw.tables[shard, int(line["seq"])] = ref["table"]
            if not overlap:
                raw.left_out += record.get("left_out", 0)
                raw.empty += record.get("empty", 0)
            covered = max(covered, int(record["upto"]))
    for line in quarantined:
        raw.quarantined[line["shard"], int(line["seq"])] = base64.b64decode(line["payload"])
    return raw
