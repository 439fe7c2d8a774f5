"""Lines that become a gzip object while they come, so that what waits to be written is small."""

from __future__ import annotations

from isal import isal_zlib

LEVEL = 1
"""Nearly as small as zlib's level 6, at ten times the speed (docs/adr/0015)."""
GZIP_WBITS = 31
_BLOCK_BYTES = 128 * 1024


class GzipLines:
    """The content of one object: gzip with no clock and no name in it, so that the same lines give the same bytes.

    Few lines wait as they are, since a compressor takes far more memory than they do. `records` counts the lines,
    `size_bytes` is before compression.
    """

    def __init__(self) -> None:
        self.records = 0
        self.size_bytes = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._compressor: isal_zlib.Compress | None = None
        self._compressed: list[bytes] = []
        self._content: bytes | None = None

    def add(self, records: int, lines: bytes) -> None:
        """Add some lines, each ended by a line feed."""
        assert self._content is None
        self.records += records
        self.size_bytes += len(lines)
        self._waiting.append(lines)
        self._waiting_bytes += len(lines)
        if self._waiting_bytes >= _BLOCK_BYTES:
            self._compressed += self._compress()

    def content(self) -> bytes:
        """The whole object; nothing can be added any more."""
        if self._content is None:
            self._content = b"".join([*self._compressed, *self._compress(last=True)])
            self._compressed.clear()
        return self._content

    def _compress(self, *, last: bool = False) -> list[bytes]:
        """What comes out for the lines that wait."""
        if self._compressor is None:
            self._compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP_WBITS)
        out = [self._compressor.compress(b"".join(self._waiting))]
        self._waiting, self._waiting_bytes = [], 0
        if last:
            out.append(self._compressor.flush())
            self._compressor = None
        return out


def same_lines(there: bytes, ours: bytes) -> bool:
    """Whether an object holds the lines of ours, perhaps compressed to other bytes; `ours` is known to be whole."""
    lines = isal_zlib.decompress(ours, GZIP_WBITS)
    decompressor = isal_zlib.decompressobj(GZIP_WBITS)
    try:
        # One byte more than is due is enough to tell, however much the other object would unpack to.
        found = decompressor.decompress(there, len(lines) + 1)
    except isal_zlib.error:  # type: ignore[misc]  # isal's stub says less than the module: it is an exception
        return False
    return found == lines and decompressor.eof and not decompressor.unused_data
