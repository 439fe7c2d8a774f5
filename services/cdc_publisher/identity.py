"""Identity: which database this is, wherever it is reached, so that another one is never taken for it.

Source of the facts: Postgres 18 manual, chapter 54.4: IDENTIFY_SYSTEM gives the system identifier, which initdb makes
up. It stays in a physical copy (a restored backup, a promoted standby) and is another one after a major upgrade or in a
logical copy. A server has one for all of its databases, hence the oid.
"""

from __future__ import annotations

from contextlib import closing

import psycopg

from cdc_publisher.connection import connect, fault_of

_HINT = "the user needs REPLICATION"


def identity(dsn: str) -> str:
    """`<system identifier>/<oid of the database>`.

    Raises:
        CdcError: when the database cannot be asked.
    """
    try:
        with closing(connect(dsn, replication=True)) as connection:
            system = connection.execute("IDENTIFY_SYSTEM").fetchone()
            oid = connection.execute("SELECT oid::text FROM pg_database WHERE datname = current_database()").fetchone()
    except psycopg.Error as error:
        raise fault_of(error, "telling which system it is", "CDC_DATABASE", _HINT) from None
    assert system is not None
    assert oid is not None
    return f"{system[0]}/{oid[0]}"
