"""What `cdc reconcile` tells CloudWatch of a run, as docs/metrics.md lists it. Labels are names of tables.

A run is over before anybody could ask it for /metrics: what it found is told to CloudWatch alone, and by `cdc status`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

from prometheus_client import Counter

from cdc.emf import Series, emitting
from cdc.settings import Settings
from cdc_ops.reconcile_outcome import Outcome

SERVICE: Final = "cdc-ops"
"""The dimension `service`: the name of the image that has the command."""
DIFFERING = Counter("cdc_ops_differing_rows", "Rows in which a comparison found lake and source to differ.", ["table"])
FAILED = Counter(
    "cdc_ops_failed_comparisons",
    "Comparisons with the source that did not come to a verdict on all rows.",
    ["table"],
)
SERIES = (
    Series("cdc_ops_differing_rows", ("table",), from_value=1),
    Series("cdc_ops_failed_comparisons", ("table",), from_value=1),
)
"""What CloudWatch gets."""


def telling(settings: Settings) -> AbstractContextManager[None]:
    """Tells CloudWatch on stdout what was counted, where the settings ask for that."""
    if settings.metrics != "emf":
        return nullcontext()
    return emitting(SERIES, SERVICE, settings.metrics_namespace, settings.metrics_period_seconds)


def count(outcome: Outcome) -> None:
    """Count what came of a comparison."""
    DIFFERING.labels(outcome.table).inc(outcome.difference_count)
    if outcome.undecided:
        FAILED.labels(outcome.table).inc()
