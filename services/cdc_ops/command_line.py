"""Command line: a parser that says what is wrong with one, without quoting it.

What stands in the wrong place may be a connection string: `--dns postgresql://…`, or one with blanks and no quotes.
"""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

_QUOTING = re.compile(
    r"(?P<what>unrecognized arguments|invalid choice|ignored explicit argument|invalid \w+ value|ambiguous option)"
    r":? (?P<quoted>.*?)(?P<known> \(choose from .*\))?",
    re.DOTALL,
)
_OPTION = re.compile(r"--?[a-z]+(-[a-z]+)*")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors quote names of options and nothing else that was given."""

    def error(self, message: str) -> NoReturn:
        """End with the usage, what is wrong, and exit code 2."""
        super().error(without_values(message))


def without_values(message: str) -> str:
    """A message of argparse without the values that it quotes."""
    start = _QUOTING.search(message)
    if start is None:
        return message
    found = _QUOTING.fullmatch(message, start.start())
    assert found is not None, "the rest of the message is what is quoted"
    options = " ".join(word for word in found["quoted"].split() if _OPTION.fullmatch(word))
    told = options or "not shown, since it may hold a password"
    return f"{message[: start.start()]}{found['what']}: {told}{found['known'] or ''}"
