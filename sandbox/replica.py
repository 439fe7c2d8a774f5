"""Replica: a streaming replica of a sandbox Postgres, on 127.0.0.1 only, to read from as production would."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

from sandbox.postgres import Postgres, environment, home_of, programs_of, server_user
from sandbox.process import LOCALHOST, Command, Process, SandboxFault, free_port, tail
from sandbox.server import Server

_COPY_SECONDS = 120
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Replica(Server):
    """A running hot standby; `dsn` and `dsn_admin` log in as on the primary."""

    dsn: str
    dsn_admin: str
    process: Process
    home: Path

    @classmethod
    def start(cls, primary: Postgres, directory: Path) -> Self:
        """Copy the primary and follow it; returns when the replica takes connections."""
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        user = server_user()
        home = home_of(directory, user)
        try:
            programs, port, log = programs_of(home, user), free_port(), directory / "replica.log"
            arguments = ("--pgdata", str(home / "data"), "--dbname", primary.dsn_admin, "--write-recovery-conf")
            copying = Process(
                Command(
                    name="pg_basebackup",
                    arguments=(str(programs / "pg_basebackup"), *arguments, "--checkpoint=fast", "--no-sync"),
                    environment=environment(),
                    directory=home,
                    log=log,
                    identity=user,
                )
            )
            _finish(copying, log)
            process = Process(
                Command(
                    name="replica",
                    arguments=(str(programs / "postgres"), "-D", str(home / "data"), "-p", str(port)),
                    environment=environment(),
                    directory=home,
                    log=log,
                    identity=user,
                    stop_signal=signal.SIGQUIT,
                    death_signal=signal.SIGQUIT,
                )
            )
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise
        at, of = f"{LOCALHOST}:{port}", f"{LOCALHOST}:{primary.port}"
        replica = cls(primary.dsn.replace(of, at), primary.dsn_admin.replace(of, at), process, home)
        try:
            process.wait_until(replica._answers, _START_SECONDS, "the replica takes connections")
        except BaseException:
            replica.stop()
            raise
        return replica

    def stop(self) -> None:
        """End the replica and remove its data; may be repeated."""
        self.process.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn_admin, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _finish(copying: Process, log: Path) -> None:
    try:
        status = copying.finish(_COPY_SECONDS)
    finally:
        copying.kill()
    if status != 0:
        raise SandboxFault(f"pg_basebackup ended with {status}", where=str(log), hint=tail(log))
