"""Run of `cdc erase`: opens the catalog, looks at what knows the key, erases where that is agreed, and tells counts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import msgspec

from cdc.contract import TableContract
from cdc.errors import SettingsFault
from cdc_ops.erase_command import EraseSettings
from compactor.lake.catalog import open_catalog
from compactor.lake.erase import Known, as_stored, erase, known
from compactor.lake.faults import reaching


def run_erase(
    settings: EraseSettings, contract: TableContract, given: Mapping[str, object], arguments: argparse.Namespace
) -> int:
    """Do what was asked; returns the exit code.

    Raises:
        SettingsFault: when a value is none of its column's type.
        CdcError: when something cannot be read or written; what was erased until then stays erased.
    """
    catalog, place = open_catalog(settings.catalog, is_to_be_made=False), f"{settings.catalog}.{contract.name}"
    with reaching(place):
        try:
            key = as_stored(catalog, settings.catalog, contract.name, given)
        except ValueError as error:
            raise SettingsFault([f"key: {error}"]) from None
        act = erase if arguments.yes else known
        found = act(catalog, settings.catalog, contract.name, key)
    document = {
        "version": 1, "table": contract.name, "is_dry_run": not arguments.yes, "rows": found.rows, "files": found.files,
        "is_alive": found.is_alive, "older_files": found.older_files,
    }  # fmt: skip
    told = msgspec.json.encode(document).decode() if arguments.json else _as_text(contract.name, found, arguments)
    sys.stdout.write(told + "\n")
    return 0


def _as_text(table: str, found: Known, arguments: argparse.Namespace) -> str:
    rows, files = f"{found.rows:,} rows", f"{found.files:,} files"
    if arguments.yes:
        return f"{table}: {rows} erased, {files} written anew; start the compactor (docs/lgpd.md)"
    if found.is_nothing:
        return f"{table}: nobody has this key; a masked column is given as its token"
    older = f"{found.older_files:,} files of older snapshots"
    if found.is_unfinished:
        return f"{table}: 0 rows, but {older} know this key; not finished: run again with --yes"
    state, next_ = (
        ("alive", "delete it at the source first") if found.is_alive else ("gone", "stop the compactor, and add --yes")
    )
    return f"{table}: {rows} in {files}, and {older}, know this key; the row is {state}; nothing was erased: {next_}"
