"""The command `cdc contract`: writes the contract of a table from the live database, or tells drift from contracts."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml

from cdc.contract import ContractFault, TableContract, load_folder, parse_contract, parse_source_table
from cdc.errors import FatalFault, SettingsFault
from cdc.lake_name import shown, source_table
from cdc.program import EXIT_FATAL
from cdc.readers import is_cut_by_redshift, table_name_faults
from cdc_ops.connection import WHERE, connect
from cdc_ops.contract_text import contract_text
from cdc_ops.draft import Draft, draft
from cdc_ops.drift import Drift, drifts
from cdc_ops.live_table import NoTable, read_table

SUFFIX = ".odcs.yaml"
_DESCRIPTION = """\
Writes the contract of a table from the live database, with classification and mask proposed for columns whose names
look personal; or tells with --check how the database has drifted from contracts. Only the database's catalogs are
read, never a row, and no table is locked."""
_EPILOG = """\
examples:
  cdc contract --table 'public."Usuários"' --output tables/usuarios.odcs.yaml
  cdc contract --check tables

exit codes: 0 written, or no drift; 1 drift, or a fault with what to do; 2 wrong usage or contracts
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "contract",
        help="write a table's contract from the live database, or tell drift from it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dsn",
        help="the database: postgresql://user:password@host:port/database; better by CDC_DATABASE, since other users "
        "of the machine see command lines",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--table", help="write the contract of this table, like 'public.\"Usuários\"'")
    what.add_argument("--check", type=Path, metavar="PATH", help="a contract, or a folder of them, to check for drift")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this new file; by default to stdout")
    parser.add_argument("--name", help="what the table is called in the lake; by default made from its name")
    parser.add_argument(
        "--freshness-seconds", type=float, metavar="SECONDS", help="the latency that is promised (default: 60)"
    )
    parser.add_argument("--json", action="store_true", help="with --check: the drift as one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write or check; returns the exit code.

    Raises:
        SettingsFault: naming every problem of the command line at once.
        CdcError: when the database or the table stands in the way.
    """
    dsn = arguments.dsn or os.environ.get("CDC_DATABASE", "")
    problems = _usage_problems(arguments)
    if not dsn:
        problems.append(f"{WHERE}: is missing")
    if problems:
        raise SettingsFault(problems)
    if arguments.check is not None:
        return check(dsn, arguments.check, sys.stdout, as_json=arguments.json)
    schema, table = parse_source_table(arguments.table) or ("", "")
    drafted = write(dsn, schema, table, arguments.name, arguments.freshness_seconds or 60.0)
    _put(contract_text(drafted), arguments.output)
    sys.stderr.write(_told(drafted, arguments.output))
    return 0


def write(dsn: str, schema: str, table: str, name: str | None, latency_seconds: float) -> Draft:
    """The proposed contract of a live table.

    Raises:
        FatalFault: when there is no such table, or it cannot have a contract.
    """
    with connect(dsn) as connection:
        live = read_table(connection, schema, table)
    if isinstance(live, NoTable):
        meant = f"perhaps {' or '.join(live.similar)} is meant" if live.similar else "check its name and the database"
        raise FatalFault(live.reason, where=shown(source_table(schema, table)), hint=shown(meant))
    return draft(live, name, latency_seconds)


def check(dsn: str, path: Path, out: TextIO, *, as_json: bool) -> int:
    """Tell the drift of every contract at the path; 0 when there is none, else 1."""
    found: list[tuple[TableContract, tuple[Drift, ...]]] = []
    loaded = load(path)
    with connect(dsn) as connection:
        for stated in loaded:
            live = read_table(connection, stated.contract.source_schema, stated.contract.source_table)
            found.append((stated.contract, drifts(stated.contract, live, stated.required)))
    out.write(_as_json(found) if as_json else _as_text(found))
    for contract, _ in found:
        if (cut := cut_columns(contract)) and not as_json:
            sys.stderr.write(f"note: Redshift cuts values of {contract.name} past its limits: {', '.join(cut)}\n")
    return EXIT_FATAL if any(drift for _, drift in found) else 0


@dataclass(frozen=True, slots=True)
class Stated:
    """A contract, and what only --check reads of it: the source's columns of which it says that they are never null."""

    contract: TableContract
    required: frozenset[str]


def load(path: Path) -> list[Stated]:
    """The contracts of a file or folder.

    Raises:
        ContractFault: naming every problem at once.
    """
    if path.is_dir():
        load_folder(path)  # also compares the contracts with each other
    loaded = []
    for file in sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ContractFault([f"{file}: cannot be read ({type(error).__name__})"]) from None
        try:
            loaded.append(Stated(parse_contract(text), _required(text)))
        except ContractFault as fault:
            raise ContractFault([f"{file.name}: {problem}" for problem in fault.problems]) from None
    return loaded


def _required(text: str) -> frozenset[str]:
    properties = yaml.safe_load(text)["schema"][0].get("properties") or []
    return frozenset(entry.get("physicalName") or entry["name"] for entry in properties if entry.get("required"))


def _usage_problems(arguments: argparse.Namespace) -> list[str]:
    if arguments.check is None:
        problems = ["--json: goes with --check only"] if arguments.json else []
        return problems + _table_problems(arguments) + _output_problems(arguments.output)
    given = {"--output": arguments.output, "--name": arguments.name, "--freshness-seconds": arguments.freshness_seconds}
    problems = [f"{option}: goes with --table only" for option, value in given.items() if value is not None]
    return problems if arguments.check.exists() else [*problems, "--check: there is no such file or folder"]


def _table_problems(arguments: argparse.Namespace) -> list[str]:
    name, seconds = arguments.name, arguments.freshness_seconds
    problems = []
    if parse_source_table(arguments.table) is None:
        problems.append(
            "--table: names no table; write schema and table, with quotes around a name that has capitals or accents, "
            "and the whole in the shell's own: --table 'public.\"Usuários\"'"
        )
    problems += [f"--name: {fault}" for fault in table_name_faults(name)] if name is not None else []
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        problems.append("--freshness-seconds: must be more than 0")
    return problems


def _output_problems(output: Path | None) -> list[str]:
    problems = []
    if output is not None and not output.name.endswith(SUFFIX):
        problems.append(f"--output: must end with {SUFFIX}, which the programs look for")
    if output is not None and output.exists():
        problems.append("--output: exists already; --check tells what has changed, then mend it by hand")
    if output is not None and not output.parent.is_dir():
        problems.append("--output: there is no such folder")
    return problems


def _put(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FatalFault(
            f"cannot write the contract: {type(error).__name__}", where=str(output), hint="check the folder's rights"
        ) from None


def _told(drafted: Draft, output: Path | None) -> str:
    contract = drafted.contract
    proposed = [column for column in drafted.columns if column.reason]
    table = shown(source_table(contract.source_schema, contract.source_table))
    place = f" in {output}" if output else ""
    lines = [f"contract of {table}{place}: {len(drafted.columns)} columns, {len(proposed)} of them look personal"]
    lines += [
        f"  confirm {column.column.name}: {column.column.classification}, {column.column.mask}; {shown(column.reason)}"
        for column in proposed
    ]
    lines += [f"  left out {left_out}" for left_out in drafted.left_out]
    lines += [f"  mind: {shown(drafted.caution)}"] if drafted.caution else []
    return "\n".join(lines) + "\n"


def cut_columns(contract: TableContract) -> list[str]:
    """The columns of which Redshift may show only the beginning."""
    shown_whole = {"token", "redact"}
    columns = (column for column in contract.columns if column.mask not in shown_whole)
    return [column.name for column in columns if is_cut_by_redshift(column.type)]


def _as_text(found: Sequence[tuple[TableContract, tuple[Drift, ...]]]) -> str:
    lines = []
    for contract, drift in found:
        count = f"{len(drift)} difference(s)" if drift else "no drift"
        lines.append(f"{contract.name} ({shown(source_table(contract.source_schema, contract.source_table))}): {count}")
        lines += [f"  - {one}" for one in drift]
    return "\n".join(lines) + "\n"


def _as_json(found: Sequence[tuple[TableContract, tuple[Drift, ...]]]) -> str:
    tables = [
        {
            "name": contract.name,
            "source": source_table(contract.source_schema, contract.source_table),
            "drift": [asdict(one) for one in drift],
            "cut_by_redshift": cut_columns(contract),
        }
        for contract, drift in found
    ]
    return json.dumps({"drift": any(drift for _, drift in found), "tables": tables}, ensure_ascii=False) + "\n"
