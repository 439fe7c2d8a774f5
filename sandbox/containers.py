"""The containers of docker-compose.yml, seen from this machine: waits until they work, and proves that they do.

    python -m sandbox.containers wait     make a change in their Postgres; ends when the lake shows it
    python -m sandbox.containers prove    let an application work for --seconds, then compare every row
    python -m sandbox.containers replayed FILE    end when the lake holds what a recording adds up to

The last line of `prove` is `lake equals source: <n> rows, <d> differences`; the exit code is 0 only when d is 0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TypeVar

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from pyiceberg.exceptions import NoSuchTableError

from cdc.contract import TableContract, load_folder
from cdc.errors import CdcError
from sandbox import usuarios
from sandbox.aws import lake_environment
from sandbox.compare import compare
from sandbox.lake import Lake, LakeState
from sandbox.pipeline import PII_KEY, ROOT
from sandbox.process import LOCALHOST, SandboxFault
from sandbox.workload import Workload

AWS_PROFILE_FILE = ROOT / "infra" / "docker" / "aws" / "config.ini"
TIMEOUT_SECONDS = 600
"""How long a change may take at most; far more than it needs, since images may still be starting."""
CHANGES_PER_SECOND = 100
_POLL_SECONDS = 0.5
_TELL_SECONDS = 5.0
T = TypeVar("T")
# Debezium writes an array of nothing but nulls as it writes an array in an array, so the compactor sets such a change
# aside (docs/types.md): an application whose every row shall be compared must do without.
_NO_ARRAYS_OF_NULLS = """
CREATE OR REPLACE FUNCTION no_arrays_of_nulls() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF cardinality(NEW.tags) > 0 AND cardinality(array_remove(NEW.tags, NULL)) = 0 THEN NEW.tags := '{}'; END IF;
  RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER no_arrays_of_nulls BEFORE INSERT OR UPDATE ON "Usuários"
  FOR EACH ROW EXECUTE FUNCTION no_arrays_of_nulls();
"""
_IS_DEBEZIUM = "SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = 'usuarios_debezium'"
_UNREACHABLE = (psycopg.OperationalError, BotoCoreError, ClientError, NoSuchTableError)


def source_dsn(environ: Mapping[str, str]) -> str:
    """How this machine reaches the containers' Postgres."""
    return f"postgresql://app:sandbox@{LOCALHOST}:{environ.get('SANDBOX_POSTGRES_PORT') or 55432}/app"


def lake_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """How this machine reaches the containers' AWS and lake."""
    endpoint_url = f"http://{LOCALHOST}:{environ.get('SANDBOX_AWS_PORT') or 4566}"
    return lake_environment(endpoint_url, AWS_PROFILE_FILE)


def wait(dsn: str, lake: Lake, contract: TableContract, random: Random) -> str:
    """Insert a row and update it; returns what proves that the lake shows the update."""
    key = _until("Postgres takes a change", lambda: _changed(dsn, random), lambda: "it does not take connections yet")
    begun = time.monotonic()
    nome = f"visto às {datetime.now(UTC):%H:%M:%S}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute('UPDATE "Usuários" SET nome = %s WHERE id = %s', (nome, key))

    def seen() -> bool | None:
        return lake.shows(contract.name, key, nome) or None

    _until("the lake shows it", seen, lambda: _told(_state(lake, contract)))
    seconds = time.monotonic() - begun
    state = _state(lake, contract)
    assert state is not None
    return f"a change made in the containers' Postgres was in the lake after {seconds:.0f} s; {_told(state)}"


def prove(dsn: str, lake: Lake, contract: TableContract, seconds: float, random: Random) -> int:
    """Let an application work, wait until the lake is complete, compare every row; returns how many differ."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        ((is_debezium,),) = connection.execute(_IS_DEBEZIUM).fetchall()
        if is_debezium:
            connection.execute(_NO_ARRAYS_OF_NULLS)
    application = Workload(dsn, random, datetime.now(UTC), workers=2, changes_per_second=CHANGES_PER_SECOND)
    tally = application.run(seconds=seconds, progress=lambda now: _say(f"  {now.changes:,} changes committed"),
                            progress_seconds=_TELL_SECONDS)  # fmt: skip
    _say(
        f"the application committed {tally.changes:,} changes: {tally.inserted:,} inserts, {tally.updated:,} updates, "
        f"{tally.deleted:,} deletes, {tally.key_changes:,} key changes"
    )
    with psycopg.connect(dsn) as connection:
        ((quiet_since,),) = connection.execute("SELECT clock_timestamp()").fetchall()

    def complete() -> bool | None:
        state = _state(lake, contract)
        return (state is not None and state.valid_through is not None and state.valid_through >= quiet_since) or None

    _until("the lake is complete", complete, lambda: _told(_state(lake, contract)))
    outcome = compare(dsn, lake, contract, PII_KEY)
    for reader, what in outcome.what.items():
        for difference, count in what.most_common(10):
            _say(f"{reader}: {difference}: {count}")
    _say(f"lake equals source: {outcome.rows} rows, {outcome.differences} differences")
    return outcome.differences


def positions(lines: Iterable[bytes]) -> dict[int, int]:
    """What a recording of Debezium's JSON adds up to: the keys of the rows that live, each with its LSN (0: a read)."""
    newest: dict[int, tuple[int, bool]] = {}
    for line in lines:
        event = json.loads(line)["event"]
        lives = event["op"] != "d"
        key = event["after" if lives else "before"]["id"]
        lsn = 0 if event["op"] == "r" else event["source"]["lsn"]
        newest[key] = max(newest.get(key, (-1, lives)), (lsn, lives))
    return {key: lsn for key, (lsn, lives) in newest.items() if lives}


def replayed(recording: Path, lake: Lake, contract: TableContract) -> int:
    """Wait until the lake holds what a recording adds up to; returns its number of rows."""
    with gzip.open(recording) as file:
        expected = positions(file)

    def holds() -> bool | None:
        rows = lake.by_pyiceberg(contract.name)
        return (len(rows) == len(expected) and {row["id"]: row["cdc_lsn"] for row in rows} == expected) or None

    _until("the lake holds the recording", holds, lambda: _told(_state(lake, contract)))
    return len(expected)


def _changed(dsn: str, random: Random) -> int:
    """Insert one more row; returns its key."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        ((key,),) = connection.execute('SELECT coalesce(max(id), 0) + 1 FROM "Usuários"').fetchall()
        row = usuarios.usuario(random, key, datetime.now(UTC))
        places = ", ".join(["%s"] * len(usuarios.COLUMNS))
        connection.execute(f'INSERT INTO "Usuários" VALUES ({places})'.encode(), row)  # noqa: S608 - constants alone
    assert isinstance(key, int)
    return key


def _state(lake: Lake, contract: TableContract) -> LakeState | None:
    try:
        return lake.state(contract.name)
    except _UNREACHABLE:
        return None


def _told(state: LakeState | None) -> str:
    if state is None:
        return "the lake has no table yet"
    through = f"{state.valid_through:%H:%M:%S} UTC" if state.valid_through else "not yet proven"
    return f"the lake has {state.rows:,} rows, complete up to: {through}"


def _until(what: str, probe: Callable[[], T | None], told: Callable[[], str]) -> T:
    """Ask again and again until there is an answer, telling now and then how it stands."""
    begun = time.monotonic()
    told_at = begun
    while True:
        try:
            answer = probe()
        except _UNREACHABLE:
            answer = None
        if answer is not None:
            return answer
        now = time.monotonic()
        if now - begun > TIMEOUT_SECONDS:
            raise SandboxFault(
                f"waited {TIMEOUT_SECONDS} s in vain until {what}: {told()}",
                where="docker-compose.yml",
                hint="`docker compose ps` tells which container is unhealthy, `docker compose logs` why",
            )
        if now - told_at > _TELL_SECONDS:
            told_at = now
            _say(f"  {now - begun:.0f} s until {what}: {told()}")
        time.sleep(_POLL_SECONDS)


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.containers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("wait", help="make a change; ends when the lake shows it")
    proving = commands.add_parser("prove", help="let an application work, then compare every row")
    proving.add_argument("--seconds", type=float, default=30, help="how long the application works (default 30)")
    playing = commands.add_parser("replayed", help="end when the lake holds what a recording adds up to")
    playing.add_argument("recording", type=Path, help="a file that `cdc replay --from raw` wrote: name.jsonl.gz")
    for command in commands.choices.values():
        command.add_argument("--seed", type=int, default=1, help="seed of the choices")
    parsed = parser.parse_args(arguments)
    # A company's proxy must not stand between us and 127.0.0.1.
    os.environ.update({"NO_PROXY": LOCALHOST, "no_proxy": LOCALHOST})
    (contract,) = load_folder(ROOT / "tables")
    dsn, lake = source_dsn(os.environ), Lake(lake_settings(os.environ))
    try:
        if parsed.command == "wait":
            _say(wait(dsn, lake, contract, Random(parsed.seed)))
            return 0
        if parsed.command == "replayed":
            rows = replayed(parsed.recording, lake, contract)
            _say(f"the lake holds the recording: {rows} rows, each as of its newest change")
            return 0
        return 0 if prove(dsn, lake, contract, parsed.seconds, Random(parsed.seed)) == 0 else 1
    except CdcError as error:
        _say(f"failed: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
