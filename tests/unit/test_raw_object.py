"""A raw object is unpacked whole or not at all, whatever its batch record says of its size and however it was packed."""

from __future__ import annotations

import gzip

import pytest

from cdc.errors import RawFault
from cdc.raw import ObjectRef, sha256, unpack

TEXT = b'{"seq":"1"}\n' * 1000


def packed(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)


def reference(body: bytes, plain_bytes: int) -> ObjectRef:
    return ObjectRef("raw/some.json.gz", "usuarios", 1000, len(body), sha256(body), plain_bytes)


@pytest.mark.parametrize("plain_bytes", [0, 1, 600, len(TEXT) - 1, len(TEXT), len(TEXT) + 1, 4 * 10**10, 10**20, -1])
@pytest.mark.parametrize(
    "body",
    [
        packed(TEXT),
        packed(TEXT) + b"\0" * 8,
        packed(TEXT[:600]) + packed(TEXT[600:]),
        packed(TEXT) + packed(b""),
    ],
    ids=["one member", "padded", "two members", "an empty member"],
)
def test_all_of_an_object_is_unpacked(body: bytes, plain_bytes: int) -> None:
    assert unpack(body, reference(body, plain_bytes)) == TEXT


@pytest.mark.parametrize("plain_bytes", [0, len(TEXT)])
@pytest.mark.parametrize(
    "body",
    [b"junk", packed(TEXT) + b"junk", packed(TEXT)[:-1], packed(TEXT)[:-8] + b"\0" * 8, packed(TEXT)[:40]],
    ids=["no gzip", "more than gzip", "a byte short", "another checksum", "its beginning"],
)
def test_what_is_no_whole_gzip_is_a_fault(body: bytes, plain_bytes: int) -> None:
    with pytest.raises(RawFault, match="cannot be read"):
        unpack(body, reference(body, plain_bytes))


def test_another_object_than_the_recorded_one_is_a_fault() -> None:
    body, other = packed(TEXT), packed(TEXT[:-1] + b" ")
    with pytest.raises(RawFault, match="not the one that its batch record names"):
        unpack(other, reference(body, len(TEXT)))
