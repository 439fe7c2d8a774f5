"""What is wrong with a command line of `cdc` is told without what was given, which may hold a password."""

from __future__ import annotations

import pytest

from cdc_ops.cli import main

SECRET = "p4ssw0rd"
DSN = f"postgresql://app:{SECRET}@127.0.0.1:1/app"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["contract", "--dns", DSN, "--table", "public.t"], "unrecognized arguments: --dns"),
        (["contract", f"--dns={DSN}", "--table", "public.t"], "unrecognized arguments: not shown"),
        (
            ["contract", "--dsn", "host=h", f"password={SECRET}", SECRET, "--table", "public.t"],
            "unrecognized arguments: not shown",
        ),
        ([DSN], "invalid choice: not shown, since it may hold a password (choose from"),
        (["contract", f"--json={DSN}", "--table", "public.t"], "ignored explicit argument: not shown"),
        (["contract", "--table", "public.t", "--freshness-seconds", DSN], "invalid float value: not shown"),
        (["contract", "--dsn", DSN], "one of the arguments --table --check is required"),
        (["contract", "--dsn", DSN, "--table", "a", "--check", DSN], "not allowed with argument --table"),
    ],
)
def test_a_misplaced_connection_string_is_not_quoted(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert expected in told.err
    assert SECRET not in told.out + told.err


@pytest.mark.parametrize("option", ["--table", "--check", "--output", "--name"])
def test_a_connection_string_in_another_options_place_is_not_quoted(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [] if option in {"--table", "--check"} else ["--table", "public.t"]
    assert main(["contract", *table, option, DSN, "--dsn", "host=127.0.0.1 port=1"]) == 2
    told = capsys.readouterr()
    assert f"{option}: " in told.err
    assert SECRET not in told.out + told.err
