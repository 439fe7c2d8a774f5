"""Child processes: started so that nothing outlives us, watched through a log file, ended by id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cdc.errors import CdcError

LOCALHOST = "127.0.0.1"

_POLL_SECONDS = 0.02
_TAIL_BYTES = 4000

# Runs between fork and the real program: `preexec_fn` may deadlock where the parent has threads, and a program that
# runs as another user cannot reach an interpreter that lies in root's home, so the user is changed only here.
# The kernel forgets a parent-death signal when the user changes: user first, signal second; all imports before both.
_LAUNCHER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
parent, death_signal, uid, gid = map(int, sys.argv[1:5])
if uid >= 0:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if parent and sys.platform == "linux":
    libc.prctl(1, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")
os.execv(sys.argv[5], sys.argv[5:])
"""


class SandboxFault(CdcError):
    """A part of the sandbox did not start, did not answer or did not end."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and group a child runs as, for programs that refuse root."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and how it is to be ended.

    `environment` is the child's whole environment. `stop_signal` asks for a clean end; `death_signal` is what the
    kernel sends when we die without having asked.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    log: Path
    identity: Identity | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL


class Process:
    """A running child in a session of its own, so that Ctrl-C in a terminal reaches us alone and we end it in order.

    If we are killed, the kernel ends the child. It does so when the *thread* that started it ends, so this holds only
    for children started from the main thread; others would die with their thread and are left without it.
    """

    __slots__ = ("_child", "command")

    def __init__(self, command: Command) -> None:
        self.command = command
        self._child = _launch(command)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its session and process group."""
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; nothing happens if it has ended."""
        self._child.send_signal(number)

    def stop(self, timeout_seconds: float = 20) -> int:
        """Ask it to end, wait, and kill its whole group after the limit. Returns the exit status; may be repeated."""
        if self._child.poll() is None:
            self.signal(self.command.stop_signal)
        try:
            return self._child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def finish(self, timeout_seconds: float) -> int:
        """Wait for it to end by itself. Returns the exit status; after the limit it is killed and that is an error."""
        try:
            return self._child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SandboxFault(
                f"{self.command.name} did not end by itself in {timeout_seconds:g} s",
                where=str(self.command.log),
                hint=f"its last words:\n{tail(self.command.log)}",
            ) from None

    def kill(self) -> int:
        """End it and its whole group at once, as a crash would. Returns the exit status; may be repeated."""
        # Before the wait: once the leader is reaped, its group's id could belong to somebody else.
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._child.wait()

    def restart(self) -> None:
        """Run the same command anew, on the same log file; the process must have ended."""
        if self._child.poll() is None:
            raise SandboxFault(f"{self.command.name} still runs", where=f"pid {self.pid}", hint="stop or kill it first")
        self._child = _launch(self.command)

    def wait_until(self, probe: Callable[[], bool], timeout_seconds: float, what: str) -> None:
        """Wait until the probe holds, and give up at once if the process ends before that."""

        def ended_or_holds() -> bool:
            status = self.exit_status
            if status is not None:
                raise SandboxFault(
                    f"{self.command.name} ended with {status} before {what}",
                    where=str(self.command.log),
                    hint=f"its last words:\n{tail(self.command.log)}",
                )
            return probe()

        wait_until(ended_or_holds, timeout_seconds, what, log=self.command.log)


def wait_until(
    probe: Callable[[], bool],
    timeout_seconds: float,
    what: str,
    log: Path | None = None,
    poll_seconds: float = _POLL_SECONDS,
) -> None:
    """Wait until the probe holds; the error says what was awaited and shows the end of the log file."""
    deadline = time.monotonic() + timeout_seconds
    while not probe():
        if time.monotonic() >= deadline:
            last_words = f"the log's last words:\n{tail(log)}" if log else "no log file was given to look into"
            raise SandboxFault(
                f"waited {timeout_seconds:g} s in vain until {what}", where=str(log or "no log"), hint=last_words
            )
        time.sleep(poll_seconds)


def tail(log: Path) -> str:
    """The end of a log file, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip() or "(the log is empty)"
    except OSError as error:
        return f"(the log cannot be read: {error.strerror})"


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on, and that the kernel hands to nobody else for a minute."""
    # A connection that was accepted and closed leaves the port in TIME_WAIT: no bind to port 0 gets it, and a server
    # that sets SO_REUSEADDR, as all of ours do, still does.
    with socket.socket() as listener, socket.socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOCALHOST, 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.close()
        port: int = listener.getsockname()[1]
        return port


def _launch(command: Command) -> subprocess.Popen[bytes]:
    program = shutil.which(command.arguments[0])
    if program is None:
        raise SandboxFault(
            f"{command.name} cannot be run: {command.arguments[0]} is no program",
            where=str(command.directory),
            hint="install the extra `sandbox`",
        )
    parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
    identity = command.identity or Identity(-1, -1)
    launcher = (sys.executable, "-I", "-S", "-c", _LAUNCHER)
    numbers = (parent, int(command.death_signal), identity.uid, identity.gid)
    with command.log.open("ab") as log:
        return subprocess.Popen(
            [*launcher, *map(str, numbers), program, *command.arguments[1:]],
            env=dict(command.environment),
            cwd=command.directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
