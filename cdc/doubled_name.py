"""Doubled name: an object in JSON that names a member twice, of which readers differ in which of the two they take."""

from __future__ import annotations

import json
import re
from typing import Any

from cdc.errors import RecordFault

_BLANK_BEFORE_COLON = re.compile(rb'"[ \t\r\n]+:')


def refuse_doubled_names(document: bytes, members: int) -> None:
    """Refuse a document that names a member twice, where `members` is how many it had once it was read.

    Raises:
        RecordFault: when it does (`doubled-name`).
        ValueError, RecursionError: when it is no JSON that Python reads.
    """
    if _BLANK_BEFORE_COLON.search(document):
        json.loads(document, object_pairs_hook=_members)
    else:
        refuse_doubled_names_of_compact(document, members)


def refuse_doubled_names_of_compact(document: bytes, members: int) -> None:
    """The same, sooner, for a producer that writes no blank between a name and its colon."""
    # Each member has one `":`; where text holds some too, or members are nested, the slow way tells.
    if document.count(b'":') - document.count(b'\\":') != members:
        json.loads(document, object_pairs_hook=_members)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise RecordFault("doubled-name", "the event names a column twice")
    return members
