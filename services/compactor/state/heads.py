"""Heads: of raw lines no more than which key they change, how and at which position; their rows are not read.

What is told here is what `compactor.change` would say of the same line, if it can be merged at all. That is not checked
here, so nothing may be taken from a line because of its head alone. A line that is not as simple (a key change in one
event, a truncate, in Avro or with an inline schema, from DMS, unreadable, …) has no head: it is read by the law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdc.contract import TableContract
from cdc.debezium.decode import PUBLISHER_VERSION, SPELT
from cdc.debezium.forms import forms_of_modes
from compactor.fold import DELETE, UPDATE
from compactor.index import Fingerprints
from compactor.plain import Line, Sights
from compactor.plain.changes import NO_IMAGE, UNREADABLE, Changes, CommitTime, Lsn, Stated, changes_of
from compactor.plain.columns import ColumnReader, column_masker, column_reader
from compactor.plain.dialect import is_written_as_it_is

PrintsOf = Callable[[Sequence[pa.ChunkedArray | pa.Array]], Fingerprints]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]
Found = tuple[Places, list[pa.Array]]
"""The places of some changes, and their keys by column, not masked."""
DECODED_AT_ONCE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads of some lines of an object: the changes, which of them our own publisher wrote, and the fingerprints of
    their keys. `others` are the places of the lines that have none, in their order.
    """

    changes: Changes
    is_ours: Mask
    prints: Fingerprints
    others: list[int]

    def __len__(self) -> int:
        return len(self.changes)


class _First(msgspec.Struct):
    version: str
    schema: str
    table: str


class _FirstEvent(msgspec.Struct):
    source: _First


class _FirstLine(msgspec.Struct):
    event: _FirstEvent


_NULL = msgspec.Raw(b"null")
_FIRST_LINE = msgspec.json.Decoder(_FirstLine)


class _Dialect:
    """How the key is read out of the images of one producer; `names` are those of its columns at the source."""

    def __init__(self, names: Sequence[str], readers: Sequence[ColumnReader]) -> None:
        self.readers = readers
        self._values = [attrgetter(f"k{place}") for place in range(len(readers))]
        fields = [(f"k{place}", reader.json_type) for place, reader in enumerate(readers)]
        rename = {f"k{place}": name for place, name in enumerate(names)}
        self._decoder: Any = msgspec.json.Decoder(msgspec.defstruct("Key", fields, gc=False, rename=rename))

    def keys(
        self, ops: npt.NDArray[np.str_], befores: Sequence[msgspec.Raw], afters: Sequence[msgspec.Raw]
    ) -> list[Any]:
        """The keys of some changes; None where one cannot be read, there are two, or an image that the op has not."""
        images, rest = list(afters), list(befores)
        for place in np.flatnonzero(ops == DELETE).tolist():
            images[place], rest[place] = befores[place], afters[place]
        keys = self._keys(images)
        if b"".join(rest) == bytes(_NULL) * len(rest):  # mostly only deletes have something before
            return keys
        places = [place for place, other in enumerate(rest) if bytes(other) not in NO_IMAGE]
        for place, key in zip(places, self._keys([rest[place] for place in places]), strict=True):
            if ops[place] != UPDATE or key != keys[place]:
                keys[place] = None
        return keys

    def found(self, which: Places, keys: Sequence[Any]) -> Found:
        """Of changes at some places, with their keys, those whose keys are there and good, and these by column."""
        if None in keys:
            is_there = [key is not None for key in keys]
            which, keys = which[is_there], list(compress(keys, is_there))
        bad = np.zeros(len(keys), np.bool_)
        columns: list[pa.Array] = []
        for reader, value in zip(self.readers, self._values, strict=True):
            array, wrong = reader.convert(list(map(value, keys)))
            bad |= np.bool_(False) if wrong is None else wrong
            if array.null_count:
                bad |= array.is_null().to_numpy(zero_copy_only=False)
            columns.append(array)
        if bad.any():
            return which[~bad], [column.filter(pa.array(~bad)) for column in columns]
        return which, columns

    def _keys(self, images: Sequence[msgspec.Raw]) -> list[Any]:
        """The key in each image; None where it cannot be read."""
        try:
            keys: list[Any] = self._decoder.decode_lines(b"\n".join(images))
        except UNREADABLE:
            keys = []
        return keys if len(keys) == len(images) else [self._key(image) for image in images]

    def _key(self, image: msgspec.Raw) -> Any:
        try:
            return self._decoder.decode(image)
        except UNREADABLE:
            return None


class HeadReader:
    """Reads the heads of one table's lines; `types` has the lake's types of its key, `prints_of` makes fingerprints."""

    def __init__(self, contract: TableContract, types: pa.Schema, pii_key: bytes, prints_of: PrintsOf) -> None:
        self._prints_of = prints_of
        key = [contract.column(name) for name in contract.key]
        names = [column.source_name for column in key]
        forms = forms_of_modes(contract, contract.producer).by_column
        ours, stated = (
            [column_reader(column, types.field(column.name).type, form(column)) for column in key]
            for form in (lambda _: None, lambda column: forms[column.source_name])
        )
        # Events from before a column of the key was renamed name it otherwise, or name two columns so.
        is_told_by_name = not any(column.former_names for column in key) and all(map(is_written_as_it_is, names))
        self._dialects = [_Dialect(names, readers) for readers in (ours, stated) if is_told_by_name]  # both, or none
        # Of a text our publisher may say that it is not the placeholder which it equals; of a number it need not.
        self._has_texts = any(reader.json_type != int | None for reader in ours)
        self._maskers = [column_masker(column, pii_key) for column in key]
        self._key_schema = pa.schema([types.field(name) for name in contract.key])
        self._decoders: dict[tuple[str, str, str], Any] = {}

    def read(self, text: bytes, count: int) -> Heads | None:
        """The heads of all lines of an object, `count` of them; None where one of them is not our own publisher's, or
        is not simple.
        """
        if not self._dialects or (self._has_texts and SPELT in text):
            return None
        try:
            first = _FIRST_LINE.decode(text[: text.index(b"\n")]).event.source
            if not first.version.endswith(PUBLISHER_VERSION):
                return None
            ours, stated, keys = self._dialects[0], Stated(), list[Any]()
            befores, afters = list[msgspec.Raw](), list[msgspec.Raw]()
            for events in _events(self._decoder(first), text):
                some_before, some_after = [event.before for event in events], [event.after for event in events]
                keys += ours.keys(stated.add(events), some_before, some_after)
                befores += some_before
                afters += some_after
        except UNREADABLE:
            return None
        if len(keys) != count:
            return None
        changes, is_sound = stated.changes(np.arange(count), befores, afters)
        which = np.flatnonzero(is_sound)
        if len(which) < count:
            keys = list(compress(keys, is_sound.tolist()))
        return self._heads(changes, np.ones(count, np.bool_), [ours.found(which, keys)], [])

    def read_lines(self, lines: Sequence[Line]) -> Heads:
        """The heads of some lines of whatever producers, looked at one by one."""
        changes, is_ours, others = changes_of(lines, 0, Sights.of_nothing(len(lines)))
        is_good = np.zeros(len(changes), np.bool_)
        if self._dialects:
            is_good[:] = [
                not self._has_texts or SPELT not in bytes(lines[place].raw.event) for place in changes.places.tolist()
            ]
        found: list[Found] = []
        for dialect, of_dialect in zip(self._dialects, (is_ours, ~is_ours), strict=False):
            if (which := np.flatnonzero(of_dialect & is_good)).size:
                some = changes.take(which)
                found.append(dialect.found(which, dialect.keys(some.ops, list(some.before), list(some.after))))
        return self._heads(changes, is_ours, found, others)

    def _decoder(self, first: _First) -> Any:
        """A decoder of lines that all say the same of their source: it need not be made texts of each time."""
        told = (first.version, first.schema, first.table)
        if told not in self._decoders:
            stated: list[Any] = [
                (name, Literal[text]) for name, text in zip(("version", "schema", "table"), told, strict=True)
            ]
            place: list[Any] = [("ts_us", CommitTime), ("lsn", Lsn | None, None)]
            images = [("before", msgspec.Raw, msgspec.Raw()), ("after", msgspec.Raw, msgspec.Raw())]
            source = msgspec.defstruct("Source", [*stated, *place], gc=False)
            op: Any = Literal["r", "c", "u", "d"]
            event = msgspec.defstruct("Event", [("op", op), ("source", source), *images], gc=False)
            line = msgspec.defstruct("Line", [("event", event), ("schema_id", None, None)], gc=False)
            self._decoders[told] = msgspec.json.Decoder(line)
        return self._decoders[told]

    def _heads(self, changes: Changes, is_ours: Mask, found: Sequence[Found], others: list[int]) -> Heads:
        """The heads of changes, of which some were found to have a key; the rest joins the others."""
        which = np.concatenate([np.empty(0, np.intp), *(some for some, _ in found)])
        columns = [
            pa.chunked_array([columns[place] for _, columns in found], field.type)
            for place, field in enumerate(self._key_schema)
        ]
        if len(found) > 1:
            order = np.argsort(which)
            which, columns = which[order], [column.take(pa.array(order)) for column in columns]
        masked = [mask(column) if mask else column for column, mask in zip(columns, self._maskers, strict=True)]
        prints = self._prints_of(masked)
        if len(which) == len(changes):
            return Heads(changes, is_ours, prints, sorted(others))
        is_left = np.ones(len(changes), np.bool_)
        is_left[which] = False
        others = sorted([*others, *changes.places[is_left].tolist()])
        return Heads(changes.take(which), is_ours[which], prints, others)


def _events(decoder: Any, text: bytes) -> Iterator[list[Any]]:
    """The events of an object's lines, some after others: what was made of some is let go while the processor has it at
    hand, which saves a sixth of the time.
    """
    view, start = memoryview(text), 0
    while start < len(text):
        end = text.find(b"\n", start + DECODED_AT_ONCE_BYTES) + 1 or len(text)
        yield [line.event for line in decoder.decode_lines(view[start:end])]
        start = end
