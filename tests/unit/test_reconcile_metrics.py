"""What a run of `cdc reconcile` tells CloudWatch: rows that differ, and tables of which it could not tell."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cdc.contract import parse_contract
from cdc.errors import TransientFault
from cdc_ops import metrics, reconcile_run
from cdc_ops.reconcile_command import ReconcileSettings
from cdc_ops.reconcile_outcome import Outcome
from tests.compactor_world import CONTRACT

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ARGUMENTS = argparse.Namespace(table=[], json=True)


def settings(*names: str, metrics: str = "emf") -> ReconcileSettings:
    contracts = tuple(parse_contract(CONTRACT.format(name=name)) for name in names)
    return ReconcileSettings.model_construct(
        tables=contracts, metrics=metrics, metrics_namespace="usuarios-cdc/test", metrics_period_seconds=60
    )


def outcome(table: str, differences: int = 0, undecided: int = 0) -> Outcome:
    kinds = {"missing": differences} if differences else {}
    return Outcome(table, NOW, NOW, 9, 9, kinds, {}, 0, undecided, is_sample=False)


def told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: ReconcileSettings,
    *outcomes: Outcome | Exception,
) -> dict[tuple[str, str], float]:
    """What a run that came to these outcomes writes for CloudWatch, by metric and table."""

    def compare(*_: Any) -> Iterator[Outcome]:
        for one in outcomes:
            if isinstance(one, Exception):
                raise one
            yield one

    metrics.DIFFERING.clear()
    metrics.FAILED.clear()
    monkeypatch.setattr(reconcile_run, "compare", compare)
    try:
        reconcile_run.run_reconcile(run, "", ARGUMENTS)
    except TransientFault:
        assert isinstance(outcomes[-1], TransientFault)
    found: dict[tuple[str, str], float] = {}
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        if "_aws" in line:
            (directive,) = line["_aws"]["CloudWatchMetrics"]
            assert (directive["Namespace"], directive["Dimensions"]) == ("usuarios-cdc/test", [["service", "table"]])
            assert line["service"] == "cdc-ops"
            found |= {(metric["Name"], line["table"]): line[metric["Name"]] for metric in directive["Metrics"]}
    return found


def test_rows_that_differ_are_told_of_their_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(monkeypatch, capsys, settings("a", "b"), outcome("a", differences=3), outcome("b"))
    assert found == {("cdc_ops_differing_rows", "a"): 3}


def test_a_proof_costs_no_series(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(monkeypatch, capsys, settings("a"), outcome("a")) == {}


def test_rows_that_stayed_undecided_are_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(monkeypatch, capsys, settings("a"), outcome("a", undecided=2))
    assert found == {("cdc_ops_failed_comparisons", "a"): 1}


def test_a_fault_is_told_of_its_table_and_of_those_behind_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(monkeypatch, capsys, settings("a", "b", "c"), outcome("a"), TransientFault("gone"))
    assert found == {("cdc_ops_failed_comparisons", "b"): 1, ("cdc_ops_failed_comparisons", "c"): 1}


def test_without_cloudwatch_stdout_is_the_outcome_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = settings("a", metrics="prometheus")
    assert told(monkeypatch, capsys, run, outcome("a", differences=1)) == {}
