"""Fingerprint: a key of any type as 128 bits, so that ten million keys fit in numpy arrays.

A single integer key is its own fingerprint: exact, and 8 bytes. Any other is a multilinear hash over the bytes of its
values with coefficients drawn at random for each process (Lemire and Kaser, "Strongly universal string hashing is
fast"): two of ten million keys meet with a probability far below that of a broken disk, and nobody can prepare keys
that do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Words = npt.NDArray[np.uint64]
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_COLUMNS_MAX = 32  # Postgres's limit for the columns of an index
_BLOCK_BYTES = 1 << 18
"""How much text is hashed at once: what that takes stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Fingerprints of some keys: `high` sorts them, `low` tells those apart that share it (None: `high` is exact)."""

    high: Words
    low: Words | None

    def __len__(self) -> int:
        return len(self.high)

    @property
    def bytes(self) -> int:
        """The memory that they take."""
        return self.high.nbytes + (0 if self.low is None else self.low.nbytes)

    def take(self, which: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Fingerprints:
        """Those at some places, or where a mask is true."""
        return Fingerprints(self.high[which], None if self.low is None else self.low[which])

    def order(self) -> npt.NDArray[np.intp]:
        """The places in the order of the fingerprints; equal ones keep their order."""
        order = np.argsort(self.high, kind="stable")
        if self.low is not None:
            sorted_ = self.high[order]
            if (sorted_[1:] == sorted_[:-1]).any():  # seldom; and sorting by both takes three times as long
                return np.lexsort((self.low, self.high))
        return order

    def is_sorted(self) -> bool:
        """Whether they are in order, each once, as exact ones are where files are in the order of the key."""
        return self.low is None and bool((self.high[1:] > self.high[:-1]).all())

    def repeats(self) -> npt.NDArray[np.bool_]:
        """Of sorted fingerprints: where one equals the one before."""
        same = np.zeros(len(self), np.bool_)
        same[1:] = self.high[1:] == self.high[:-1]
        if self.low is not None:
            same[1:] &= self.low[1:] == self.low[:-1]
        return same


class Fingerprinter:
    """Makes the fingerprints of one table's keys; `types` are the Arrow types of its key columns."""

    def __init__(self, types: Sequence[pa.DataType], random: np.random.Generator) -> None:
        self._types = tuple(types)
        self._random = random
        self._is_exact = len(self._types) == 1 and pa.types.is_integer(self._types[0])
        self._seeds = random.integers(0, 1 << 64, (2, _COLUMNS_MAX), np.uint64)
        self._coefficients = [self._drawn(256), self._drawn(256)]

    def of_columns(self, columns: Sequence[pa.ChunkedArray | pa.Array]) -> Fingerprints:
        """The fingerprints of keys given by column, without nulls."""
        if self._is_exact:
            return Fingerprints(_as_words(_flat(columns[0])), None)
        high = np.zeros(len(columns[0]), np.uint64)
        low = np.zeros(len(columns[0]), np.uint64)
        for place, column in enumerate(columns):
            for half, more in enumerate(self._words(_flat(column))):
                _stir((high, low)[half], more, self._seeds[half, place])
        return Fingerprints(high, low)

    def of_keys(self, keys: Sequence[tuple[object, ...]]) -> Fingerprints:
        """The fingerprints of keys given one by one."""
        columns = [pa.array([key[place] for key in keys], type_) for place, type_ in enumerate(self._types)]
        return self.of_columns(columns)

    def _words(self, array: pa.Array) -> tuple[Words, Words]:
        """What a column brings to both halves."""
        if pa.types.is_date32(array.type):
            array = array.cast(pa.int32())
        elif pa.types.is_boolean(array.type):
            array = array.cast(pa.int8())
        if pa.types.is_integer(array.type) or pa.types.is_timestamp(array.type):
            words = _as_words(array)
            return words, words
        # Everything else by the text that tells it exactly.
        texts = array if pa.types.is_binary(array.type) else array.cast(pa.string())
        return self._hashed(texts.cast(pa.large_binary()))

    def _hashed(self, texts: pa.Array) -> tuple[Words, Words]:
        """Two multilinear hashes of each text: its bytes, each times the coefficient of its place, and its length."""
        offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, texts.offset * 8)
        lengths = np.diff(offsets)
        longest = int(lengths.max(initial=0))
        if longest > len(self._coefficients[0]):
            self._coefficients = [self._longer(known, longest) for known in self._coefficients]
        high: Words = lengths.astype(np.uint64) * self._seeds[0, -1]
        low: Words = lengths.astype(np.uint64) * self._seeds[1, -1]
        body = texts.buffers()[2]
        octets = np.frombuffer(body, np.uint8) if body is not None else np.empty(0, np.uint8)
        filled = np.flatnonzero(lengths)
        for some in _blocks(filled, lengths):
            sizes = lengths[some]
            ends = np.cumsum(sizes)
            within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
            # Only empty texts lie between them.
            first = offsets[some[0]]
            values = octets[first : first + ends[-1]].astype(np.uint64) + np.uint64(1)
            for words, coefficients in zip((high, low), self._coefficients, strict=True):
                words[some] += np.add.reduceat(values * coefficients[within], ends - sizes)
        return high, low

    def _drawn(self, count: int) -> Words:
        return self._random.integers(0, 1 << 64, count, np.uint64)

    def _longer(self, known: Words, count: int) -> Words:
        return np.concatenate([known, self._drawn(2 * count - len(known))])


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = column
    if isinstance(column, pa.ChunkedArray):
        array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _as_words(array: pa.Array) -> Words:
    words: Words = array.cast(pa.int64()).to_numpy(zero_copy_only=False).view(np.uint64)
    return words


def _blocks(places: npt.NDArray[np.intp], lengths: npt.NDArray[np.int64]) -> list[npt.NDArray[np.intp]]:
    """The places in blocks of a bounded number of bytes, so that long texts take no memory beyond it."""
    if not len(places):
        return []
    numbers = (np.cumsum(lengths[places]) - 1) // _BLOCK_BYTES
    return np.split(places, np.flatnonzero(np.diff(numbers)) + 1)


def _stir(words: Words, more: Words, seed: np.uint64) -> None:
    """Stir another column into hashes, in place (the finalizer of SplitMix64)."""
    words += more * (seed | np.uint64(1)) + _MULTIPLIER
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
