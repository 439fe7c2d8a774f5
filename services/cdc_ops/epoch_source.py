"""Epoch source: snapshots that wait since they are of another database than the table, and their acceptance."""

from __future__ import annotations

from collections.abc import Callable

from cdc.contract import TableContract
from cdc.objects import ObjectStore
from cdc.program import EXIT_FATAL
from compactor.chain import known_shards
from compactor.epochs import EpochKeeper
from compactor.progress import Progress


def tell_and_accept(
    store: ObjectStore,
    contract: TableContract,
    progress: Progress,
    tell: Callable[[str], object],
    agree: Callable[[], bool | None] | None,
) -> int:
    """Tell of the snapshots that wait, and record their epochs once agreed; returns the exit code.

    `agree` asks the operator, and is None when nobody can be asked; without it nothing is recorded.
    """
    keeper, known = EpochKeeper(contract, store), known_shards(store)
    keeper.refresh()
    keeper.find_refused(progress)
    for snapshot, source in sorted(keeper.refused.items()):
        tell(f"snapshot {snapshot} waits: it is of database {source}, the table of {keeper.epochs.source}\n")
    sources = set(keeper.refused.values())
    if agree is None:
        return EXIT_FATAL if sources else 0
    if len(sources) != 1:
        tell("it is not clear which one to accept\n" if sources else "no snapshot of another database waits\n")
        return EXIT_FATAL
    (keeper.accepted,) = sources
    tell(f"the table would be of database {keeper.accepted} from there on; rows that it does not have are deleted\n")
    answer = agree()
    if answer is None:
        tell("not recorded: nobody can be asked; add --yes\n")
    if not answer:
        return EXIT_FATAL
    keeper.record_announced(progress, known, is_new=False)
    tell("recorded\n")
    return 0
