"""A recorded day for `make replay`: what an application of a minute gave, its arrival times spread over a day.

    python -m sandbox.recording infra/docker/recordings/dia.jsonl.gz

The records are real: they came through Postgres, the publisher and the consumer, and `cdc replay` took them from raw.
Only their `arrived_at` is made: a day has 24 hours, most of its changes at noon.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final, LiteralString

import psycopg

from sandbox.pipeline import Pipeline
from sandbox.process import SandboxFault
from sandbox.usuarios import CREATE_TABLE

DAY: Final = datetime(2026, 11, 20, tzinfo=UTC)
CHANGES: Final = 2000
_COMPLETE_SECONDS = 120
_REPLAY = "import sys; from cdc_ops.cli import main; sys.exit(main(sys.argv[1:]))"
_INSERT: Final[LiteralString] = """
INSERT INTO "Usuários" (id, nome, email, saldo, ativo, criado_em, tags, bio)
SELECT n, 'Usuário ' || n, 'u' || n || '@exemplo.com', n / 100.0, true, now(), ARRAY['novo'],
       CASE WHEN n %% 50 = 0 THEN (SELECT string_agg(md5(n || '-' || k), '') FROM generate_series(1, 140) k) END
  FROM generate_series(%(first)s::int, %(last)s::int) n
"""
_CHANGES: Final[tuple[LiteralString, ...]] = (
    'UPDATE "Usuários" SET saldo = saldo + 1.25, atualizado_em = localtimestamp WHERE id = %(key)s',
    'UPDATE "Usuários" SET saldo = saldo - 0.75, atualizado_em = localtimestamp WHERE id = %(key)s',
    'UPDATE "Usuários" SET nome = nome || %(mark)s WHERE id = %(key)s',
    'UPDATE "Usuários" SET ativo = NOT ativo WHERE id = %(key)s',
    'DELETE FROM "Usuários" WHERE id = %(key)s',
    'UPDATE "Usuários" SET id = id + 1000000 WHERE id = %(key)s',
)


def spread(lines: Sequence[bytes], day: datetime) -> Iterator[bytes]:
    """The lines of a recording with their arrival times spread over a day, in the order that they have."""
    for number, line in enumerate(lines):
        arrived_at = day + timedelta(days=moment(number / len(lines)))
        fields = json.loads(line)
        # The event stays as it is, byte for byte: only the text of the time before it is another.
        old = json.dumps(fields["arrived_at"]).encode()
        new = json.dumps(arrived_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")).encode()
        yield line.replace(b'"arrived_at":' + old, b'"arrived_at":' + new, 1)


def moment(share: float) -> float:
    """When this share (0 to 1) of a day's changes has arrived, as a share of the day: busiest at noon."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _arrived(middle) < share else (low, middle)
    return low


def _arrived(moment: float) -> float:
    return moment - 0.8 * math.sin(2 * math.pi * moment) / (2 * math.pi)


def _work(dsn: str, random: Random, changes: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        last = 500
        for number in range(changes):
            if number % 10 == 0:
                last += 1
                connection.execute(_INSERT, {"first": last, "last": last})
            change = random.choices(_CHANGES, (6, 6, 3, 3, 1, 0.5))[0]
            connection.execute(change, {"key": random.randrange(1, last + 1), "mark": f" {number}"})


def record(target: Path, changes: int, random: Random) -> int:
    """Make the recording; returns its number of records."""
    with tempfile.TemporaryDirectory(prefix="usuarios-cdc-") as folder, Pipeline(Path(folder)) as pipeline:
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            connection.execute(CREATE_TABLE)
            connection.execute(_INSERT, {"first": 1, "last": 500})
        began = datetime.now(UTC)
        pipeline.start()
        # What changes before the backfill has begun would be in no record of its own.
        pipeline.wait_until_complete(pipeline.source_clock(), _COMPLETE_SECONDS)
        _work(pipeline.postgres.dsn, random, changes)
        pipeline.wait_until_complete(pipeline.source_clock(), _COMPLETE_SECONDS)
        file = Path(folder) / "raw.jsonl"
        days = f"{began:%Y-%m-%d}..{datetime.now(UTC):%Y-%m-%d}"
        done = subprocess.run(
            [sys.executable, "-c", _REPLAY, "replay", "--from", "raw", "--day", days, "--to", str(file)],
            env=pipeline.environment(),
            check=False,
        )
        if done.returncode != 0:
            raise SandboxFault(f"cdc replay ended with {done.returncode}", hint="its last lines say why")
        lines = file.read_bytes().splitlines(keepends=True)
    _write(target, spread(lines, DAY))
    return len(lines)


def _write(target: Path, lines: Iterable[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with gzip.GzipFile(target, "wb", mtime=0) as file:
        file.writelines(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.recording", description=__doc__)
    parser.add_argument("target", type=Path, help="the file to write: name.jsonl.gz")
    parser.add_argument("--changes", type=int, default=CHANGES, help=f"how many statements (default {CHANGES})")
    parsed = parser.parse_args(arguments)
    print(f"{record(parsed.target, parsed.changes, Random(1))} records in {parsed.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
