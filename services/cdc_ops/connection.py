"""Connection to the source for reading its catalogs: read-only, short-lived, and silent about the password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import conninfo

from cdc.errors import FatalFault, SettingsFault, TransientFault

WHERE = "CDC_DATABASE or --dsn"
# An empty search path makes the catalog write every name that is not its own with its schema.
_SESSION = (
    "-c default_transaction_read_only=on -c search_path=pg_catalog -c statement_timeout=60s -c lock_timeout=10s"
    " -c default_transaction_isolation=repeatable\\ read"
)
_PORTS = re.compile(r"\d*(,\d*)*")


@contextmanager
def connect(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection in one read-only transaction, so that all answers are of one moment.

    Raises:
        SettingsFault: when the DSN is none.
        TransientFault: when the server cannot be reached now.
        FatalFault: when it refuses, or its text cannot be read.
    """
    with open_connection(dsn, _SESSION) as connection:
        try:
            yield connection
        except psycopg.Error as error:
            raise FatalFault(
                f"the database refused what was asked of its catalogs: {type(error).__name__}"
                f" ({error.sqlstate or 'no connection'})",
                where=WHERE,
                hint="see the server's log, and try again",
            ) from None


def open_connection(dsn: str, session: str, *, autocommit: bool = False) -> psycopg.Connection:
    """A connection with some options of the session; with `autocommit` each statement is its own transaction.

    Raises as `connect` does.
    """
    given = _parameters(dsn)
    parameters = {
        "connect_timeout": "10",
        "application_name": "cdc",
        **given,
        "options": f"{given.get('options') or ''} {session}".strip(),
        "client_encoding": "UTF8",
    }
    try:
        connection = psycopg.connect(autocommit=autocommit, prepare_threshold=None, **parameters)
    except psycopg.Error as error:
        raise TransientFault(
            f"cannot connect to the database: {_without_secrets(error, given)}",
            where=WHERE,
            hint="check host, port, database, user and password",
        ) from None
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        connection.close()
        raise FatalFault(
            "the database's encoding is SQL_ASCII, so its names cannot be read for sure",
            where=WHERE,
            hint="move it to a database with the encoding UTF8",
        )
    return connection


def _parameters(dsn: str) -> Mapping[str, Any]:
    try:
        given = {name: value for name, value in conninfo.conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.Error:
        # libpq's message quotes what it could not read, which may be the password.
        raise SettingsFault(
            [f"{WHERE}: is no connection string, like postgresql://user:password@host:5432/database"]
        ) from None
    # A password with @, : or / that is not encoded ends up in host, port or database, whose values errors do quote.
    torn = [name for name in ("host", "port", "dbname") if "@" in str(given.get(name, ""))]
    if torn or not _PORTS.fullmatch(str(given.get("port", ""))):
        raise SettingsFault(
            [f"{WHERE}: host, port or database make no sense; write @ : / % # in the password as %40 %3A %2F %25 %23"]
        )
    return given


def _without_secrets(error: psycopg.Error, given: Mapping[str, Any]) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    for name in ("password", "sslpassword"):
        if secret := str(given.get(name, "")):
            text = text.replace(secret, "***")
    return text
