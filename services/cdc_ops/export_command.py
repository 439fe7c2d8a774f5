"""The command `cdc export`: the present rows of a table out of raw alone, as one Parquet file on this machine."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr

from cdc.contract import ContractsSetting
from cdc.errors import SettingsFault
from cdc.settings import S3Setting, Settings, describe, load

_DESCRIPTION = """\
Writes the present rows of a table, as raw tells them, to one Parquet file: masked, typed, in the order of the key, with
the columns that the lake's table has. Raw is only read; neither lake nor catalog nor database is asked. Where raw alone
does not tell the rows it is refused. docs/export.md has more."""
_EPILOG = """
examples:
  cdc export usuarios --to usuarios.parquet

exit codes: 0 written; 1 refused, or a fault; 2 wrong usage or settings
"""


class ExportSettings(Settings):
    """What `cdc export` reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    raw: S3Setting = Field(alias="CDC_RAW", description="the raw zone, s3://bucket/prefix")
    pii_key: SecretStr = Field(
        default=SecretStr(""),
        alias="CDC_PII_KEY",
        description="the masking key, which makes the tokens; needed where the contract masks a column by token",
    )


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write a table's present rows, out of raw alone, to a Parquet file",
        description=_DESCRIPTION,
        epilog=describe(ExportSettings) + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("table", help="the lake table")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="the file, which must not be there yet")
    parser.add_argument("--json", action="store_true", help="what was written as one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read raw, write the file; returns the exit code.

    Raises:
        SettingsFault: naming every problem at once.
        CdcError: when raw alone does not tell the rows, or something stands in the way.
    """
    settings = load(ExportSettings, os.environ)
    contract = next((contract for contract in settings.tables if contract.name == arguments.table), None)
    problems = [] if contract is not None else ["table: no contract has that name; give its name in the lake"]
    problems += _problems_of_target(arguments.to)
    if (
        contract is not None
        and not settings.pii_key.get_secret_value()
        and any(column.mask == "token" for column in contract.columns)
    ):
        problems.append("CDC_PII_KEY: is not set, but the contract masks columns by token")
    if problems or contract is None:
        raise SettingsFault(problems)
    # Loading pyarrow takes its time, which the other commands need not wait for.
    from cdc_ops.export_run import run_export  # noqa: PLC0415

    return run_export(settings, contract, arguments)


def _problems_of_target(path: Path) -> list[str]:
    """Why a file cannot be made there, found by making a nameless one: at the end, all reading would be in vain."""
    folder = path.absolute().parent
    try:
        if not folder.is_dir():
            return ["--to: its folder is not there"]
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        return [f"--to: cannot be written: {error.strerror}"]
    else:
        return ["--to: there is such a file; nothing is overwritten"]
    try:
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        return [f"--to: no file can be made in its folder: {error.strerror}"]
