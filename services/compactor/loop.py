"""Loop: all tables of the contracts are merged again and again; one that fails for now is let be for a while."""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from cdc import aws
from cdc.errors import FatalFault, TransientFault
from cdc.objects import S3Objects
from cdc.telemetry import get_log
from compactor.compactor import TableCompactor
from compactor.herald import Herald
from compactor.lake.catalog import open_catalog
from compactor.lake.faults import reaching
from compactor.lake.pair import TablePair
from compactor.lake.status_table import StatusTable
from compactor.pii_key import read_pii_key
from compactor.settings import CompactorSettings
from compactor.shift import Shift

BACK_OFF_SECONDS_MAX = 30.0

_LOG = get_log(__name__)


def run(settings: CompactorSettings, stop: threading.Event, *, once: bool) -> None:
    """Merge every table of the contracts until told to stop, or once until nothing is new."""
    raw = S3Objects(aws.s3(), settings.raw)
    quarantined = S3Objects(aws.s3(), settings.quarantine)
    pii_key = read_pii_key(settings.pii_key.get_secret_value())
    catalog = open_catalog(settings.catalog)
    with reaching(f"catalog {settings.catalog}"):
        pairs = [TablePair(catalog, settings.catalog, contract, *pii_key) for contract in settings.tables]
    tables = [
        TableCompactor(contract, pair, raw, quarantined, pii_key.secret)
        for contract, pair in zip(settings.tables, pairs, strict=True)
    ]
    herald = Herald(lambda: StatusTable(catalog, settings.catalog))
    shift = Shift(tables, lambda: datetime.now(UTC))
    backing_off = {table: BackOff() for table in tables}
    while not stop.is_set():
        began = time.monotonic()
        steps = []
        for table, back_off in backing_off.items():
            if back_off.until > time.monotonic():
                continue
            try:
                steps.append(table.step())
                backing_off[table] = BackOff()
            except TransientFault as fault:
                if once:
                    raise
                backing_off[table] = _later(back_off, fault)
        now = datetime.now(UTC)
        is_behind = any(step.has_moved and step.is_behind for step in steps)
        if not once or not any(step.has_moved for step in steps):
            next_round = math.inf if once else 0.0 if is_behind else began + settings.interval_seconds
            shift.run(lambda until=next_round: stop.is_set() or time.monotonic() >= until)  # type: ignore[misc]
        herald.refresh([told for told in (table.statement(now) for table in tables) if told is not None], now)
        if once and not any(step.has_moved for step in steps):
            return
        if not once and not is_behind:
            wakes = [back_off.until for back_off in backing_off.values() if back_off.failures]
            next_round = min([began + settings.interval_seconds, *wakes])
            stop.wait(max(next_round - time.monotonic(), 0))
    if once:
        raise FatalFault("stopped before all that is new was merged", hint="run it again; nothing is lost")


@dataclass(frozen=True, slots=True)
class BackOff:
    """How often a table has failed in a row, and until when (monotonic seconds) it is let be."""

    failures: int = 0
    until: float = 0.0


def _later(back_off: BackOff, fault: TransientFault) -> BackOff:
    failures = back_off.failures + 1
    wait = min(2.0**failures, BACK_OFF_SECONDS_MAX) * (0.5 + random.random() / 2)  # noqa: S311 - jitter
    _LOG.warning("backing off", what=fault.what, where=fault.where, hint=fault.hint, wait_seconds=round(wait, 1))
    return BackOff(failures, time.monotonic() + wait)
