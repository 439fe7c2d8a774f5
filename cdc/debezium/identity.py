"""Identity: what the image before a change tells of the old row, which depends on the table's REPLICA IDENTITY.

The log has the whole old row with FULL, the columns of an index with USING INDEX, the primary key with DEFAULT.
Debezium sends all columns all the same: null where the log has none, a value of its own where the column is NOT NULL.
Source of the facts: events recorded from Debezium 3.6.3 of keys of 26 types.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from cdc.errors import RecordFault
from cdc.event import ChangeEvent, Op

Image = Mapping[str, Any]
_FILLERS = ("", 0, "AA==", "00:00:00Z", "1970-01-01Z", "00000000-0000-0000-0000-000000000000")
_ZERO = re.compile(r"0(\.0+)?|1970-01-01T00:00:00(\.0+)?Z")
_HINT = "the table needs REPLICA IDENTITY DEFAULT, FULL, or an index that has the primary key"


def is_filler(value: Any) -> bool:
    """Whether Debezium may have made up a value for a NOT NULL column that the log does not have."""
    return value is None or value in _FILLERS or (isinstance(value, str) and _ZERO.fullmatch(value) is not None)


def is_whole(before: Image, after: Image, key: Collection[str]) -> bool:
    """Whether the image before an update is the whole old row; if not, its nulls and fillers mean nothing.

    With USING INDEX there is an image only where a column of the index changed, and the other columns come into being
    in the image after; with FULL both at once is rare, and then the image is not relied on.
    """
    told = {name for name, value in before.items() if name not in key and not is_filler(value)}
    changed = any(name in before and name in after and after[name] != before[name] for name in told.union(key))
    others = before.keys() - told - set(key)
    appeared = any(not is_filler(after.get(name)) for name in others)
    return bool(told) and not (changed and appeared)


def is_made_up(key: Collection[Any]) -> bool:
    """Whether Debezium may have made up all of an old key."""
    return all(map(is_filler, key))


def check_old_key(before: Image, key: Collection[str]) -> None:
    """Refuse an old key that is made up: with USING INDEX the log lacks what the index lacks.

    Raises:
        RecordFault: `no-key` where all of the key may be made up, and other columns show that the log has more than the
            key, but not all. (Columns with a default show more than they have, hence not at the first zero in a key.)
    """
    others = [value for name, value in before.items() if name not in key]
    is_partial = any(is_filler(value) for value in others) and not all(is_filler(value) for value in others)
    if is_partial and is_made_up([before.get(name) for name in key]):
        raise RecordFault("no-key", "the log may lack a column of the old primary key", hint=_HINT)


def moves(event: ChangeEvent, key: Collection[str]) -> tuple[ChangeEvent, ...]:
    """The event, or the delete and the create of an update that changes the key.

    Debezium sends these two itself, unless its own key (`message.key.columns`) is not the table's.
    """
    before, after = event.before, event.after
    if event.op is not Op.UPDATE or before is None or after is None:
        return (event,)
    if not all(before.get(name) is not None and name in after for name in key):
        return (event,)
    if all(before[name] == after[name] for name in key):
        return (event,)
    try:
        check_old_key(before, key)
    except RecordFault as fault:
        return (replace(event, faults=(*event.faults, fault)),)
    nothing = frozenset[str]()
    return (
        replace(event, op=Op.DELETE, after=None, unchanged=nothing, doubtful=nothing),
        replace(event, op=Op.CREATE, before=None),
    )
