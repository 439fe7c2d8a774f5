"""Connections to the source: one for replication and ordinary ones, both with settings that make text output the same
whatever the database's defaults are.

Source of the facts: Postgres 18 manual, chapters 19.11 "Client Connection Defaults" and 54.4 "Streaming Replication
Protocol".
"""

from __future__ import annotations

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
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
_REPLICATION = {"wal_sender_timeout": "60s"}
"""Ours answers every ten seconds, also while the stream is slow and nothing is read."""
_KEEPALIVES = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
_GONE_FOR_NOW = frozenset({
    "57P01", "57P02", "57P03", "57P04", "57P05", "53300", "53200", "53400", "08000", "08003", "08006", "08001", "08004",
})  # fmt: skip
"""Shutdown, start-up, too many connections, memory, lost connections."""


def connect(dsn: str, *, replication: bool = False) -> psycopg.Connection:
    """A connection in autocommit mode; with `replication` to the walsender of the database.

    Raises:
        TransientFault: when it cannot be had now.
        FatalFault: when the server is too old or its encoding cannot be read.
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
        # libpq never repeats a password here.
        raise TransientFault(
            f"cannot connect to the database: {str(error).splitlines()[0]}",
            where="CDC_DATABASE",
            hint="check host, port, database, user and password, and that pg_hba.conf lets this user replicate",
        ) from None
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


def fault_of(error: psycopg.Error, doing: str, where: str, hint: str) -> CdcError:
    """The fault behind a database's error: transient when the connection or the server went away, else fatal.

    Only the error's code is told: its text may quote a row.
    """
    code = error.sqlstate
    if code is None or code in _GONE_FOR_NOW:
        return TransientFault(
            f"lost the database while {doing} ({code or 'no connection'})", where=where, hint="tried again"
        )
    name = type(error).__name__
    return FatalFault(f"the database refused {doing}: {name} ({code})", where=where, hint=hint)
