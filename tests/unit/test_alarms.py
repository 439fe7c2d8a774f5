"""Alarms: infra/alarms.yaml is sound, names what there is, and Prometheus's rules and the runbook agree with it."""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

import cdc_consumer.metrics
import cdc_ops.metrics
import cdc_publisher.metrics
import compactor.metrics
from cdc import vitals
from sandbox import grafana, prometheus_rules
from sandbox.alarms import Alarm, load_alarms
from tests.conftest import ROOT

ALARMS = load_alarms()
SENT = {
    one.metric: one
    for series in (
        vitals.SERIES,
        cdc_publisher.metrics.SERIES,
        cdc_consumer.metrics.SERIES,
        compactor.metrics.SERIES,
        cdc_ops.metrics.SERIES,
    )
    for one in series
}
PERIODS = {60, 300, 900, 3600, 21600}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
EVENTS = {"reconcile-not-run": ROOT / "infra" / "terraform" / "modules" / "proof" / "main.tf"}
"""What EventBridge tells the alarms' topic without an alarm, and where its rule is."""
ENTRY = re.compile(r"^### ([a-z-]+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
METRIC = re.compile(r"`((?:cdc_publisher|cdc_consumer|cdc_ops|compactor|program)_[a-z_]+)")


def kind(metric: str) -> str:
    return next(c._type for c in REGISTRY._collector_to_names if getattr(c, "_name", "") == metric)  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm.name)
def test_an_alarm_looks_at_a_metric_that_is_there_in_the_way_that_fits_it(alarm: Alarm) -> None:
    assert alarm.period_seconds in PERIODS
    assert alarm.period_seconds * alarm.evaluation_periods <= 86_400  # CloudWatch's API: PutMetricAlarm
    if alarm.own_metric:
        assert (kind(alarm.own_metric) == "counter") == (alarm.statistic == "Sum")
    else:
        assert alarm.no_drill
    if not alarm.namespace:
        series = SENT[alarm.metric]
        assert {"service", *series.by} == alarm.dimensions.keys()
        is_always_sent = series.from_value < 0
        # What is sent only while it tells of trouble must begin to be sent before it is too late.
        assert is_always_sent or (alarm.is_past(alarm.threshold + 1e9) and series.from_value <= alarm.threshold + 1)
        assert (alarm.treat_missing_data == "breaching") <= is_always_sent


def test_names_are_unique_and_both_severities_mean_something() -> None:
    names = [alarm.name for alarm in ALARMS]
    assert len(names) == len(set(names))
    assert {alarm.severity for alarm in ALARMS} == {"page", "ticket"}


def test_every_series_that_tells_of_trouble_has_its_alarm() -> None:
    watched = {alarm.metric for alarm in ALARMS}
    assert {name for name, series in SENT.items() if series.from_value > 0} - watched == set()


def test_prometheuss_rules_are_made_of_the_alarms() -> None:
    assert prometheus_rules.FILE.read_text(encoding="utf-8") == prometheus_rules.text(), (
        "run python -m sandbox.prometheus_rules"
    )
    made = {rule["alert"]: rule for rule in yaml.safe_load(prometheus_rules.text())["groups"][0]["rules"]}
    assert made.keys() == {alarm.name for alarm in ALARMS if prometheus_rules.has_rule(alarm)}
    assert made["overdue"]["expr"] == "max by (table) (compactor_overdue_seconds) > 0"
    assert made["overdue"]["for"] == "180s"
    assert "absent(compactor_merge_age_seconds)" in made["not-merging"]["expr"]


def test_an_alarm_that_prometheus_cannot_tell_of_says_why() -> None:
    without = [alarm for alarm in ALARMS if not prometheus_rules.has_rule(alarm)]
    assert {alarm.name for alarm in without} == {"lake-differs", "comparison-failed", "cost"}
    assert all(alarm.no_prometheus or alarm.no_drill for alarm in without)


def test_the_dashboard_is_the_one_that_is_written_and_shows_metrics_that_are_there() -> None:
    assert grafana.FILE.read_text(encoding="utf-8") == grafana.text(), "run python -m sandbox.grafana"
    known = {getattr(collector, "_name", "") for collector in REGISTRY._collector_to_names}
    shown = set(
        re.findall(r"(?:cdc_publisher|cdc_consumer|cdc_ops|compactor|program)_[a-z_]+", " ".join(queries_shown()))
    )
    assert {re.sub(r"_(total|bucket)$", "", name) for name in shown} <= known
    assert len({panel["id"] for panel in grafana.dashboard()["panels"]}) == len(grafana.dashboard()["panels"])


def queries_shown() -> list[str]:
    return [query for _, panels in grafana.ROWS for panel in panels for query, _ in panel.queries]


def test_rules_and_graphs_are_promql() -> None:
    for alarm in ALARMS:
        if prometheus_rules.has_rule(alarm):
            promql_parser.parse(prometheus_rules.expression(alarm))
    for query in queries_shown():
        promql_parser.parse(query)
    with pytest.raises(ValueError):  # noqa: PT011 - it has no better one
        promql_parser.parse("max by (table (x) > 0")


@pytest.mark.parametrize("alarm", [alarm for alarm in ALARMS if not alarm.no_drill], ids=lambda alarm: alarm.name)
def test_every_alarm_has_its_drill_which_sees_it_come_and_go(alarm: Alarm) -> None:
    drills = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "fault").glob("test_drills_*.py"))
    for call in (r"sees\.wait\(", r"(?:sees|monitor)\.wait_until_over\("):
        assert re.search(rf'{call}[^)]*"{alarm.name}"', drills.replace("monitor.wait(", "sees.wait(")), call


def test_every_alarm_has_its_entry_in_the_runbook_and_every_entry_its_alarm() -> None:
    names = [name for name, _ in ENTRY.findall(RUNBOOK)]
    assert [name for name in names if name not in EVENTS] == [alarm.name for alarm in ALARMS]
    assert set(EVENTS) <= set(names)


@pytest.mark.parametrize(("name", "file"), EVENTS.items())
def test_an_entry_that_is_of_no_alarm_is_of_a_rule(name: str, file: Path) -> None:
    rule = rf'resource "aws_cloudwatch_event_rule" "[a-z_]+" {{\n\s+name\s+= "\${{var.name}}-{name}"'
    assert re.search(rule, file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "entry"), ENTRY.findall(RUNBOOK), ids=lambda part: part[:20])
def test_an_entry_says_symptom_query_and_action(name: str, entry: str) -> None:
    for part in ("**Symptom.**", "**Query.**", "**Action.**"):
        assert entry.count(part) == 1, part
    if name in EVENTS:
        return
    alarm = next(alarm for alarm in ALARMS if alarm.name == name)
    assert (alarm.own_metric or alarm.metric) in entry


def test_every_metric_that_the_runbook_names_is_there() -> None:
    known = {getattr(collector, "_name", "") for collector in REGISTRY._collector_to_names}
    named = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in METRIC.findall(RUNBOOK)}
    assert named - known == set()
    assert len(named) > 20
