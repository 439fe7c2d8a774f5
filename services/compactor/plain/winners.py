"""Winners: of plain changes, which go the slow way after all, and what the newest of each key do to the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdc.position import Position
from compactor.index import Fingerprints, Positions, RowIndex
from compactor.plain.reader import PlainRows

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PlainMerge:
    """What plain changes do: `history` is to be appended; of the keys that it speaks of, `rows` are the newest rows.

    `row_prints` are the fingerprints of `rows`; `deleted` those of the keys whose newest change is a delete, with the
    positions of these; `gone` the rows of the table that are dead now, by file.
    """

    history: pa.Table
    rows: pa.Table
    row_prints: Fingerprints
    deleted: Fingerprints
    deleted_at: list[Position]
    gone: Mapping[str, Positions]
    duplicates: int


def separate(
    plain: PlainRows,
    prints: Fingerprints,
    index: RowIndex,
    slow: Fingerprints,
    floor: Position | None,
    donors: set[int],
) -> Mask:
    """Which plain changes must be folded one by one: those of a key of which one is slow, late, or under a truncate.

    `slow` are the keys of changes that are not plain, `donors` the LSNs at which a key change may take its values from
    a delete.
    """
    lsns = plain.rows["cdc_lsn"].to_numpy()
    epochs = plain.rows["cdc_epoch"].to_numpy()
    found = index.find(prints)
    newest = found.entries
    is_known = newest.lsn >= 0
    late = is_known & ((epochs < newest.epoch) | ((epochs == newest.epoch) & (lsns <= newest.lsn)))
    troubled = late | found.is_above
    if floor is not None:
        troubled |= (epochs < floor.epoch) | ((epochs == floor.epoch) & (lsns <= floor.lsn))
    # A delete and another change at one position are halves of a key change, perhaps of one key.
    is_delete = plain.rows["cdc_op"].to_numpy(zero_copy_only=False) == "d"
    troubled |= np.isin(lsns, np.intersect1d(lsns[is_delete], lsns[~is_delete]))
    if donors:
        troubled |= np.isin(lsns, np.fromiter(donors, np.int64, len(donors)))
    # What a high half meets by chance goes the slow way as well, which is as right.
    return np.isin(prints.high, np.concatenate([slow.high, prints.high[troubled]]))


def settle(plain: PlainRows, prints: Fingerprints, index: RowIndex) -> PlainMerge:
    """Merge plain changes that are newer than all that is known of their keys; the newest of each wins."""
    lsns, epochs = plain.rows["cdc_lsn"].to_numpy(), plain.rows["cdc_epoch"].to_numpy()
    keys = (prints.high,) if prints.low is None else (prints.low, prints.high)
    is_one_epoch = not len(epochs) or bool((epochs == epochs[0]).all())
    order = np.lexsort((lsns, *keys) if is_one_epoch else (lsns, epochs, *keys))
    prints, lsns, epochs = prints.take(order), lsns[order], epochs[order]
    same_key = prints.repeats()
    doubled = np.zeros(len(order), np.bool_)
    doubled[1:] = same_key[1:] & (lsns[1:] == lsns[:-1]) & (epochs[1:] == epochs[:-1])
    is_newest = np.ones(len(order), np.bool_)
    is_newest[:-1] = ~same_key[1:]
    # Of doubles the first that came counts; the newest of a key is the first of its last doubles.
    starts = np.flatnonzero(~doubled)
    newest = starts[np.searchsorted(starts, np.flatnonzero(is_newest), side="right") - 1]
    winners = order[newest]
    is_delete = plain.rows["cdc_op"].to_numpy(zero_copy_only=False)[winners] == "d"
    winner_prints = prints.take(newest)
    dead = np.flatnonzero(is_delete)
    return PlainMerge(
        history=plain.rows if len(starts) == len(order) else plain.rows.take(pa.array(np.sort(order[starts]))),
        rows=plain.rows.drop_columns(["cdc_op"]).take(pa.array(winners[~is_delete])),
        row_prints=winner_prints.take(~is_delete),
        deleted=winner_prints.take(dead),
        deleted_at=[
            Position(epoch, lsn)
            for epoch, lsn in zip(epochs[newest][dead].tolist(), lsns[newest][dead].tolist(), strict=True)
        ],
        gone=index.live_places(winner_prints),
        duplicates=int(doubled.sum()),
    )
