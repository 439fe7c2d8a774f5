"""Connections to the source: one for replication and ordinary ones, both with settings that make text output the same
whatever the database's defaults are.

Source of the facts: Postgres 18 manual, chapters 19.11 "Client Connection Defaults" and 54.4 "Streaming Replication
Protocol".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from psycopg import conninfo

from cdc.errors import CdcError, FatalFault, TransientFault

VERSION_MIN = 140000
"""From Postgres 14 on pgoutput streams logical messages, which our heartbeats are."""
_SESSION = {
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "statement_timeout": "0",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
_REPLICATION = {"wal_sender_timeout": "60s"}
"""Ours answers every ten seconds, also while the stream is slow and nothing is read."""
_KEEPALIVES = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",  # milliseconds; keepalives say nothing while what was sent is not acknowledged
}
_PASSING_CLASSES = ("08", "53", "57P")
"""Lost connections; too many of them, memory and disk; shutdown and start-up."""
_PASSING = frozenset({"55P03", "57014"})
"""A lock was not to be had within `lock_timeout`; the query was cancelled."""
_IS_WRONG = re.compile(
    r'password authentication failed|no password supplied|(database|role) ".*" does not exist'
).search
"""What no waiting mends (28P01, 3D000, 28000), in a server's English; in another language it is tried again."""
_CANCEL_POLL_SECONDS: Final = 0.2
_CANCEL_SECONDS: Final = 5


def connect(dsn: str, *, replication: bool = False) -> psycopg.Connection:
    """A connection in autocommit mode; with `replication` to the walsender of the database.

    Raises:
        TransientFault: when it cannot be had now.
        FatalFault: when the settings are wrong, the server is too old or its encoding cannot be read.
    """
    given = conninfo.conninfo_to_dict(dsn)
    session = _SESSION | (_REPLICATION if replication else {})
    options = " ".join(f"-c {name}={value}" for name, value in session.items())
    parameters = {
        "connect_timeout": "10",
        "application_name": "cdc-publisher",
        **_KEEPALIVES,
        **{name: value for name, value in given.items() if value is not None},
        "options": f"{given.get('options') or ''} {options}".strip(),
        "client_encoding": "UTF8",
    }
    if replication:
        parameters["replication"] = "database"
    try:
        connection = psycopg.connect(autocommit=True, prepare_threshold=None, **parameters)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        raise _refusal(str(error)) from None
    if connection.info.server_version < VERSION_MIN:
        connection.close()
        raise FatalFault("the database is older than Postgres 14", where="CDC_DATABASE", hint="upgrade it")
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        connection.close()
        raise FatalFault(
            "the database's encoding is SQL_ASCII, so its text cannot be read for sure",
            where="CDC_DATABASE",
            hint="move it to a database with the encoding UTF8",
        )
    return connection


def _refusal(text: str) -> FatalFault | TransientFault:
    """Why there is no connection. libpq gives no code then; it never repeats a password."""
    what = f"cannot connect to the database: {text.splitlines()[0]}"
    reasons = [line for line in text.splitlines() if "failed: " in line]  # one for each host that was tried
    if reasons and all(_IS_WRONG(line) for line in reasons):
        return FatalFault(what, where="CDC_DATABASE", hint="give the right database, user and password")
    return TransientFault(
        what,
        where="CDC_DATABASE",
        hint="check host, port, database, user and password, and that pg_hba.conf lets this user replicate",
    )


@contextmanager
def cancelling(connection: psycopg.Connection, stop: threading.Event) -> Iterator[None]:
    """Cancel what the connection runs inside once asked to stop: who waits for a lock or a sort does not hear of it."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_CANCEL_POLL_SECONDS):
            if stop.is_set():
                with suppress(psycopg.Error):  # what it would cancel ends all the same when the connection is closed
                    connection.cancel_safe(timeout=_CANCEL_SECONDS)

    thread = threading.Thread(target=watch, name="cancel", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def is_passing(code: str | None) -> bool:
    """Whether an error of this code may mend itself; none at all means that the connection was lost."""
    return not code or code in _PASSING or code.startswith(_PASSING_CLASSES)


def fault_of(error: psycopg.Error, doing: str, where: str, hint: str) -> CdcError:
    """The fault behind a database's error: transient when the connection or the server went away, else fatal.

    Only the error's code is told: its text may quote a row.
    """
    code = error.sqlstate
    if is_passing(code):
        return TransientFault(
            f"the database did not go on {doing} ({code or 'no connection'})", where=where, hint="tried again"
        )
    name = type(error).__name__
    return FatalFault(f"the database refused {doing}: {name} ({code})", where=where, hint=hint)
