"""Past: the rows at a past moment, read from history by the query that docs/analysts.md gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "analysts.md"
_SQL = re.compile(r"```sql\n(.*?)```", re.DOTALL)


def query_of_the_docs(
    history: str, moment: datetime, key: Sequence[str], columns: Sequence[str], long: Iterable[str]
) -> str:
    """The documented query for DuckDB, of any table; `history` is a relation, `long` the columns that may come unchanged."""
    match = _SQL.search(_DOCS.read_text())
    assert match is not None
    lines = match[1].splitlines()
    (plain,) = (line for line in lines if line.strip() == "nome,")
    (of_long,) = (line for line in lines if "AS bio" in line)
    long = set(long)
    ours = [of_long.replace("bio", name) if name in long else plain.replace("nome", name) for name in columns]
    place = lines.index(plain)
    query = "\n".join([*lines[:place], *ours, *(line for line in lines[place + 1 :] if line is not of_long)])
    query = query.replace("usuarios_history", history).replace("SELECT id,", f"SELECT {', '.join(key)},")
    query = query.replace("PARTITION BY id ", f"PARTITION BY {', '.join(key)} ")
    asked = re.sub(r"TIMESTAMP '[^']*'", f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'", query)
    assert asked != query
    return asked
