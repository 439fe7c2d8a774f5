"""docs/metrics.md is what the programs register, and what CloudWatch gets stays cheap."""

from __future__ import annotations

import importlib
import math
import pkgutil
import re

import pytest
from prometheus_client import REGISTRY

import cdc_consumer.metrics
import cdc_ops.metrics
import cdc_publisher.metrics
import compactor.metrics
from cdc import vitals
from cdc.emf import Series, unit
from tests.conftest import ROOT

PROGRAMS = {
    "cdc_publisher": cdc_publisher.metrics.SERIES,
    "cdc_consumer": cdc_consumer.metrics.SERIES,
    "compactor": compactor.metrics.SERIES,
    "cdc_ops": cdc_ops.metrics.SERIES,
}
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
UNITS = {"Count": "count", "Seconds": "s", "Milliseconds": "ms", "Bytes": "bytes", "None": "ratio"}
SENT = {one.metric: one for series in (vitals.SERIES, *PROGRAMS.values()) for one in series}


@pytest.fixture(scope="module")
def registered() -> dict[str, tuple[str, str, str, str, str]]:
    """By name, what the modules of all programs register."""
    for name in PROGRAMS:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)
    found = {}
    for collector in REGISTRY._collector_to_names:
        name = getattr(collector, "_name", "")
        if name.startswith((*PROGRAMS, "program_")):
            labels = ", ".join(f"`{label}`" for label in collector._labelnames) or "none"  # type: ignore[attr-defined]
            kind, meaning = collector._type, collector._documentation.rstrip(".")  # type: ignore[attr-defined]
            found[name] = (kind, UNITS[unit(name)], labels, told(SENT.get(name)), meaning)
    return found


def told(series: Series | None) -> str:
    if series is None:
        return "none"
    return "always" if math.isinf(series.from_value) else f"from {series.from_value:g}"


def test_the_list_is_what_the_programs_register(registered: dict[str, tuple[str, ...]]) -> None:
    rows = ROW.findall((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"))
    assert {row[0]: row[1:] for row in rows} == registered
    assert len(rows) == len(registered)


def test_every_series_is_of_a_metric_of_its_program(registered: dict[str, tuple[str, ...]]) -> None:
    for program, series in PROGRAMS.items():
        for one in series:
            assert one.metric.startswith(program)
            assert {f"`{label}`" for label in one.by} <= set(registered[one.metric][2].split(", "))
    assert SENT.keys() <= registered.keys()


def test_at_most_ten_series_are_always_sent_for_one_table() -> None:
    assert sum(math.isinf(one.from_value) for one in SENT.values()) <= 10


def test_no_label_can_hold_a_value_of_a_row() -> None:
    allowed = {"table", "column", "reason", "stream", "shard", "op", "code", "operation", "because", "step"}
    for family in REGISTRY.collect():
        if family.name.startswith((*PROGRAMS, "program_")):
            labels = {label for sample in family.samples for label in sample.labels}
            assert labels - {"le"} <= allowed, family.name


STATM = "50000 2560 800 1 0 4000 0"
MEMINFO = "MemTotal:        4096000 kB\nMemFree: 1 kB\n"


@pytest.mark.parametrize(
    ("limits", "ratio"),
    [
        (["max\n"], 2560 * 4096 / (4096000 * 1024)),
        (["20971520\n"], 0.5),
        (["max\n", "20971520\n"], 0.5),
        (["9223372036854771712\n"], 2560 * 4096 / (4096000 * 1024)),  # cgroups v1 without a limit
        (["", ""], 2560 * 4096 / (4096000 * 1024)),
    ],
)
def test_memory_is_told_over_the_least_of_what_limits_it(
    limits: list[str], ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.vitals.os.sysconf", lambda _: 4096)
    assert vitals.memory_ratio(STATM, limits, MEMINFO) == pytest.approx(ratio)
    assert vitals.memory_ratio("", ["", ""], "") == 0
