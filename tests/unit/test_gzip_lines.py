"""The content of an object: gzip that any reader unpacks, the same from the same lines, and told from other lines."""

from __future__ import annotations

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.gzip_lines import GzipLines, same_lines


def packed(*blocks: bytes) -> bytes:
    lines = GzipLines()
    for block in blocks:
        lines.add(block.count(b"\n"), block)
    return lines.content()


@given(st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=20))
def test_what_went_in_comes_out_in_any_reader(blocks: list[bytes]) -> None:
    assert gzip.decompress(packed(*blocks)) == b"".join(blocks)


def test_many_blocks_are_compressed_while_they_come_and_counted() -> None:
    chance = random.Random(1)
    blocks = [chance.randbytes(30_000).replace(b"\n", b"") + b"\n" for _ in range(50)]
    lines = GzipLines()
    for block in blocks:
        lines.add(1, block)
    assert lines.records == 50
    assert lines.size_bytes == sum(map(len, blocks))
    assert gzip.decompress(lines.content()) == b"".join(blocks)
    assert lines.content() == packed(*blocks)


def test_there_is_no_time_and_no_name_in_it() -> None:
    header = packed(b"a\n")[:10]
    assert header[3] == 0
    assert header[4:8] == b"\x00" * 4


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_the_same_lines_in_other_bytes_are_the_same(level: int) -> None:
    text = b"a line\n" * 100_000
    assert same_lines(gzip.compress(text, level), packed(text))


def test_other_lines_are_not() -> None:
    ours = packed(b"a\nb\n")
    text = gzip.compress(b"a\nb\n")
    for there in (
        b"",
        b"a\nb\n",
        text[:-1],
        text[:-9],
        text[:-5] + b"\x00" + text[-4:],
        text + text,
        text + b"\x00",
        gzip.compress(b"a\nc\n"),
        gzip.compress(b"a\n"),
        gzip.compress(b"a\nb\nc\n"),
    ):
        assert not same_lines(there, ours)


def test_a_gzip_bomb_in_the_place_of_an_object_is_not_unpacked() -> None:
    assert not same_lines(gzip.compress(b"\x00" * 50_000_000, 1), packed(b"a\n"))
