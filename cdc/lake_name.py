"""Lake names: what tables and columns are called where Athena wants `[a-z0-9_]`, and how they are told in messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from cdc.readers import HISTORY_SUFFIX, NAME_LENGTH_MAX, column_name_faults, table_name_faults

_PREFIX = "source_"
_LENGTH_MAX = NAME_LENGTH_MAX - len(HISTORY_SUFFIX)
_OTHER = re.compile(r"[^a-z0-9_]")
_PLAIN_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_$]*")


def lake_name(name: str) -> str:
    """The lake's name for a column in Postgres: no marks, lower case, all else as `_`; what readers or the service have
    for something else gets a `source_`.
    """
    plain = _folded(name)
    return f"{_PREFIX}{plain}" if column_name_faults(plain) else plain


def lake_table_name(name: str) -> str:
    """The same for a table."""
    plain = _folded(name)
    return f"{_PREFIX}{plain}" if table_name_faults(plain) else plain


def _folded(name: str) -> str:
    letters = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    plain = _OTHER.sub("_", letters.lower())
    if not plain or plain[0].isdigit():
        plain = f"_{plain}"
    return plain[: _LENGTH_MAX - len(_PREFIX)]


def lake_names(names: Sequence[str]) -> tuple[str, ...]:
    """Distinct lake names for the columns of a table, in their order.

    A column whose name needs no change keeps it; of others that would be called the same, the later ones are numbered.
    """
    taken = {name for name in names if lake_name(name) == name}
    found = []
    for name in names:
        wanted = lake_name(name)
        if wanted != name:
            wanted = _free(wanted, taken)
            taken.add(wanted)
        found.append(wanted)
    return tuple(found)


def _free(wanted: str, taken: set[str]) -> str:
    candidate, number = wanted, 1
    while candidate in taken:
        number += 1
        candidate = f"{wanted[: _LENGTH_MAX - len(str(number)) - 1]}_{number}"
    return candidate


def identifier(name: str) -> str:
    """A name as SQL and `sourceTable` take it, quoted where it must be."""
    return name if _PLAIN_IDENTIFIER.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def source_table(schema: str, table: str) -> str:
    """A table as an operator writes it: `public."Usuários"`."""
    return f"{identifier(schema)}.{identifier(table)}"


def shown(text: str) -> str:
    """Text on one line for a message or a comment: a name may hold line ends and what moves a terminal's cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
