"""Run of `cdc erase`: opens the catalog, looks at what knows the key, erases where that is agreed, and tells counts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import msgspec

from cdc.contract import TableContract
from cdc.errors import FatalFault, SettingsFault
from cdc_ops.erase_command import EraseSettings
from compactor.lake.catalog import open_catalog
from compactor.lake.erase import as_stored, erase, known
from compactor.lake.faults import reaching
from compactor.lake.landing import CommitConflict


def run_erase(
    settings: EraseSettings, contract: TableContract, given: Mapping[str, object], arguments: argparse.Namespace
) -> int:
    """Do what was asked; returns the exit code.

    Raises:
        SettingsFault: when a value is none of its column's type.
        CdcError: when something cannot be read or written; what was erased until then stays erased.
    """
    catalog, place = open_catalog(settings.catalog, is_to_be_made=False), f"{settings.catalog}.{contract.name}"
    try:
        with reaching(place):
            try:
                key = as_stored(catalog, settings.catalog, contract.name, given)
            except ValueError as error:
                raise SettingsFault([f"key: {error}"]) from None
            act = erase if arguments.yes else known
            found = act(catalog, settings.catalog, contract.name, key)
    except CommitConflict:
        raise FatalFault(
            "another writer committed meanwhile; what was erased until then stays erased",
            where=place,
            hint="stop the compactor, and run this again",
        ) from None
    document = {
        "version": 1, "table": contract.name, "is_dry_run": not arguments.yes, "rows": found.rows, "files": found.files,
    }  # fmt: skip
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n" if arguments.json else _as_text(document))
    return 0


def _as_text(document: Mapping[str, object]) -> str:
    table, rows, files = document["table"], f"{document['rows']:,} rows", f"{document['files']:,} files"
    if document["is_dry_run"]:
        return f"{table}: {rows} in {files} know this key; nothing was erased: stop the compactor, and add --yes\n"
    return f"{table}: {rows} erased, {files} written anew; start the compactor (docs/lgpd.md)\n"
