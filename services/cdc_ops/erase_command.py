"""The command `cdc erase`: takes a person's rows out of a table and its history, delete markers and all."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from cdc.contract import SENSITIVE, ContractsSetting, TableContract
from cdc.errors import SettingsFault
from cdc.settings import CATALOG_DESCRIPTION, CatalogSetting, Settings, describe, load

_DESCRIPTION = """\
Erases every state of a key from a table and its history: files that know it are written anew without it, and older
snapshots are forgotten. Without --yes it only tells how much there is, and whether the row is alive: a living one is
not erased. Delete it at the source first, and stop the compactor; docs/lgpd.md has the steps. Raw and the quarantine
are not touched: they expire by themselves."""
_EPILOG = """
examples:
  cdc erase usuarios --key id=42                   # how many rows and files know it
  cdc erase usuarios --key id=42 --yes             # compactor stopped: erase them
  cdc erase clientes --key-from key.json --yes     # {"cpf":"<token>"}: of a personal key

exit codes: 0 done, or told; 1 the row is alive, nobody has the key, a fault, or another writer; 2 wrong usage, settings
or contracts
"""
STDIN = "-"


class EraseSettings(Settings):
    """What `cdc erase` reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    catalog: CatalogSetting = Field(default="lake", alias="CDC_CATALOG", description=CATALOG_DESCRIPTION)


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "erase",
        help="erase every state of a key from a table and its history",
        description=_DESCRIPTION,
        epilog=describe(EraseSettings) + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("table", help="the lake table")
    parser.add_argument(
        "--key",
        action="append",
        metavar="COLUMN=VALUE",
        help="a column of the key; once for each. Others see a command line, so a personal key is refused here",
    )
    parser.add_argument(
        "--key-from",
        metavar="FILE",
        help="the key as one JSON object, as the lake has it: a masked column as its token; - reads stdin",
    )
    parser.add_argument("--yes", action="store_true", help="erase; without it nothing is changed")
    parser.add_argument("--json", action="store_true", help="what was found or erased as one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look, or erase; returns the exit code.

    Raises:
        SettingsFault: naming every problem at once, and no value of a key.
        CdcError: when something stands in the way.
    """
    problems: list[str] = []
    try:
        settings = load(EraseSettings, os.environ)
    except SettingsFault as fault:
        problems += fault.problems
        settings = None
    contract = None
    if settings is not None:
        contract = next((contract for contract in settings.tables if contract.name == arguments.table), None)
        if contract is None:
            problems.append("table: no contract has that name; give its name in the lake")
    key = given_key(arguments, contract, problems)
    if problems or settings is None or contract is None:
        raise SettingsFault(problems)
    # Loading pyiceberg takes a second or two, which the other commands need not wait for.
    from cdc_ops.erase_run import run_erase  # noqa: PLC0415

    return run_erase(settings, contract, key, arguments)


def given_key(
    arguments: argparse.Namespace, contract: TableContract | None, problems: list[str]
) -> Mapping[str, object]:
    """The key by column, as it was given; what is wrong with it is added to the problems, without a value."""
    if (arguments.key is None) == (arguments.key_from is None):
        problems.append("--key or --key-from: one of them, and not both")
        return {}
    if arguments.key is not None:
        pairs = [text.partition("=") for text in arguments.key]
        if not all(name and mark for name, mark, _ in pairs):
            problems.append("--key: not of the form COLUMN=VALUE")
            return {}
        key: Mapping[str, object] = {name: value for name, _, value in pairs}
        option = "--key"
        if contract is not None:
            problems += [
                f"--key: {column.name} is personal, and a command line is seen by others; use --key-from"
                for column in contract.columns
                if column.name in key and (column.classification in SENSITIVE or column.mask != "clear")
            ]
    else:
        option = "--key-from"
        try:
            key = read_key(arguments.key_from)
        except (OSError, ValueError):
            problems.append(
                "--key-from: cannot be read, or is not one JSON object of texts and integers, each name once"
            )
            return {}
    if contract is not None and (set(key) != set(contract.key) or len(arguments.key or key) != len(key)):
        problems.append(f"{option}: must have each column of the key once, and no other: {', '.join(contract.key)}")
    return key


def read_key(path: str) -> Mapping[str, object]:
    """The key that a file has, or stdin.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is no JSON object of texts and numbers, or has a name twice.
    """
    if path == STDIN:
        text = sys.stdin.read()
    else:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as stdin, a name that is given
            text = file.read()
    key = json.loads(text, object_pairs_hook=_once_each)
    if not isinstance(key, dict) or not all(type(value) in (str, int) for value in key.values()):
        raise ValueError
    return key


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object that has these members; JSON itself would let the last of a name win in silence."""
    key = dict(pairs)
    if len(key) != len(pairs):
        raise ValueError
    return key
