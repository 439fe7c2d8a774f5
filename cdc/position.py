"""Position: where a change stands in the source's own order, `(epoch, lsn, ordinal)`."""

from __future__ import annotations

from typing import NamedTuple

LSN_OF_BACKFILL = 0
"""A backfill or snapshot read has this LSN, so that any streamed change of its epoch beats it: a transaction that was
open while the snapshot was taken streams with an LSN below the snapshot's."""

LSN_MAX = 2**63 - 1
"""Debezium's and the lake's limit: an LSN is a signed 64-bit number there. No server has come near it."""


class Position(NamedTuple):
    """The source's order of changes, compared as numbers; for one key the higher wins.

    `epoch` is raised where LSNs restart, `lsn` is the 64-bit log sequence number (0: a backfill read), `ordinal` is
    DMS's transaction-record-id, else 0. Several changes may share one position (COPY), never two of one key.
    """

    epoch: int
    lsn: int
    ordinal: int = 0


def parse_lsn(text: str) -> int:
    """The number behind Postgres's text form of an LSN, such as `16/B374D848`."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(lsn: int) -> str:
    """Postgres's text form of an LSN."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
