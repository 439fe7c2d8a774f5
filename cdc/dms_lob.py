"""DMS LOB: whether a value may have been cut by the limited LOB mode, which cuts a text to one like any other.

Source of the fact: AWS DMS user guide, "Setting LOB support for source databases in a task": LobMaxSize is in KiB, 32
in the template of a task; longer values are truncated with a warning in the task's log alone. In which unit a text is
counted is not documented: letters, or octets of UTF-8 or of UTF-16.
"""

from __future__ import annotations

import re

from cdc.postgres_type import PostgresType

LOB_MAX_SIZE = 32
"""LobMaxSize of the template, in KiB."""
_NEAR = 6
"""A letter that was cut in two is left out, or replaced by U+FFFD for each of its octets or for all."""
_HEX_PREFIX = re.compile(r"0x|0X|\\x")


def may_be_cut(value: str, type_: PostgresType, lob_max_size: int) -> bool:
    """Whether a value is just as long as one that was cut at so many KiB, in any unit that may be meant."""
    limit = lob_max_size * 1024
    if type_.name == "bytea" and not type_.is_array:
        digits = len(value) - (2 if _HEX_PREFIX.match(value) else 0)
        return limit in {digits, digits // 2}
    if value.isascii():  # in UTF-16 each letter has two octets
        return limit in {len(value), 2 * len(value)}
    if len(value) < limit // 4 - _NEAR:  # no letter has more than four octets
        return False
    utf8, utf16 = len(value.encode()), len(value.encode("utf-16-le"))
    return any(abs(size - limit) <= _NEAR for size in (len(value), utf8, utf16, utf16 // 2))
