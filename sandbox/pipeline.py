"""The whole pipeline on this machine: database, AWS services, and the three programs as the processes they are."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from cdc.contract import TableContract, load_folder
from sandbox.aws import LAKE_BUCKET, Aws
from sandbox.lake import Lake
from sandbox.postgres import Postgres
from sandbox.process import Command, Process, SandboxFault, wait_until

ROOT = Path(__file__).resolve().parent.parent
STREAM = "usuarios"
PII_KEY = "the sandbox's masking key; production has its own in Secrets Manager"
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "cdc-publisher": ("run",),
    "cdc-consumer": ("run",),
    "compactor": ("run",),
}
_STOP_SECONDS = 30
_OTHERS = ("CDC_", "AWS_", "PYICEBERG_", "PG")
_LOCAL = "127.0.0.1,localhost"


@dataclass(frozen=True, slots=True)
class Pace:
    """How hurried the pipeline is; the defaults suit a demo of a minute."""

    shards: int = 4
    heartbeat_seconds: float = 1
    batch_age_seconds: float = 1
    compact_interval_seconds: float = 2
    lease_seconds: float = 3


@dataclass(slots=True)
class Pipeline:
    """A running pipeline. Programs can be killed and started again one by one; `told` has settings for some of them."""

    directory: Path
    pace: Pace = field(default_factory=Pace)
    told: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    postgres: Postgres = field(init=False)
    aws: Aws = field(init=False)

    def __enter__(self) -> Self:
        """Start the database and the services that the programs need; the programs are started by `start`."""
        with ExitStack() as stack:
            self.postgres = stack.enter_context(Postgres.start(self.directory / "postgres"))
            self.aws = stack.enter_context(Aws.start(self.directory / "aws"))
            stack.callback(self._end_programs)
            self.aws.create_bucket(LAKE_BUCKET)
            self.aws.create_stream(STREAM, self.pace.shards)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def contract(self) -> TableContract:
        """The founding contract."""
        (contract,) = load_folder(ROOT / "tables")
        return contract

    def environment(self) -> dict[str, str]:
        """The settings of all three programs, as production would set them."""
        return {
            **_neutral(os.environ),
            **self.aws.environment(),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "services"))),
            "CDC_SOURCE": f"kinesis://{STREAM}",
            "CDC_DATABASE": self.postgres.dsn,
            "CDC_TABLES": str(ROOT / "tables"),
            "CDC_RAW": f"s3://{LAKE_BUCKET}/raw",
            "CDC_QUARANTINE": f"s3://{LAKE_BUCKET}/quarantine",
            "CDC_LEASES": "usuarios-cdc-leases",
            "CDC_LEASE_SECONDS": str(self.pace.lease_seconds),
            "CDC_BATCH_AGE_SECONDS": str(self.pace.batch_age_seconds),
            "CDC_COMPACT_INTERVAL_SECONDS": str(self.pace.compact_interval_seconds),
            "CDC_HEARTBEAT_SECONDS": str(self.pace.heartbeat_seconds),
            "CDC_PII_KEY": PII_KEY,
        }

    def lake(self) -> Lake:
        """A reader of the lake."""
        return Lake(self.aws.environment())

    def start(self, *names: str) -> None:
        """Start programs (all of them when none is named), or start them again after `kill`."""
        for name in names or PROGRAMS:
            module = name.replace("-", "_")
            self.processes[name] = Process(
                Command(
                    name=name,
                    arguments=(
                        sys.executable,
                        "-c",
                        f"import sys; from {module}.cli import main; sys.exit(main(sys.argv[1:]))",
                        *PROGRAMS[name],
                    ),
                    environment={**self.environment(), **self.told.get(name, {})},
                    directory=self.directory,
                    log=self.directory / f"{name}.log",
                )
            )

    def kill(self, *names: str) -> None:
        """End programs with SIGKILL, as a machine that fails would."""
        for name in names:
            self.processes.pop(name).kill()

    def stop(self) -> None:
        """Stop all programs as an operator would.

        Raises:
            SandboxFault: when one does not end with 0 within a time that an orchestrator would grant.
        """
        for name, process in self.processes.items():
            process.signal(signal.SIGTERM)
            status = process.finish(_STOP_SECONDS)
            if status != 0:
                raise SandboxFault(f"{name} ended with {status} when it was stopped", where=self._log(name))
        self.processes.clear()

    def check(self) -> None:
        """Raise when a program has ended by itself."""
        for name, process in self.processes.items():
            status = process.exit_status
            if status is not None:
                raise SandboxFault(
                    f"{name} has ended with {status}", where=self._log(name), hint="its last lines say why"
                )

    def source_clock(self) -> datetime:
        """The time at the source; all that was committed before is older."""
        with psycopg.connect(self.postgres.dsn) as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        moment: datetime = row[0]
        return moment

    def wait_until_complete(self, moment: datetime, timeout_seconds: float) -> None:
        """Wait until the lake says that it holds everything committed at the source up to a moment."""
        lake = self.lake()

        def is_complete() -> bool:
            self.check()
            state = lake.state(self.contract.name)
            return state is not None and state.valid_through is not None and state.valid_through >= moment

        wait_until(is_complete, timeout_seconds, "the lake is complete up to now", poll_seconds=0.5)

    def _end_programs(self) -> None:
        for process in self.processes.values():
            process.stop()
        self.processes.clear()

    def _log(self, name: str) -> str:
        return str(self.directory / f"{name}.log")


def _neutral(environ: Mapping[str, str]) -> dict[str, str]:
    """What the programs may inherit: no settings of another system, and no proxy between us and 127.0.0.1."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_OTHERS)}
    return {**kept, "NO_PROXY": _LOCAL, "no_proxy": _LOCAL}
