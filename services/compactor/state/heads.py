"""Heads: of raw lines no more than which key they change, how and at which position; their rows are passed over.

What is told here is what `compactor.change` would say of the same line, if it can be merged at all. That is not checked
here, so nothing may be taken from a line because of its head alone. A line that is not as simple (a key change in one
event, a truncate, in Avro or with an inline schema, from DMS, unreadable, …) has no head: it is read by the law.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdc.contract import TableContract
from cdc.debezium.decode import PUBLISHER_VERSION, SPELT
from cdc.debezium.forms import forms_of_modes
from cdc.position import LSN_MAX, LSN_OF_BACKFILL
from cdc.raw import RawLine
from compactor.index import Fingerprints
from compactor.plain.changes import UNREADABLE
from compactor.plain.columns import ColumnReader, column_masker, column_reader

CREATE, DELETE, READ, UPDATE = b"cdru"
Places = npt.NDArray[np.intp]
PrintsOf = Callable[[Sequence[pa.ChunkedArray | pa.Array]], Fingerprints]
_Mask = npt.NDArray[np.bool_]
_Lsn = Annotated[int, msgspec.Meta(ge=0, le=LSN_MAX)]


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads of some lines of an object: their places in it, ops (letters as numbers), LSNs, keys as fingerprints.

    `others` are the places of the lines that have none, in their order.
    """

    places: Places
    ops: npt.NDArray[np.uint8]
    lsns: npt.NDArray[np.int64]
    prints: Fingerprints
    others: list[int]

    def __len__(self) -> int:
        return len(self.places)

    @classmethod
    def joined(cls, parts: Sequence[Heads]) -> Heads:
        """Those of several readings one after the other; the places of each are its own, and others are left out."""
        lows = [part.prints.low for part in parts if part.prints.low is not None]
        high = np.concatenate([part.prints.high for part in parts])
        places, ops, lsns = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("places", "ops", "lsns")
        )
        return cls(places, ops, lsns, Fingerprints(high, np.concatenate(lows) if lows else None), [])


class _Version(msgspec.Struct):
    version: str = ""


class _VersionEnvelope(msgspec.Struct):
    source: _Version


class _VersionLine(msgspec.Struct):
    event: _VersionEnvelope


_VERSION_LINE = msgspec.json.Decoder(_VersionLine)


class HeadReader:
    """Reads the heads of one table's lines; `types` has the types of its key in the lake, `prints_of` makes fingerprints."""

    def __init__(self, contract: TableContract, types: pa.Schema, pii_key: bytes, prints_of: PrintsOf) -> None:
        self._prints_of = prints_of
        self._key = [contract.column(name) for name in contract.key]
        forms = forms_of_modes(contract, contract.producer)
        self._ours = [column_reader(column, types.field(column.name).type, None) for column in self._key]
        self._stated = [
            column_reader(column, types.field(column.name).type, forms.by_column[column.source_name])
            for column in self._key
        ]
        self._maskers = [column_masker(column, pii_key) for column in self._key]
        # Events from before a column of the key was renamed name it otherwise, or name two columns so.
        self._is_renamed = any(column.former_names for column in self._key)
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._of_ours, self._of_stated = (
            msgspec.json.Decoder(self._envelope(readers, str)) for readers in (self._ours, self._stated)
        )

    def read(self, text: bytes, count: int) -> Heads | None:
        """The heads of all lines of an object, `count` of them; None where one of them is not our own publisher's, or
        is not simple.
        """
        if self._is_renamed or SPELT in text:
            return None
        try:
            version = _VERSION_LINE.decode(text[: text.index(b"\n")]).event.source.version
            if not version.endswith(PUBLISHER_VERSION):
                return None
            lines = self._decoder(version).decode_lines(text)
        except UNREADABLE:
            return None
        if len(lines) != count:
            return None
        return self._heads([line.event for line in lines], np.arange(count), self._ours, [])

    def read_lines(self, lines: Sequence[RawLine]) -> Heads:
        """The heads of some lines of whatever producers, looked at one by one."""
        ours: list[tuple[int, Any]] = []
        stated: list[tuple[int, Any]] = []
        others: list[int] = []
        for place, line in enumerate(lines):
            event = bytes(line.event)
            if self._is_renamed or line.schema_id is not None or SPELT in event:
                others.append(place)
                continue
            try:
                envelope = self._of_stated.decode(event)
                is_ours = envelope.source.version.endswith(PUBLISHER_VERSION)
                (ours if is_ours else stated).append((place, self._of_ours.decode(event) if is_ours else envelope))
            except UNREADABLE:
                others.append(place)
        parts = [
            self._heads([event for _, event in some], np.array([place for place, _ in some], np.intp), readers, others)
            for some, readers in ((ours, self._ours), (stated, self._stated))
        ]
        return replace(Heads.joined(parts), others=sorted(others))

    def _decoder(self, version: str) -> msgspec.json.Decoder[Any]:
        """A decoder of lines of which all must be of one version, which then need not be made a text of each time."""
        if version not in self._decoders:
            event = self._envelope(self._ours, Literal[version])
            line = msgspec.defstruct("Line", [("event", event), ("schema_id", None, None)], gc=False)
            self._decoders[version] = msgspec.json.Decoder(line)
        return self._decoders[version]

    def _envelope(self, readers: Sequence[ColumnReader], version: Any) -> Any:
        """What is read of an event; all other members are passed over."""
        names = {f"k{place}": column.source_name for place, column in enumerate(self._key)}
        fields = [(f"k{place}", reader.json_type) for place, reader in enumerate(readers)]
        key = msgspec.defstruct("Key", fields, gc=False, rename=names)
        source = msgspec.defstruct("Source", [("lsn", _Lsn | None, None), ("version", version, "")], gc=False)
        return msgspec.defstruct(
            "Envelope",
            [
                ("op", Literal["r", "c", "u", "d"]),
                ("source", source),
                ("before", key | None, None),
                ("after", key | None, None),
            ],
            gc=False,
        )

    def _heads(self, events: list[Any], places: Places, readers: Sequence[ColumnReader], others: list[int]) -> Heads:
        ops = np.frombuffer("".join([event.op for event in events]).encode(), np.uint8)
        lsns = np.array([event.source.lsn or LSN_OF_BACKFILL for event in events], np.int64)
        lsns[ops == READ] = LSN_OF_BACKFILL
        befores, afters = [event.before for event in events], [event.after for event in events]
        images = [before if after is None else after for before, after in zip(befores, afters, strict=True)]
        bad = _have_odd_images(ops, befores, afters) | ((lsns == LSN_OF_BACKFILL) & (ops != READ))
        if bad.any():
            good = ~bad
            others += places[bad].tolist()
            ops, lsns, places = ops[good], lsns[good], places[good]
            images = [images[place] for place in np.flatnonzero(good).tolist()]
        columns: list[pa.Array] = []
        bad = np.zeros(len(images), np.bool_)
        for place, (reader, mask) in enumerate(zip(readers, self._maskers, strict=True)):
            array, wrong = reader.convert(list(map(attrgetter(f"k{place}"), images)))
            bad |= np.bool_(False) if wrong is None else wrong
            if array.null_count:
                bad |= array.is_null().to_numpy(zero_copy_only=False)
            columns.append(array if mask is None else mask(pa.chunked_array([array])))
        if bad.any():
            good = ~bad
            others += places[bad].tolist()
            ops, lsns, places = ops[good], lsns[good], places[good]
            columns = [column.filter(pa.array(good)) for column in columns]
        return Heads(places, ops, lsns, self._prints_of(columns), sorted(others))


def _have_odd_images(ops: npt.NDArray[np.uint8], befores: list[Any], afters: list[Any]) -> _Mask:
    """Which events have not the images that their op has, or another key before than after."""
    is_delete = ops == DELETE
    deletes = int(is_delete.sum())
    if afters.count(None) == deletes and befores.count(None) == len(ops) - deletes:
        # As nearly always: nothing before but of deletes, and after them nothing.
        at = np.flatnonzero(is_delete).tolist()
        if all(afters[place] is None and befores[place] is not None for place in at):
            return np.zeros(len(ops), np.bool_)
    return np.fromiter(map(_is_odd, ops.tolist(), befores, afters), np.bool_, len(ops))


def _is_odd(op: int, before: Any, after: Any) -> bool:
    if op == DELETE:
        return before is None or after is not None
    return after is None or (before is not None and (op != UPDATE or before != after))
