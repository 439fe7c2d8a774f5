"""Landing: a commit is tried until it is in the table, whatever the catalog answers; what it asserts of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableResponse
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertLastAssignedFieldId,
    AssertRefSnapshotId,
    AssertTableUUID,
    SetCurrentSchemaUpdate,
    TableRequirement,
    TableUpdate,
)

from cdc.errors import CdcError, TransientFault
from compactor.lake.faults import raise_if_denied
from compactor.lake.table import LakeTable

_TRIES_MAX: Final = 5


class CommitConflict(CdcError):
    """Another writer committed first; what was planned against the old head must be planned anew."""


def with_schema(
    metadata: TableMetadata, schema: Schema | None, *, is_hidden: bool
) -> tuple[TableMetadata, tuple[TableUpdate, ...]]:
    """The metadata by which rows of a schema are written, and what a commit must say to have the table know it."""
    if schema is None:
        return metadata, ()
    known = next((other for other in metadata.schemas if other == schema), None)
    new_id = max(other.schema_id for other in metadata.schemas) + 1
    schema = known or schema.model_copy(update={"schema_id": new_id})
    added = () if known else (AddSchemaUpdate(schema_=schema),)
    shown = () if is_hidden else (SetCurrentSchemaUpdate(schema_id=schema.schema_id),)
    schemas = metadata.schemas if known else [*metadata.schemas, schema]
    return metadata.model_copy(update={"schemas": schemas, "current_schema_id": schema.schema_id}), (*added, *shown)


def requirements(base: TableMetadata) -> tuple[TableRequirement, ...]:
    """That nothing of the table has moved since it was loaded: rows, columns, and the numbers given to columns."""
    return (
        AssertTableUUID(uuid=base.table_uuid),
        AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=base.current_snapshot_id),
        AssertCurrentSchemaId(current_schema_id=base.current_schema_id),
        AssertLastAssignedFieldId(last_assigned_field_id=base.last_column_id),
    )


def until_landed(
    lake: LakeTable,
    base: TableMetadata,
    attempt: Callable[[], CommitTableResponse],
    has_landed: Callable[[], bool],
    head: int | None,
    sleep: Callable[[float], None],
) -> None:
    """Try a commit that was made for `base` until it is in the table, whatever the answers say; `head` is the snapshot
    then.

    An answer that it landed has the new metadata. Without one, only the table as it is loaded anew can tell.

    Raises:
        CommitConflict: the head is another writer's.
        TransientFault: the outcome is unknown, or nothing landed in several tries.
    """
    was = (base.current_snapshot_id, base.last_column_id, base.current_schema_id)
    failure: Exception | None = None
    for number in range(_TRIES_MAX):
        try:
            answer = attempt()
        except Exception as error:  # noqa: BLE001 - whatever went wrong, only the table can say whether it landed
            answer, failure = None, error
        try:
            if answer is None or not lake.take_answer(answer):
                lake.refresh()
        except Exception as error:
            raise TransientFault(
                f"the table cannot be loaded after a commit: {type(error).__name__}",
                where=lake.name,
                hint="whether the commit landed shows when it can be loaded again",
            ) from error
        if has_landed():
            if lake.snapshot_id != head:
                raise CommitConflict("our commit landed, and another writer's behind it", where=lake.name)
            return
        moved = (lake.snapshot_id, lake.table.metadata.last_column_id, lake.table.metadata.current_schema_id)
        if moved != was:
            raise CommitConflict("another writer committed first", where=lake.name)
        sleep(0.1 * 2**number)
    if failure is not None:
        raise_if_denied(failure, lake.name)
    raise TransientFault(
        f"the commit did not land in {_TRIES_MAX} tries: {type(failure).__name__}",
        where=lake.name,
        hint="load the table and look before trying again; a late answer may still land",
    ) from failure
