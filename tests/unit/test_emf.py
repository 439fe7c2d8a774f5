"""CloudWatch's embedded metric format: valid documents, cheap ones, and the last word of a program that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cdc.emf import VALUES_MAX, Fold, Seen, Series, documents, emitting, unit
from tests.conftest import ROOT

# Written from AWS's user guide, "Specification: Embedded metric format": its schema, and its words on target members.
UNITS = [
    "Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits",
    "Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count", "Bytes/Second", "Count/Second", "None",
]  # fmt: skip
SCHEMA = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "minItems": 1,
                                    "maxItems": 30,
                                    "items": {"type": "string", "minLength": 1, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "properties": {
                                        "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
                                        "Unit": {"enum": UNITS},
                                        "StorageResolution": {"enum": [1, 60]},
                                    },
                                    "additionalProperties": False,
                                },
                            },
                        },
                        "additionalProperties": False,
                    },
                },
            },
        }
    },
}


def check(document: dict[str, Any]) -> None:
    """Raise when a document is none: its schema, and what the specification says of the members that it names."""
    jsonschema.validate(document, SCHEMA)
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for dimensions in directive["Dimensions"]:
            assert all(isinstance(document[name], str) and document[name] for name in dimensions)
        for metric in directive["Metrics"]:
            value = document[metric["Name"]]
            values = value if isinstance(value, list) else [value]
            assert 0 < len(values) <= 100
            assert all(isinstance(one, int | float) and abs(one) < 2**360 for one in values)
    assert len(json.dumps(document)) < 256 * 1024


class Registry:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rows = Counter("rows", "Rows.", ["table", "reason"], registry=self.registry)
        self.age = Gauge("age_seconds", "Age.", ["table", "shard"], registry=self.registry)
        self.took = Histogram("took_seconds", "Time.", ["table"], registry=self.registry)
        self.seen = Seen()

    def told(self, *series: Series) -> list[dict[str, Any]]:
        found, self.seen = documents(self.registry.collect(), series, "compactor", "ns", self.seen, 1_795_000_000_000)
        for document in found:
            check(document)
        return [{name: value for name, value in document.items() if name != "_aws"} for document in found]


@pytest.fixture
def shown() -> Registry:
    return Registry()


def test_a_counter_tells_what_was_added_and_labels_that_are_left_out_are_summed_up(shown: Registry) -> None:
    shown.rows.labels("a", "x").inc(2)
    shown.rows.labels("a", "y").inc(3)
    shown.rows.labels("b", "x").inc(1)
    series = Series("rows", ("table",))
    assert shown.told(series) == [
        {"service": "compactor", "table": "a", "rows": 5}, {"service": "compactor", "table": "b", "rows": 1}
    ]  # fmt: skip
    shown.rows.labels("a", "y").inc(4)
    assert [document["rows"] for document in shown.told(series)] == [4, 0]
    assert shown.told(Series("rows")) == [{"service": "compactor", "rows": 10}]


def test_a_gauge_tells_its_last_value_the_largest_where_ages_are_folded(shown: Registry) -> None:
    shown.age.labels("a", "1").set(7)
    shown.age.labels("a", "2").set(5)
    assert shown.told(Series("age_seconds", fold=Fold.MAX)) == [{"service": "compactor", "age_seconds": 7}]
    assert shown.told(Series("age_seconds")) == [{"service": "compactor", "age_seconds": 12}]


def test_what_tells_nothing_is_not_sent(shown: Registry) -> None:
    shown.age.labels("a", "1").set(59)
    series = Series("age_seconds", from_value=60)
    assert shown.told(series) == []
    shown.age.labels("a", "1").set(60)
    assert shown.told(series) == [{"service": "compactor", "age_seconds": 60}]
    shown.age.labels("a", "1").set(float("nan"))
    assert shown.told(Series("age_seconds")) == []
    shown.age.labels("a", "1").set(float("inf"))
    assert shown.told(Series("age_seconds")) == []
    assert shown.told(Series("unheard_of")) == []


def test_a_counter_that_stands_still_is_not_sent_from_one_on(shown: Registry) -> None:
    series = Series("rows", from_value=1)
    shown.rows.labels("a", "x").inc()
    assert shown.told(series) == [{"service": "compactor", "rows": 1}]
    assert shown.told(series) == []


def test_a_histogram_tells_each_value_as_the_bound_of_its_bucket(shown: Registry) -> None:
    for seconds in (0.003, 0.03, 0.03, 99):
        shown.took.labels("a").observe(seconds)
    series = Series("took_seconds", ("table",))
    assert shown.told(series) == [{"service": "compactor", "table": "a", "took_seconds": [0.005, 0.05, 0.05, 10.0]}]
    assert shown.told(series) == []
    for number in range(1000):
        shown.took.labels("a").observe(0.003 if number < 990 else 4)
    (document,) = shown.told(series)
    values = document["took_seconds"]
    assert (len(values), values[0], values[-1]) == (VALUES_MAX, 0.005, 5.0)
    assert sum(value == 5.0 for value in values) <= 2  # a hundredth stays a hundredth


def test_the_end_of_a_name_tells_the_unit() -> None:
    names = ("a_seconds", "a_bytes", "a_milliseconds", "a_ratio", "a_rows")
    assert [unit(name) for name in names] == ["Seconds", "Bytes", "Milliseconds", "None", "Count"]
    assert {unit(name) for name in names} <= set(UNITS)


def test_the_checker_of_this_test_refuses_what_is_no_document(shown: Registry) -> None:
    shown.age.labels("a", "1").set(1)
    (good,), _ = documents(shown.registry.collect(), [Series("age_seconds")], "s", "ns", Seen(), 1)
    for bad in (
        {**good, "_aws": {"CloudWatchMetrics": good["_aws"]["CloudWatchMetrics"]}},
        {**good, "age_seconds": list(range(101))},
        {**good, "service": 7},
    ):
        with pytest.raises((jsonschema.ValidationError, AssertionError)):
            check(bad)


def test_the_last_lines_come_at_the_end_whatever_it_is(shown: Registry) -> None:
    lines: list[str] = []

    def fail() -> None:
        with emitting([Series("rows")], "compactor", "ns", 3600, lines.append, shown.registry):
            shown.rows.labels("a", "x").inc(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    (line,) = lines
    check(json.loads(line))
    assert json.loads(line)["rows"] == 3


@pytest.mark.parametrize("setting", ["emf", "prometheus"])
def test_a_program_writes_documents_when_it_is_told_to_and_a_failure_is_among_them(setting: str) -> None:
    program = (
        "import os, sys; from cdc.program import run_program; from cdc.settings import Settings; "
        "from cdc.errors import FatalFault\n"
        "def body(settings, stop): raise FatalFault('no')\n"
        "sys.exit(run_program('cdc-consumer', Settings, os.environ, body))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}", "CDC_METRICS": setting}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]  # log lines are JSON too
    sent = [line for line in lines if "_aws" in line]
    assert done.returncode == 1
    assert len(lines) > len(sent)
    if setting == "prometheus":
        assert sent == []
        return
    first, last = sent
    for document in sent:
        check(document)
        assert document["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "usuarios-cdc"
        assert document["service"] == "cdc-consumer"
    # A program that is killed within its first period was started all the same.
    assert (first["program_starts"], first.get("program_failures", 0)) == (1, 0)
    assert (last.get("program_starts", 0), last["program_failures"]) == (0, 1)
