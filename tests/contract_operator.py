"""An operator who calls `cdc contract`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg
import pytest

from cdc.contract import TableContract, parse_contract
from cdc_ops.cli import main


@dataclass(frozen=True, slots=True)
class Answer:
    """What the command gave back."""

    code: int
    out: str
    err: str

    @property
    def contract(self) -> TableContract:
        assert self.code == 0, self.err
        return parse_contract(self.out)


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody with a database of their own who calls the command."""

    dsn: str
    capture: pytest.CaptureFixture[str]

    def sql(self, statements: LiteralString) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statements)

    def contract(self, *arguments: str) -> Answer:
        code = main(["contract", *arguments])
        written = self.capture.readouterr()
        return Answer(code, written.out, written.err)
