"""EMF: CloudWatch's embedded metric format, which its log agent turns into metrics; so no program calls CloudWatch.

AWS's user guide, "Specification: Embedded metric format", is what `documents` keeps to. A series costs money for each
hour in which it is sent: so a program names the few that are sent always, and those that are sent only while they tell
of trouble. `/metrics` shows everything all the same.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from prometheus_client import REGISTRY, CollectorRegistry, Metric

VALUES_MAX: Final = 100
"""Values of one metric in a document (the specification's limit)."""
METRICS_MAX: Final = 100
"""Metrics in a document (the specification's limit)."""
_UNITS: Final = {"_milliseconds": "Milliseconds", "_seconds": "Seconds", "_bytes": "Bytes", "_ratio": "None"}


class Fold(Enum):
    """How values that differ only in labels that are left out become one."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Series:
    """A metric that CloudWatch gets, one series for each value of the labels `by`, besides the service.

    A value below `from_value` is not sent. Counters are sent as what was added since the last time.
    """

    metric: str
    by: tuple[str, ...] = ()
    fold: Fold = Fold.SUM
    from_value: float = -math.inf


Key = tuple[str, tuple[tuple[str, str], ...]]
"""A series' metric and labels."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What counters and buckets had counted when they were last sent, by their series (and upper bound)."""

    counts: Mapping[tuple[Key, float], float] = field(default_factory=dict)


def documents(
    families: Iterable[Metric], series: Sequence[Series], service: str, namespace: str, seen: Seen, now_ms: int
) -> tuple[list[dict[str, Any]], Seen]:
    """The documents to send now, one for each set of dimensions, and what was seen; `now_ms` is Unix time."""
    wanted = {one.metric: one for one in series}
    counts = dict(seen.counts)
    found: dict[tuple[tuple[str, str], ...], dict[str, float | list[float]]] = {}
    for family in families:
        one = wanted.get(family.name)
        if one is None:
            continue
        for key, value in _values(family, one, counts).items():
            dimensions = (("service", service), *key[1])
            found.setdefault(dimensions, {})[family.name] = value
    told = [
        _document(namespace, dict(dimensions), dict(some), now_ms)
        for dimensions, values in sorted(found.items())
        for some in _batches(values)
    ]
    return told, Seen(counts)


@contextmanager
def emitting(
    series: Sequence[Series],
    service: str,
    namespace: str,
    period_seconds: float,
    write: Callable[[str], object] | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> Iterator[None]:
    """Write documents to stdout at the start, each period, and a last time at the end.

    So a program that is killed within its first period was counted, and one that fails still tells so.
    """
    seen, stop = Seen(), threading.Event()
    out = write or _write_line

    def emit() -> None:
        nonlocal seen
        told, seen = documents(registry.collect(), series, service, namespace, seen, time.time_ns() // 1_000_000)
        for document in told:
            out(json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False))

    def live() -> None:
        while not stop.wait(period_seconds):
            emit()

    emit()
    thread = threading.Thread(target=live, name="emf", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        emit()


def _write_line(line: str) -> None:
    # One write a line: log lines of other threads come before it or after it.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _values(family: Metric, one: Series, counts: dict[tuple[Key, float], float]) -> dict[Key, float | list[float]]:
    """What each series of a family has to tell now; `counts` learns what was counted."""
    if family.type == "histogram":
        return _observed(family, one, counts)
    is_counter = family.type == "counter"
    folded: dict[Key, float] = {}
    for sample in family.samples:
        if sample.name.endswith("_created") or math.isnan(sample.value):
            continue
        key = _key(one, sample.labels)
        before = folded.get(key)
        if before is None:
            folded[key] = sample.value
        else:
            folded[key] = before + sample.value if one.fold is Fold.SUM or is_counter else max(before, sample.value)
    told: dict[Key, float | list[float]] = {}
    for key, total in folded.items():
        value = total
        if is_counter:
            value, counts[key, math.inf] = total - counts.get((key, math.inf), 0.0), total
        if value >= one.from_value and not math.isinf(value):
            told[key] = value
    return told


def _observed(family: Metric, one: Series, counts: dict[tuple[Key, float], float]) -> dict[Key, float | list[float]]:
    """What a histogram observed since the last time, each as the upper bound of its bucket."""
    totals: dict[Key, dict[float, float]] = {}
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            buckets = totals.setdefault(_key(one, sample.labels), {})
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + sample.value
    told: dict[Key, float | list[float]] = {}
    for key, buckets in totals.items():
        below, bounds = 0.0, sorted(buckets)
        new: list[tuple[float, int]] = []
        for bound in bounds:
            upto = buckets[bound] - counts.get((key, bound), 0.0)
            # What is above all bounds is told as the largest of them.
            new.append((bound if math.isfinite(bound) else bounds[-2], round(upto - below)))
            below, counts[key, bound] = upto, buckets[bound]
        values = _thinned(new)
        if values:
            told[key] = values
    return told


def _thinned(observed: Sequence[tuple[float, int]]) -> list[float]:
    """At most as many values as may be sent, evenly chosen of all that were observed, in order."""
    values = [bound for bound, count in observed for _ in range(min(count, 1_000))]
    if len(values) <= VALUES_MAX:
        return values
    return [values[round(place * (len(values) - 1) / (VALUES_MAX - 1))] for place in range(VALUES_MAX)]


def _key(one: Series, labels: Mapping[str, str]) -> Key:
    return one.metric, tuple((name, labels[name]) for name in one.by)


def _batches(values: Mapping[str, float | list[float]]) -> Iterator[list[tuple[str, float | list[float]]]]:
    items = sorted(values.items())
    for start in range(0, len(items), METRICS_MAX):
        yield items[start : start + METRICS_MAX]


def _document(
    namespace: str, dimensions: Mapping[str, str], values: Mapping[str, float | list[float]], now_ms: int
) -> dict[str, Any]:
    metrics = [{"Name": name, "Unit": unit(name)} for name in values]
    directive = {"Namespace": namespace, "Dimensions": [list(dimensions)], "Metrics": metrics}
    return {"_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [directive]}, **dimensions, **values}


def unit(metric: str) -> str:
    """CloudWatch's unit of a metric, which the end of its name tells."""
    return next((unit for end, unit in _UNITS.items() if metric.endswith(end)), "Count")
