"""Export: the present rows of a table out of raw alone, written to one file."""

from __future__ import annotations

from pathlib import Path

from cdc.contract import TableContract
from cdc.objects import ObjectStore
from compactor.lake.evolve import identity
from compactor.pii_key import PiiKey
from compactor.progress import Progress
from compactor.state.current import Current, current_state
from compactor.state.parquet import write
from compactor.state.zone import FROM_THE_START, Tell


def export(
    contract: TableContract,
    store: ObjectStore,
    pii_key: PiiKey,
    path: Path,
    tell: Tell = lambda _: None,
    begins: Progress = FROM_THE_START,
) -> Current:
    """Write the present rows of a table to a new Parquet file; returns them. `begins` is as `open_zone` has it.

    Raises:
        RawFault: when raw lacks something or holds what is not what its batch record says.
        FatalFault: when raw alone does not tell the rows, or the file cannot be written or is there already.
    """
    current = current_state(contract, store, pii_key.secret, tell, begins)
    tell(f"writing {len(current.rows):,} rows")
    write(current, path, identity(contract, pii_key.secret, pii_key.version))
    return current
