"""Dialect: how the rows of one producer are read, and which of their values do not mean what they seem to."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdc.contract import TableContract
from cdc.debezium.placeholder import placeholders
from cdc.form import Forms
from compactor.fold import UPDATE
from compactor.plain.block import MEMBER, QUOTED_MEMBER
from compactor.plain.columns import ColumnReader, column_reader

_ROW = msgspec.json.Decoder(dict[str, Any])
_ESCAPED = re.compile(r'["\\\x00-\x1f]')


def is_written_as_it_is(name: str) -> bool:
    """Whether JSON needs no escape in a name (RFC 8259, section 7): msgspec takes no other as that of a field."""
    return _ESCAPED.search(name) is None


class HeldSets:
    """The sets of held columns that rows carry; `held` are all of them that may be passed over."""

    def __init__(self, held: Collection[str]) -> None:
        # An escape would also upset the count by which a column that stands twice is found.
        self.held = tuple(sorted(filter(is_written_as_it_is, held)))
        self._places: dict[frozenset[str], int] = {}
        self.all = self.place(self.held)
        self.none = self.place(())

    def place(self, names: Collection[str]) -> int:
        """The place of a set in `sets`."""
        return self._places.setdefault(frozenset(names), len(self._places))

    @property
    def sets(self) -> tuple[frozenset[str], ...]:
        """All sets so far."""
        return tuple(self._places)


class Dialect:
    """How the rows of one producer are read: all columns of the contract, each once, and of others the held ones."""

    def __init__(self, contract: TableContract, types: pa.Schema, forms: Forms | None, held: Sequence[str]) -> None:
        self.is_stated = forms is not None
        self.readers: list[ColumnReader] = []
        self._placeholders: list[tuple[Any, ...]] = []
        self._nulled: list[int] = []
        self._unread: list[int] = []
        fields = []
        for place, column in enumerate(contract.columns):
            form = None if forms is None else forms.by_column[column.source_name]
            reader = column_reader(column, types.field(column.name).type, form)
            self.readers.append(reader)
            self._placeholders.append(placeholders(column.type, contract.producer))
            fields.append((f"c{place}", reader.json_type))
            if form is not None and form.is_null_when_unchanged:
                self._nulled.append(place)
            if form is not None and form.is_null_when_unread:
                self._unread.append(place)
        names = {f"c{place}": column.source_name for place, column in enumerate(contract.columns)}
        names |= {f"h{place}": name for place, name in enumerate(held)}
        passed_over = [(f"h{place}", Any, msgspec.UNSET) for place in range(len(held))]
        row = msgspec.defstruct("Row", [*fields, *passed_over], forbid_unknown_fields=True, gc=False, rename=names)
        self.decoder = msgspec.json.Decoder(row)
        key = [field for field, column in zip(fields, contract.columns, strict=True) if column.name in contract.key]
        self._key_decoder = msgspec.json.Decoder(msgspec.defstruct("Key", key, gc=False, rename=names))
        parsed = [reader.arrow_type for reader in self.readers]
        self.parsed = (
            pa.schema(list(zip((column.source_name for column in contract.columns), parsed, strict=True)))
            if all(type_ is not None for type_ in parsed)
            else None
        )
        """The types by which Arrow parses whole rows; None where some column has none."""

    def key_of(self, before: bytes) -> tuple[tuple[Any, ...] | None, AbstractSet[str]]:
        """The key that a row had before, in the order of the contract's columns, and the names of all its columns.

        The key is None when a column stands twice. Raises one of `UNREADABLE` when the row cannot be read.
        """
        row = _ROW.decode(before)  # all of it: the law refuses an image of which any value cannot be read
        if before.count(MEMBER) - before.count(QUOTED_MEMBER) != len(row):
            return None, row.keys()
        return msgspec.structs.astuple(self._key_decoder.decode(before)), row.keys()

    def unchanged(self, place: int, values: pa.Array | Sequence[Any]) -> npt.NDArray[np.bool_] | np.bool_:
        """Which values of a column say "unchanged", as JSON has them or as Arrow has parsed them."""
        stand_ins = self._placeholders[place]
        if isinstance(values, pa.Array):
            return _parsed_unchanged(values, stand_ins)
        if not any(stand_in in values for stand_in in stand_ins):
            return np.bool_(False)
        return np.fromiter((value in stand_ins for value in values), np.bool_, len(values))

    def doubtful_nulls(
        self, ops: npt.NDArray[np.str_], values: Sequence[pa.Array | Sequence[Any]]
    ) -> npt.NDArray[np.bool_]:
        """Which rows have a null that from this producer may mean another thing; `values` are those of all columns."""
        bad = np.zeros(len(ops), np.bool_)
        for place in {*self._nulled, *self._unread}:
            some = values[place]
            is_null = (
                some.is_null().to_numpy(zero_copy_only=False)
                if isinstance(some, pa.Array)
                else np.array([value is None for value in some], np.bool_)
            )
            bad |= is_null if place in self._unread else is_null & (ops == UPDATE)
        return bad


def _parsed_unchanged(array: pa.Array, stand_ins: tuple[Any, ...]) -> npt.NDArray[np.bool_] | np.bool_:
    """The same of texts, or lists of texts; no other type that Arrow parses has a value that says so."""
    if pa.types.is_list(array.type):
        texts = [one[0] for one in stand_ins if isinstance(one, list) and len(one) == 1 and isinstance(one[0], str)]
        alone = pc.fill_null(pc.equal(pc.list_value_length(array), 1), False)
        if not pc.any(alone).as_py():
            return np.bool_(False)
        first = pc.list_element(pc.if_else(alone, array, pa.scalar([""], array.type)), 0)
        found = pc.and_(alone, pc.is_in(first, pa.array(texts, pa.string())))
    elif pa.types.is_string(array.type):
        found = pc.is_in(array, pa.array([one for one in stand_ins if isinstance(one, str)], pa.string()))
    else:
        return np.bool_(False)
    says: npt.NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return says
