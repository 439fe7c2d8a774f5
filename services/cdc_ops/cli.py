"""The command `cdc`: one sub-command for each thing that operators do by hand."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from cdc.contract import ContractFault
from cdc.errors import CdcError, SettingsFault
from cdc.program import EXIT_FATAL, EXIT_USAGE
from cdc_ops import (
    contract_command,
    epoch_command,
    erase_command,
    export_command,
    rebuild_command,
    reconcile_command,
    replay_command,
    status_command,
)
from cdc_ops.command_line import Parser
from cdc_ops.draft import UnfitTable


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code.

    0 done, 1 a fault or a difference that was looked for, 2 wrong usage, settings or contracts.
    """
    parser = Parser(prog="cdc", description="The operators' tool of usuarios-cdc.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    contract_command.add_parser(commands)
    replay_command.add_parser(commands)
    status_command.add_parser(commands)
    epoch_command.add_parser(commands)
    reconcile_command.add_parser(commands)
    rebuild_command.add_parser(commands)
    export_command.add_parser(commands)
    erase_command.add_parser(commands)
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except (SettingsFault, ContractFault) as fault:
        return _refuse(fault, fault.problems, EXIT_USAGE)
    except UnfitTable as fault:
        return _refuse(fault, fault.problems, EXIT_FATAL)
    except CdcError as error:
        return _refuse(error, (), EXIT_FATAL)
    except Exception as error:  # noqa: BLE001 - told without its message, which may quote a row or a password
        place = traceback.extract_tb(error.__traceback__)[-1]
        print(f"cdc: unexpected {type(error).__name__} at {place.filename}:{place.lineno}; report it", file=sys.stderr)
        return EXIT_FATAL
    return code


def _refuse(error: CdcError, problems: Sequence[str], code: int) -> int:
    print(f"cdc: {error}", *(f"  - {problem}" for problem in problems), sep="\n", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
