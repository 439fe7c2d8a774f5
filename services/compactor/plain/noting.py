"""Noting: what plain changes tell of columns that the lake does not show, as if each had been read by itself.

`compactor.columns_seen` is the law. All changes of one reading are noted at once, so that it does not matter in which
order they came.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cdc.position import LSN_OF_BACKFILL, Position
from compactor.columns_seen import Seen, noted_first, noted_lacking, noted_offset, noted_read
from compactor.fold import DELETE
from compactor.plain.changes import Line
from compactor.plain.reader import PlainRows

Numbers = npt.NDArray[np.int64]


def noted_of_plain(
    seen: Mapping[str, Seen], names: Collection[str], watched: Collection[str], plain: PlainRows, lines: Sequence[Line]
) -> Mapping[str, Seen]:
    """What is known of columns after plain changes of some lines.

    `names` are followed and not shown, `watched` are shown, so that every change but a delete carries them.
    """
    if not len(plain) or not (names or watched):
        return seen
    lsns: Numbers = plain.rows["cdc_lsn"].to_numpy()
    epochs: Numbers = plain.rows["cdc_epoch"].to_numpy()
    is_delete = plain.rows["cdc_op"].to_numpy(zero_copy_only=False) == DELETE
    is_streamed = lsns > LSN_OF_BACKFILL
    told: Mapping[str, Seen] = seen
    for name in sorted(names):
        sets = [place for place, held in enumerate(plain.held_sets) if name in held]
        carries = np.isin(plain.held, sets)
        lacking = is_streamed & ~is_delete & ~carries
        if lacking.any():
            told = noted_lacking(told, [name], _greatest(epochs[lacking], lsns[lacking]))
        carried = is_streamed & carries & _in_life(told[name], epochs, lsns)
        if carried.any():
            told = noted_first(told, name, _smallest(epochs[carried], lsns[carried]))
        if (carries & ~is_streamed).any():
            told = noted_read(told, [name])
        for shard, number in _least(lines, plain.places[carries]).items():
            told = noted_offset(told, name, shard, number)
    if watched and not is_streamed.all():
        told = noted_read(told, watched)
    of_rows = is_streamed & ~is_delete
    if of_rows.any():
        for name in watched:
            told = noted_first({name: Seen(), **told}, name, _smallest(epochs[of_rows], lsns[of_rows]))
    return told


def _in_life(seen: Seen, epochs: Numbers, lsns: Numbers) -> npt.NDArray[np.bool_]:
    """Which changes lie in the column's present life."""
    if seen.lacking is None:
        return np.ones(len(lsns), np.bool_)
    last = Position(*seen.lacking)
    is_of_life: npt.NDArray[np.bool_] = (epochs > last.epoch) | (
        (epochs == last.epoch) & (lsns >= last.lsn + (last.ordinal > 0))
    )
    return is_of_life


def _smallest(epochs: Numbers, lsns: Numbers) -> Position:
    first = epochs.min()
    return Position(int(first), int(lsns[epochs == first].min()))


def _greatest(epochs: Numbers, lsns: Numbers) -> Position:
    last = epochs.max()
    return Position(int(last), int(lsns[epochs == last].max()))


def _least(lines: Sequence[Line], places: npt.NDArray[np.intp]) -> dict[str, int]:
    """The least sequence number of some lines in each shard."""
    least: dict[str, int] = {}
    for place in places.tolist():
        line = lines[place]
        number = int(line.raw.seq)
        if number < least.get(line.shard, number + 1):
            least[line.shard] = number
    return least
