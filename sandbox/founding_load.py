"""The founding load on the sandbox, with every request to AWS counted: what a month of it costs (docs/cost.md).

python -m sandbox.founding_load SECONDS FILE        e.g. 720 tests/infra/founding_load.json
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import LiteralString

import psycopg

from sandbox import usuarios
from sandbox.pipeline import Pace, Pipeline
from sandbox.requests_counted import RequestsCounted

CHANGES_A_SECOND = 150_000 / 86_400
ROWS = 20_000
FOUNDING = Pace(shards=1, heartbeat_seconds=5, batch_age_seconds=15, compact_interval_seconds=30, lease_seconds=30)
_FIRST_NEW_KEY = 10**12
_INSERT: LiteralString = 'INSERT INTO "Usuários" VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)'


class Counted(Pipeline):
    """The pipeline, whose programs reach AWS through a proxy that counts."""

    endpoint_url: str = ""

    def environment(self) -> dict[str, str]:
        """The settings, with the proxy in AWS's place."""
        return {
            name: value.replace(self.aws.endpoint_url, self.endpoint_url)
            for name, value in super().environment().items()
        }


def measure(directory: Path, seconds: float, pace: Pace, *, warm_up_seconds: float) -> Counter[tuple[str, str]]:
    """Requests of so many seconds, after the backfill and a time for everything to begin."""
    random = Random(1)
    with Counted(directory, pace) as pipeline, RequestsCounted(pipeline.aws.port) as requests:
        pipeline.endpoint_url = requests.endpoint_url
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            usuarios.create(connection, ROWS, Random(2), datetime.now(UTC))
            keys = [key for (key,) in connection.execute('SELECT id FROM "Usuários"')]
            pipeline.start()
            _work(connection, keys, random, warm_up_seconds)
            before = requests.snapshot()
            _work(connection, keys, random, seconds)
            after = requests.snapshot()
        pipeline.check()
    return after - before


def _work(connection: psycopg.Connection, keys: list[int], random: Random, seconds: float) -> None:
    """Updates, inserts and deletes, seven to two to one, as fast as at the founding load."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        kind = random.random()
        if kind < 0.2:
            key = _FIRST_NEW_KEY + random.getrandbits(40)
            connection.execute(_INSERT, usuarios.usuario(random, key, datetime.now(UTC)))
            keys.append(key)
        elif kind < 0.9:
            connection.execute(
                'UPDATE "Usuários" SET ativo = NOT coalesce(ativo, false) WHERE id = %s', (random.choice(keys),)
            )
        else:
            connection.execute('DELETE FROM "Usuários" WHERE id = %s', (keys.pop(random.randrange(len(keys))),))
        time.sleep(1 / CHANGES_A_SECOND)


def report(counts: Mapping[tuple[str, str], int], seconds: float) -> str:
    """The counts as JSON, with what they are of."""
    what = (
        f"Requests at the founding load: {CHANGES_A_SECOND:.2f} changes a second (70% updates, 20% inserts, 10% deletes"
        f" of {ROWS} rows), {FOUNDING.shards} shard, batches of {FOUNDING.batch_age_seconds:.0f} s, commits of"
        f" {FOUNDING.compact_interval_seconds:.0f} s, heartbeats of {FOUNDING.heartbeat_seconds:.0f} s"
    )
    listed = [
        {"operation": operation, "place": place, "requests": number}
        for (operation, place), number in sorted(counts.items())
    ]
    return json.dumps({"what": what, "seconds": seconds, "counts": listed}, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    """Measure, and write what was counted."""
    if len(arguments) != 2:
        print(__doc__)
        return 2
    seconds = float(arguments[0])
    with tempfile.TemporaryDirectory(prefix="founding-load-") as directory:
        counts = measure(Path(directory), seconds, FOUNDING, warm_up_seconds=90)
    Path(arguments[1]).write_text(report(counts, seconds), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
