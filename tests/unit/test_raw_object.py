"""A raw object is unpacked whole or not at all, whatever its batch record says of its size and however it was packed."""

from __future__ import annotations

import gzip

import pytest

from cdc.errors import RawFault
from cdc.raw import ObjectRef, sha256, unpack

TEXT = b'{"seq":"1"}\n' * 1000


def reference(body: bytes, plain_bytes: int) -> ObjectRef:
    return ObjectRef("raw/some.json.gz", "usuarios", 1000, len(body), sha256(body), plain_bytes)


@pytest.mark.parametrize("plain_bytes", [0, 1, len(TEXT) - 1, len(TEXT), len(TEXT) + 1])
@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(TEXT),
        gzip.compress(TEXT, mtime=0) + b"\0" * 8,
        gzip.compress(TEXT[:600]) + gzip.compress(TEXT[600:]),
        gzip.compress(TEXT) + gzip.compress(b""),
    ],
)
def test_all_of_an_object_is_unpacked(body: bytes, plain_bytes: int) -> None:
    assert unpack(body, reference(body, plain_bytes)) == TEXT


@pytest.mark.parametrize("plain_bytes", [0, len(TEXT)])
@pytest.mark.parametrize(
    "body",
    [b"junk", gzip.compress(TEXT)[:-1], gzip.compress(TEXT)[:-8] + b"\0" * 8, gzip.compress(TEXT)[:40]],
)
def test_what_is_no_whole_gzip_is_a_fault(body: bytes, plain_bytes: int) -> None:
    with pytest.raises(RawFault, match="cannot be read"):
        unpack(body, reference(body, plain_bytes))


def test_another_object_than_the_recorded_one_is_a_fault() -> None:
    body, other = gzip.compress(TEXT), gzip.compress(TEXT[:-1] + b" ")
    with pytest.raises(RawFault, match="not the one that its batch record names"):
        unpack(other, reference(body, len(TEXT)))
