"""Prometheus's rules, made of infra/alarms.yaml: `python -m sandbox.prometheus_rules` writes them anew."""

from __future__ import annotations

from typing import Any

import yaml

from sandbox.alarms import INFRA, Alarm, load_alarms

FILE = INFRA / "prometheus" / "alarms.yml"
_HEAD = "# Made of infra/alarms.yaml by `python -m sandbox.prometheus_rules`; change that file, not this one.\n"
_SIGNS = {"GreaterThanThreshold": ">", "LessThanThreshold": "<"}


def rules(alarms: tuple[Alarm, ...]) -> dict[str, Any]:
    """The rules as Prometheus's file has them; an alarm that Prometheus cannot tell of has none."""
    return {"groups": [{"name": "usuarios-cdc", "rules": [_rule(one) for one in alarms if has_rule(one)]}]}


def has_rule(alarm: Alarm) -> bool:
    """Whether Prometheus can tell of it at all."""
    return not alarm.no_prometheus and bool(alarm.own_metric or alarm.prometheus)


def expression(alarm: Alarm) -> str:
    """The alarm's condition in PromQL, at one moment."""
    if alarm.prometheus:
        return alarm.prometheus
    by = f" by ({', '.join(alarm.labels)})" if alarm.labels else ""
    past = f"{_SIGNS[alarm.comparison]} {alarm.own_threshold:.15g}"
    if alarm.statistic == "Sum":
        counter, window = f"{alarm.own_metric}_total", f"{alarm.period_seconds}s"
        # A counter that appears with a value has not increased, as Prometheus sees it.
        return (
            f"sum{by} (increase({counter}[{window}])) {past} "
            f"or (sum{by} ({counter}) unless sum{by} ({counter} offset {window})) {past}"
        )
    fold = "max" if alarm.statistic == "Maximum" else "min"
    condition = f"{fold}{by} ({alarm.own_metric}) {past}"
    is_missed = alarm.treat_missing_data == "breaching"
    return f"{condition} or absent({alarm.own_metric})" if is_missed else condition


def _rule(alarm: Alarm) -> dict[str, Any]:
    seconds = alarm.period_seconds * alarm.evaluation_periods if alarm.statistic != "Sum" else 0
    return {
        "alert": alarm.name,
        "expr": expression(alarm),
        **({"for": f"{seconds}s"} if seconds else {}),
        "labels": {"severity": alarm.severity},
        "annotations": {"summary": alarm.summary, "runbook": f"docs/runbook.md#{alarm.name}"},
    }


def text() -> str:
    """The file's text."""
    return _HEAD + yaml.safe_dump(rules(load_alarms()), sort_keys=False, allow_unicode=True, width=140)


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
