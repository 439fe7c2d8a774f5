"""docs/cost.md: every figure follows from its formula, its quantities are those of Terraform and of counted requests, and the sum is bearable."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from tests.infra.checkers import ROOT

DOLLARS_MAX = 56
MONTH_SECONDS = 730 * 3600
TEXT = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
TERRAFORM = ROOT / "infra" / "terraform"
OPERATORS: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
# S3 charges for these as for writing; deleting is free.
WRITES = {"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"}
GLUE = {"GetTable", "GetDatabase", "UpdateTable", "GetTables", "CreateTable"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quantities() -> dict[str, float]:
    return {name.strip("`"): float(value.replace(",", "")) for name, value, _ in rows("Quantities")}


def worth(formula: str, known: Mapping[str, float]) -> float:
    """An arithmetic formula over named quantities."""

    def of(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return known[name]
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](of(left), of(right))
            case ast.Call(func=ast.Name(id="max"), args=arguments):
                return max(map(of, arguments))
        raise ValueError(f"not arithmetic: {ast.unparse(node)}")

    return of(ast.parse(formula, mode="eval").body)


ITEMS = [row for row in rows("Items") if not row[0].startswith("**")]


@pytest.mark.parametrize(("item", "formula", "dollars"), ITEMS, ids=[row[0] for row in ITEMS])
def test_an_item_is_what_its_formula_gives(item: str, formula: str, dollars: str) -> None:
    assert f"{worth(formula.strip('`'), quantities()):.2f}" == dollars


def test_the_sum_is_the_sum_and_bearable() -> None:
    (total,) = [row for row in rows("Items") if row[0] == "**Sum**"]
    exact = sum(worth(formula.strip("`"), quantities()) for _, formula, _ in ITEMS)
    assert f"{exact:.2f}" == total[2].strip("*")
    assert exact <= DOLLARS_MAX


def test_the_text_says_the_same_as_the_table() -> None:
    exact = sum(worth(formula.strip("`"), quantities()) for _, formula, _ in ITEMS)
    known = quantities()
    used_up = known["metrics"] * 0.30 + 10 * 0.10 + known["log_gb"] * 0.50 + 3
    assert f"pays {used_up:.2f} dollars more" in TEXT
    assert f"**{exact + used_up:.2f}** in all" in TEXT
    publisher = known["hours"] * (known["publisher_vcpu"] * 0.03238 + known["publisher_gb"] * 0.00356)
    addresses = known["hours"] * known["tasks"] * 0.005
    assert f"| {publisher * 0.7:.2f} | while it stands still" in TEXT
    assert f"The first two together give {exact - addresses - publisher * 0.7:.2f}." in TEXT
    spare = known["hours"] * (known["spare_vcpu"] * 0.03238 + known["spare_gb"] * 0.00356)
    assert f"| spare | {spare * 0.7:.2f} |" in TEXT
    assert f"= {known['hours'] * 0.045 - addresses:.2f} |" in TEXT
    proof = known["proof_vcpu"] * 0.03238 + known["proof_gb"] * 0.00356 + 0.005
    assert f"= {known['proofs'] * 2.25 * proof:.2f} |" in TEXT


def default(variable: str) -> str:
    """What variables.tf says of a variable, up to the next one."""
    text = (TERRAFORM / "variables.tf").read_text(encoding="utf-8")
    return text.split(f'variable "{variable}" {{', 1)[1].split('\nvariable "', 1)[0]


def number(variable: str) -> float:
    found = re.search(r"\n  default\s+= (\d+)\n", default(variable))
    assert found, variable
    return float(found[1])


def test_quantities_are_those_of_terraform() -> None:
    known = quantities()
    assert known["shards"] == number("stream_shards")
    assert known["heartbeats"] == MONTH_SECONDS / number("heartbeat_seconds") * known["shards"]
    assert known["hours"] * 3600 == MONTH_SECONDS
    sizes = dict(re.findall(r"\n    (\w+) += (optional\(object.*)", default("sizes")))
    cpu, memory, spot = ({name: re.search(pattern, text)[1] for name, text in sizes.items()} for pattern in (  # type: ignore[index]
        r"cpu = optional\(number, (\d+)\)", r"memory = optional\(number, (\d+)\)", r"is_spot = optional\(bool, (\w+)\)"))  # fmt: skip
    assert spot == {"publisher": "false", "consumer": "true", "compactor": "true"}
    assert known["publisher_vcpu"] == int(cpu["publisher"]) / 1024
    assert known["publisher_gb"] == int(memory["publisher"]) / 1024
    assert known["spare_vcpu"] == (int(cpu["consumer"]) + int(cpu["compactor"])) / 1024
    assert known["spare_gb"] == (int(memory["consumer"]) + int(memory["compactor"])) / 1024
    assert known["tasks"] == len(sizes)
    (proof,) = re.findall(r"\n    reconcile += (optional\(object.*)", default("task_sizes"))
    assert known["proof_vcpu"] == int(re.search(r"cpu = optional\(number, (\d+)\)", proof)[1]) / 1024  # type: ignore[index]
    assert known["proof_gb"] == int(re.search(r"memory = optional\(number, (\d+)\)", proof)[1]) / 1024  # type: ignore[index]
    assert 'default     = "cron(30 3 * * ? *)"' in default("reconcile_schedule"), "each night is counted"
    assert known["proofs"] == pytest.approx(known["hours"] / 24, rel=0.005)
    production = (TERRAFORM / "environments" / "production.tfvars").read_text(encoding="utf-8")
    stated = {line.split("=")[0].strip() for line in production.splitlines() if "=" in line}
    assert stated == {"environment", "region", "lake_database", "image_tag"}, (
        "what production changes must be counted here"
    )


def test_the_alarms_are_counted() -> None:
    each = {"service": 3, "table": 1, "StreamName": 1, "ClusterName": 1, "ServiceName": 3}
    alarms = yaml.safe_load((ROOT / "infra" / "alarms.yaml").read_text(encoding="utf-8"))["alarms"]
    made = 2  # those that scale the consumer
    for alarm in alarms:
        series = 0 if alarm.get("namespace") == "AWS/Billing" else 1
        for dimension, value in alarm.get("dimensions", {}).items():
            series *= each[dimension] if value == "*" else 1
        made += series
    assert quantities()["alarms"] == made


def test_requests_are_those_that_were_counted() -> None:
    measured = json.loads((ROOT / "tests" / "infra" / "founding_load.json").read_text(encoding="utf-8"))
    assert f"batches of {number('batch_age_seconds'):.0f} s" in measured["what"], "counted with other settings"
    assert f"heartbeats of {number('heartbeat_seconds'):.0f} s" in measured["what"], "counted with other settings"
    assert "commits of 30 s" in measured["what"], "counted with other settings"
    a_month: float = MONTH_SECONDS / measured["seconds"]

    def monthly(is_meant: Callable[[Mapping[str, Any]], bool]) -> float:
        return sum(int(count["requests"]) for count in measured["counts"] if is_meant(count)) * a_month

    counted = {
        "lake_puts": monthly(lambda c: c["operation"] in WRITES and not c["place"].startswith("raw/")),
        "raw_puts": monthly(lambda c: c["operation"] in WRITES and c["place"].startswith("raw/")),
        "lists": monthly(lambda c: c["operation"] == "ListObjectsV2"),
        "gets": monthly(lambda c: c["operation"] in {"GetObject", "HeadObject"}),
        "glue_requests": monthly(lambda c: c["operation"] in GLUE),
        "lease_writes": monthly(lambda c: c["operation"] == "PutItem"),
        "lease_reads": monthly(lambda c: c["operation"] == "Scan"),
    }
    for name, exact in counted.items():
        assert quantities()[name] == pytest.approx(exact, rel=0.005), name


def test_small_files_were_counted_in_one_request_each() -> None:
    measured = json.loads((ROOT / "tests" / "infra" / "founding_load.json").read_text(encoding="utf-8"))
    assert not [
        count for count in measured["counts"] if "Multipart" in count["operation"] or count["operation"] == "UploadPart"
    ]


def test_a_formula_is_arithmetic_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="not arithmetic"):
        worth("open('x')", {})
    assert worth("max(0, a - 1) * 2 / 4", {"a": 3}) == 1
