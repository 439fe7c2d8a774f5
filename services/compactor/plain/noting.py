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
from compactor.plain.reader import Line, PlainRows

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
    epoch = plain.rows["cdc_epoch"][0].as_py()
    is_delete = plain.rows["cdc_op"].to_numpy(zero_copy_only=False) == DELETE
    is_streamed = lsns > LSN_OF_BACKFILL
    told: Mapping[str, Seen] = seen
    for name in sorted(names):
        sets = [place for place, held in enumerate(plain.held_sets) if name in held]
        carries = np.isin(plain.held, sets)
        lacking = lsns[is_streamed & ~is_delete & ~carries]
        if len(lacking):
            told = noted_lacking(told, [name], Position(epoch, int(lacking.max())))
        told = noted_first(told, name, _first(told[name], epoch, lsns[is_streamed & carries]))
        if (carries & ~is_streamed).any():
            told = noted_read(told, [name])
        for shard, number in _least(lines, plain.places[carries]).items():
            told = noted_offset(told, name, shard, number)
    if watched and not is_streamed.all():
        told = noted_read(told, watched)
    of_rows = lsns[is_streamed & ~is_delete]
    if len(of_rows):
        for name in watched:
            told = noted_first({name: Seen(), **told}, name, Position(epoch, int(of_rows.min())))
    return told


def _first(seen: Seen, epoch: int, lsns: Numbers) -> Position | None:
    """The first of some changes that lies in the column's present life."""
    if seen.lacking is not None:
        last = Position(*seen.lacking)
        lsns = (
            lsns[lsns >= last.lsn + (last.ordinal > 0)]
            if last.epoch == epoch
            else lsns[: len(lsns) if last.epoch < epoch else 0]
        )
    return Position(epoch, int(lsns.min())) if len(lsns) else None


def _least(lines: Sequence[Line], places: npt.NDArray[np.intp]) -> dict[str, int]:
    """The least sequence number of some lines in each shard."""
    least: dict[str, int] = {}
    for place in places.tolist():
        line = lines[place]
        number = int(line.raw.seq)
        if number < least.get(line.shard, number + 1):
            least[line.shard] = number
    return least
