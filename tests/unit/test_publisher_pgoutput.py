"""The parser of pgoutput, on bytes that Postgres 18 sent."""

from __future__ import annotations

import pytest

from cdc.errors import FatalFault
from cdc_publisher.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Ignored,
    Insert,
    LogicalMessage,
    Message,
    Relation,
    RelationColumn,
    Truncate,
    Update,
    parse,
)

INSERT = (
    b"I\x00\x00@\x02N\x00\x03t\x00\x00\x00\x011t\x00\x00\x00\n\xc3\xa7\xc3\xa3o \xf0\x9f\x98\x80t\x00\x00\x00\x041.50"
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"B\x00\x00\x00\x00\x01\xaf\xae(\x00\x03\x03\xc6\xa9lu9\x00\x00\x02\xf5",
            Begin(final_lsn=28290600, committed_at_us=1795261510997305, xid=757),
        ),
        (
            b"C\x00\x00\x00\x00\x00\x01\xaf\xae(\x00\x00\x00\x00\x01\xaf\xaeX\x00\x03\x03\xc6\xa9lu9",
            Commit(commit_lsn=28290600, end_lsn=28290648, committed_at_us=1795261510997305),
        ),
        (
            (
                b"R\x00\x00@\x02public\x00t\x00d\x00\x03\x01id\x00\x00\x00\x00\x17\xff\xff\xff\xff\x00n\xc3\xa3o\x00\x00\x00"
                b"\x00\x19\xff\xff\xff\xff\x00z\x00\x00\x00\x06\xa4\x00\x05\x00\x06"
            ),
            Relation(
                16386,
                "public",
                "t",
                "d",
                (
                    RelationColumn(True, "id", 23, -1),
                    RelationColumn(False, "não", 25, -1),
                    RelationColumn(False, "z", 1700, 327686),
                ),
            ),
        ),
        (INSERT, Insert(16386, ["1", "ção 😀", "1.50"])),
        (b"I\x00\x00@\x02N\x00\x03t\x00\x00\x00\x012nn", Insert(16386, ["2", None, None])),
        (
            b"U\x00\x00@\x02N\x00\x03t\x00\x00\x00\x013ut\x00\x00\x00\x041.00",
            Update(16386, None, ["3", UNCHANGED, "1.00"]),
        ),
        (
            b"U\x00\x00@\x02K\x00\x03t\x00\x00\x00\x013nnN\x00\x03t\x00\x00\x00\x014ut\x00\x00\x00\x041.00",
            Update(16386, ["3", None, None], ["4", UNCHANGED, "1.00"]),
        ),
        (
            b"U\x00\x00@\nO\x00\x02t\x00\x00\x00\x011t\x00\x00\x00\x012N\x00\x02t\x00\x00\x00\x013t\x00\x00\x00\x012",
            Update(16394, ["1", "2"], ["3", "2"]),
        ),
        (b"D\x00\x00@\x02K\x00\x03t\x00\x00\x00\x014nn", Delete(16386, ["4", None, None])),
        (b"D\x00\x00@\nO\x00\x02t\x00\x00\x00\x013t\x00\x00\x00\x012", Delete(16394, ["3", "2"])),
        (b"T\x00\x00\x00\x02\x00\x00\x00@\x02\x00\x00@\n", Truncate((16386, 16394))),
        (
            b"M\x01\x00\x00\x00\x00\x01\xaf\xd5@cdc.heartbeat\x00\x00\x00\x00\x00",
            LogicalMessage(True, 28300608, "cdc.heartbeat", b""),
        ),
        (
            b"M\x00\x00\x00\x00\x00\x01\xaf\xd5\xa8app\x00\x00\x00\x00\x02oi",
            LogicalMessage(False, 28300712, "app", b"oi"),
        ),
        (b"Y\x00\x00@\x10public\x00humor\x00", Ignored("type")),
        (b"O\x00\x00\x00\x00\x00\x00\x00\x01elsewhere\x00", Ignored("origin")),
    ],
)
def test_messages(data: bytes, message: Message) -> None:
    assert parse(data) == message


@pytest.mark.parametrize("end", range(1, len(INSERT)))
def test_a_message_that_breaks_off_stops_the_program_without_showing_a_value(end: int) -> None:
    with pytest.raises(FatalFault, match="breaks off") as caught:
        parse(INSERT[:end])
    assert "ção" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"S\x00\x00\x00\x01", b"", INSERT.replace(b"\xc3\xa7", b"\xc3\x28"), b"I\x00\x00@\x02X"]
)
def test_what_the_protocol_does_not_know_stops_the_program(data: bytes) -> None:
    with pytest.raises(FatalFault):
        parse(data)
