"""Grafana's dashboard: `python -m sandbox.grafana` writes it anew. It reads from top to bottom as a change travels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sandbox.alarms import INFRA

FILE = INFRA / "dashboards" / "grafana.json"
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 7


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: `queries` are PromQL and legend, `unit` is Grafana's, `limit` a line to stay below (or None)."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    limit: float | None = None


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "The promise: how old the lake is",
        (
            Panel(
                "Age of valid-through", "s", (("max by (table) (compactor_valid_through_age_seconds)", "{{table}}"),)
            ),
            Panel("Older than promised", "s", (("max by (table) (compactor_overdue_seconds)", "{{table}}"),), 0),
            Panel("Rows", "short", (("max by (table) (compactor_rows)", "{{table}}"),)),
        ),
    ),
    (
        "Publisher: the source's log → the stream",
        (
            Panel("Changes published", "cps", (("sum by (op) (rate(cdc_publisher_changes_total[1m]))", "{{op}}"),)),
            Panel("Log kept for the slot", "bytes", (("max(cdc_publisher_slot_retained_bytes)", "kept"),), 5368709120),
            Panel(
                "Silence",
                "s",
                (
                    ("max(cdc_publisher_silence_seconds)", "publisher"),
                    ("min(cdc_consumer_silence_seconds)", "consumer"),
                ),
                120,
            ),
        ),
    ),
    (
        "Consumer: the stream → raw",
        (
            Panel("Records read", "rps", (("sum(rate(cdc_consumer_read_records_total[1m]))", "records"),)),
            Panel("Behind the tip", "ms", (("max by (shard) (cdc_consumer_behind_milliseconds)", "{{shard}}"),), 60000),
            Panel(
                "Not durable yet; leases",
                "short",
                (
                    ("max(cdc_consumer_unwritten_seconds)", "oldest record, s"),
                    ("sum(cdc_consumer_held_leases)", "leases held"),
                    ("max(cdc_consumer_unheld_shards)", "shards that nobody reads"),
                ),
            ),
        ),
    ),
    (
        "Compactor: raw → the lake",
        (
            Panel(
                "Changes merged", "cps", (("sum by (table) (rate(compactor_merged_changes_total[1m]))", "{{table}}"),)
            ),
            Panel(
                "Time of a merge, p99",
                "s",
                (
                    (
                        "histogram_quantile(0.99, sum by (le, table) (rate(compactor_merge_seconds_bucket[5m])))",
                        "{{table}}",
                    ),
                ),
            ),
            Panel("Last merge", "s", (("max by (table) (compactor_merge_age_seconds)", "{{table}}"),), 300),
        ),
    ),
    (
        "What needs a person",
        (
            Panel(
                "Set aside, an hour",
                "short",
                (
                    ("sum by (reason) (increase(cdc_consumer_quarantined_records_total[1h]))", "unread: {{reason}}"),
                    ("sum by (reason) (increase(compactor_quarantined_records_total[1h]))", "unmerged: {{reason}}"),
                ),
            ),
            Panel(
                "Waiting",
                "short",
                (
                    ("max by (table) (compactor_held_shards)", "held shards: {{table}}"),
                    ("max by (table) (compactor_held_columns)", "held columns: {{table}}"),
                    ("max by (table) (compactor_waiting_columns)", "waiting columns: {{table}}"),
                    ("max by (table) (compactor_waits_for_epoch)", "waits for an epoch: {{table}}"),
                ),
            ),
            Panel("Alarms", "short", (('ALERTS{alertstate="firing"}', "{{alertname}}"),)),
        ),
    ),
    (
        "Programs",
        (
            Panel("Memory", "percentunit", (("max by (job) (program_memory_ratio)", "{{job}}"),), 0.85),
            Panel("Index", "bytes", (("max by (table) (compactor_index_bytes)", "{{table}}"),)),
            Panel(
                "Starts, an hour", "short", (("max by (job) (changes(process_start_time_seconds[1h]))", "{{job}}"),), 4
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    for row, (title, graphs) in enumerate(ROWS):
        top = row * (_HEIGHT + 1)
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}, "id": 100 + row})
        for place, panel in enumerate(graphs):
            position = {"x": place * _WIDTH, "y": top + 1, "w": _WIDTH, "h": _HEIGHT}
            panels.append(_graph(panel, position, row * _COLUMNS + place + 1))
    return {
        "uid": "usuarios-cdc",
        "title": "usuarios-cdc",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": panels,
    }


def _graph(panel: Panel, position: dict[str, int], number: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    style = {"thresholdsStyle": {"mode": "line" if panel.limit is not None else "off"}}
    return {
        "type": "timeseries",
        "id": number,
        "title": panel.title,
        "datasource": source,
        "gridPos": position,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": style,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": source, "expr": query, "legendFormat": legend}
            for place, (query, legend) in enumerate(panel.queries)
        ],
    }


def text() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
