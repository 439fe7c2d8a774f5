"""Slot: how the publication and the replication slot begin, live and are found again after any crash.

The state is kept in the slots' names and the publication's comment, and never in the source's tables:

    no slot, publication unmarked    → fresh: make `<slot>_backfill`, read every table as of that slot's start
    only `<slot>_backfill`           → the backfill was interrupted: read all again; that slot has every change since
    `<slot>` (and maybe the other)   → stream
    no slot, publication marked      → the slot was lost after the backfill, and changes with it: a new epoch
    a slot that the server gave up   → the same, once what is left of the slots is dropped
    a slot, but no publication       → the log between cannot be read any more: stop loudly

A new epoch is a backfill as at the start, of which the stream is told: what it does not find is gone at the source.

When the stream has every row of the backfill, the mark is set, then `<slot>` made as a copy, then `<slot>_backfill`
dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import psycopg
from psycopg import sql

from cdc.errors import FatalFault
from cdc.position import parse_lsn
from cdc.telemetry import get_log
from cdc_publisher import metrics
from cdc_publisher.connection import fault_of

_log = get_log(__name__)

MARK: Final = "usuarios-cdc: backfill complete"
"""The publication's comment once the backfill is complete."""
BACKFILL_SUFFIX: Final = "_backfill"
_NEW_EPOCH: Final = "drop what is left of the slots and start again, for a new backfill in a new epoch"


class Begin(Enum):
    """What to do first."""

    FRESH_BACKFILL = "make the slot and read every table"
    REPEATED_BACKFILL = "read every table again; the slot of the interrupted backfill has every change since"
    STREAM = "stream"
    NEW_EPOCH = "changes were lost: make the slot anew and read every table in a new epoch"

    @property
    def makes_slot(self) -> bool:
        """Whether the backfill begins with a slot of its own."""
        return self in {Begin.FRESH_BACKFILL, Begin.NEW_EPOCH}


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot that exists: whether it can still be read, and up to where it is confirmed."""

    is_lost: bool
    plugin: str
    confirmed_lsn: int


@dataclass(frozen=True, slots=True)
class SourceState:
    """What the source says of our slots and of the publication."""

    slot: SlotState | None
    backfill_slot: SlotState | None
    has_publication: bool
    is_marked: bool


def decide(name: str, state: SourceState) -> Begin:
    """What to do first.

    Raises:
        FatalFault: when going on would hide that changes were lost.
    """
    current = state.slot or state.backfill_slot
    if current is None:
        return Begin.NEW_EPOCH if state.is_marked else Begin.FRESH_BACKFILL
    if current.plugin != "pgoutput":
        raise FatalFault(
            f"the slot belongs to the plug-in {current.plugin}, not pgoutput",
            where=f"slot {name}",
            hint="choose another name by CDC_SLOT",
        )
    if not state.has_publication:
        # Made anew, it would not hold for what the log has already, and Postgres skips that silently from 18 on.
        raise FatalFault(
            "the publication is gone although its slot is there", where=f"publication {name}", hint=_NEW_EPOCH
        )
    if current.is_lost:
        return Begin.NEW_EPOCH
    return Begin.STREAM if state.slot is not None else Begin.REPEATED_BACKFILL


def read_state(connection: psycopg.Connection, name: str) -> SourceState:
    """What the source says now."""
    names = [name, name + BACKFILL_SUFFIX]
    slots = {
        row[0]: SlotState(is_lost=row[1], plugin=row[2] or "", confirmed_lsn=parse_lsn(row[3] or "0/0"))
        for row in connection.execute(
            "SELECT slot_name, coalesce(wal_status = 'lost', false), plugin, confirmed_flush_lsn::text "
            "FROM pg_replication_slots WHERE slot_name = ANY(%s) AND database = current_database()",
            [names],
        )
    }
    marked = connection.execute(
        "SELECT obj_description(oid, 'pg_publication') = %s FROM pg_publication WHERE pubname = %s", [MARK, name]
    ).fetchone()
    return SourceState(slots.get(names[0]), slots.get(names[1]), marked is not None, bool(marked and marked[0]))


def watch_slots(connection: psycopg.Connection, name: str) -> None:
    """Show how much log our slots hold back, and whether the server is about to throw some of it away, or has.

    `unreserved` and `lost` are past max_slot_wal_keep_size (Postgres 18 manual, "pg_replication_slots").
    """
    row = connection.execute(
        "SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)::bigint, "
        "coalesce(bool_or(wal_status IN ('unreserved', 'lost')), false) FROM pg_replication_slots "
        "WHERE slot_name = ANY(%s) AND database = current_database()",
        [[name, name + BACKFILL_SUFFIX]],
    ).fetchone()
    assert row is not None
    metrics.SLOT_RETAINED_BYTES.set(row[0])
    metrics.SLOT_AT_RISK.set(row[1])


def complete_backfill(connection: psycopg.Connection, name: str) -> None:
    """The stream has every row: mark the publication, then turn the slot of the backfill into the one that streams."""
    mark(connection, name)
    backfill = name + BACKFILL_SUFFIX
    try:
        connection.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", [backfill, name])
    except psycopg.Error as error:
        raise fault_of(error, "copying the slot", f"slot {backfill}", _NEW_EPOCH) from None
    drop_backfill_slot(connection, name)


def drop_lost_slots(connection: psycopg.Connection, name: str) -> None:
    """Remove what is left of slots whose changes the server threw away.

    Raises:
        FatalFault: when it must not.
    """
    try:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ANY(%s) "
            "AND database = current_database() AND NOT active",
            [[name, name + BACKFILL_SUFFIX]],
        )
    except psycopg.Error as error:
        raise fault_of(error, "dropping a lost slot", f"slot {name}", _NEW_EPOCH) from None


def drop_backfill_slot(connection: psycopg.Connection, name: str) -> None:
    """Remove the slot of the backfill if it is still there, so that it keeps no log back."""
    try:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active",
            [name + BACKFILL_SUFFIX],
        )
    except psycopg.Error as error:
        hint = "drop it by hand: it keeps the log from being recycled"
        raise fault_of(error, "dropping a slot", f"slot {name}{BACKFILL_SUFFIX}", hint) from None


def mark(connection: psycopg.Connection, name: str) -> None:
    """Note at the source that the backfill is complete, so that a slot lost later is known to have been lost."""
    command = sql.SQL("COMMENT ON PUBLICATION {} IS {}").format(sql.Identifier(name), sql.Literal(MARK))
    try:
        connection.execute(command)
    except psycopg.errors.InsufficientPrivilege:
        _log.warning(
            "cannot mark the publication",
            publication=name,
            hint=f"its owner should run: COMMENT ON PUBLICATION {name} IS '{MARK}'; else a lost slot goes unnoticed",
        )
    except psycopg.Error as error:
        raise fault_of(error, "marking the publication", f"publication {name}", "see the server's log") from None
