"""Digests: ten million rows as a few bytes each, so that all of the lake's are at hand while the source is read once.

A key and a row are 64 bits each, keyed at random for each run. Two keys that meet become suspects, which are looked at
themselves; so nothing is found equal or different by a digest alone but a row whose digest is the very one expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
_BYTES = 8


def digests(rows: pa.Table, columns: Sequence[str], salt: bytes) -> Words:
    """A digest of some columns of each row; equal in both tables when types, values and scales are."""
    values = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    whole = b"".join(hashlib.blake2b(repr(row).encode(), digest_size=_BYTES, key=salt).digest() for row in values)
    return np.frombuffer(whole, np.uint64)


class LakeDigests:
    """The digests of all rows of the lake; what was found at the source is marked as seen."""

    def __init__(self, parts: Iterable[tuple[Words, Words]]) -> None:
        empty = np.zeros(0, np.uint64)
        keys, rows = (np.concatenate(some) for some in zip(*[(empty, empty), *parts], strict=True))
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]
        self._seen = np.zeros(len(keys), np.bool_)

    def __len__(self) -> int:
        return len(self._keys)

    def found(self, keys: Words, rows: Words) -> Mask:
        """Which of the source's rows stand in the lake just so, once; all whose key is there are seen."""
        first = np.searchsorted(self._keys, keys, "left")
        last = np.searchsorted(self._keys, keys, "right")
        is_once = last - first == 1
        at = np.minimum(first, max(len(self) - 1, 0))
        self._seen[first[is_once]] = True
        is_found: Mask = is_once & (self._rows[at] == rows) if len(self) else is_once
        return is_found

    def has(self, keys: Words) -> Mask:
        """Which keys stand in the lake at all."""
        is_there: Mask = np.searchsorted(self._keys, keys, "right") > np.searchsorted(self._keys, keys, "left")
        return is_there

    def unseen(self, keys: Words) -> Mask:
        """Which keys stood in the lake and were not found at the source; others came later, and are none of them."""
        if not len(self):
            return np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(self._keys, keys, "left"), len(self) - 1)
        is_unseen: Mask = (self._keys[at] == keys) & ~self._seen[at]
        return is_unseen

    @property
    def unseen_count(self) -> int:
        """How many of the lake's rows were not found at the source."""
        return int(len(self) - self._seen.sum())
