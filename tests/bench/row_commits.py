"""Row `commits`: 2,000 commits in a row with maintenance on; the last ones cost what the first ones did.

Each commit merges a few changes through the real compactor into a real catalog (the sandbox's Glue and S3), and is
followed by a step of maintenance, with the limits that the product has. The clock goes half a minute a commit, as commits
do where a minute of freshness is promised; snapshots bear its time too. Compared are, in CPU seconds of this process, the
hundred commits at the end with a hundred early ones of a table that was made meanwhile, in turn with them, since a busy
machine makes all CPU seconds longer; and the size of the metadata file that each commit writes. Early is after as many as
maintenance keeps snapshots of. At the end every file below the tables must be named by them, and every file that they name
must be there.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

from pyiceberg.catalog import Catalog

from cdc.contract import parse_contract
from compactor.lake.table import LakeTable
from compactor.maintenance import Limits
from sandbox.aws import Aws
from tests.bench.result import Result
from tests.bench.row_scan import lake
from tests.compactor_world import CONTRACT, World, change, put
from tests.lake_files import named, stored

COMMITS = int(os.environ.get("COMMITS", "2000"))
WINDOW = min(100, COMMITS // 5)
KEYS = 5000
CHANGES = 20
APART = timedelta(seconds=30)
RATIO_MAX = 1.5
EARLY = min(Limits().snapshot_age // APART, COMMITS // 10)


@dataclass(slots=True)
class Costs:
    """What each commit cost: CPU seconds of the merge, of the maintenance after it, and bytes of the metadata then."""

    merges: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)


class Growing:
    """A table to which changes are committed, a few at a time."""

    def __init__(self, catalog: Catalog, environment: dict[str, str], name: str) -> None:
        self.world = World(catalog, parse_contract(CONTRACT.format(name=name)), environment)
        self.costs = Costs()
        self._dice, self._lsn, self.now = Random(1), 0, datetime.now(UTC)
        self._shard = self.world.shard()

    def commit(self) -> None:
        """Merge some changes, then take a step of maintenance."""
        events = []
        for _ in range(CHANGES):
            self._lsn += 1
            text = str(self._lsn)
            events.append(change(self._dice.choice("uuucd"), self._lsn, self._dice.randrange(KEYS), text, text))
        put(self._shard, self.world.contract, *events)
        self.now += APART
        with patch("compactor.lake.build.time", SimpleNamespace(time=self.now.timestamp)):
            began = time.process_time()
            self.world.compactor.step()
            merged = time.process_time()
            self.world.compactor.maintain(self.now)
        self.costs.merges.append(merged - began)
        self.costs.steps.append(time.process_time() - merged)
        self.costs.bytes.append(_metadata_bytes(self.world.compactor._pair.table))


def measure() -> Result:
    """Commit, maintain, compare the end with the start."""
    with lake() as (aws, catalog):
        old, new = (Growing(catalog, aws.environment(), name) for name in ("commits", "early"))
        for _ in range(COMMITS - WINDOW):
            old.commit()
        for _ in range(EARLY):
            new.commit()
        for _ in range(WINDOW):
            old.commit()
            new.commit()
        old.world.maintain(old.now + timedelta(days=30))
        left, missing = _compare(aws, old.world)
        files, history = len(old.world.pair().table.live_files()), len(old.world.pair().history.live_files())
    costs = old.costs
    end, start = (statistics.median(table.costs.merges[-WINDOW:]) for table in (old, new))
    growth = max(costs.bytes[-WINDOW:]) / max(new.costs.bytes[-WINDOW:])
    return Result(
        row="commits",
        figure=1000 * end,
        unit=f"ms of CPU for a merge after {COMMITS} commits",
        peer=f"after {EARLY}",
        peer_figure=1000 * start,
        ratio=end / start,
        target=f"≤ {RATIO_MAX}× in time and in metadata, no file left behind, none missing",
        met=end <= RATIO_MAX * start and growth <= RATIO_MAX and not left and not missing,
        details={
            "metadata_bytes_start": max(new.costs.bytes[-WINDOW:]),
            "metadata_bytes_end": max(costs.bytes[-WINDOW:]),
            "metadata_ratio": f"{growth:.3f}",
            "maintenance_ms_per_commit": 1000 * statistics.mean(costs.steps),
            "maintenance_ms_highest": 1000 * max(costs.steps),
            "data_files": files,
            "history_files": history,
            "files_left_behind": left,
            "files_missing": missing,
        },
    )


def _metadata_bytes(table: LakeTable) -> int:
    return len(table.table.io.new_input(table.table.metadata_location))


def _compare(aws: Aws, world: World) -> tuple[int, int]:
    """How many files nothing names, and how many that are named are not there, of both tables."""
    left = missing = 0
    for table in (world.pair().table, world.pair().history):
        there, wanted = stored(aws, table), named(table.table)
        left, missing = left + len(there - wanted), missing + len(wanted - there)
    return left, missing
