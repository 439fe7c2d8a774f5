"""Export: the present rows of a table out of raw alone, written to one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from cdc.contract import TableContract
from cdc.objects import ObjectStore
from compactor.progress import Progress
from compactor.state.current import Current, Tell, current_state
from compactor.state.parquet import write
from compactor.state.zone import FROM_THE_START


def export(
    contract: TableContract,
    store: ObjectStore,
    pii_key: bytes,
    path: Path,
    tell: Tell = lambda _: None,
    begins: Progress = FROM_THE_START,
) -> Current:
    """Write the present rows of a table to a new Parquet file; returns them. `begins` is as `open_zone` has it.

    Raises:
        RawFault: when raw lacks something or holds what is not what its batch record says.
        FatalFault: when raw alone does not tell the rows.
        OSError: when the file cannot be written, or is there already.
    """
    with _memory_kept():
        current = current_state(contract, store, pii_key, tell, begins)
        tell(f"writing {len(current.order):,} rows")
        write(current, path)
        return current


@contextmanager
def _memory_kept() -> Iterator[None]:
    """Within, Arrow takes memory from the system's allocator, which keeps what was given back.

    All is read once and thrown away soon: its own allocator would return and fetch the same pages again and again,
    which took a fifth of the time.
    """
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)
