"""Alarms: what infra/alarms.yaml states, as values. Whoever makes something of that file begins here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

INFRA = Path(__file__).resolve().parent.parent / "infra"
EACH = "*"
"""A dimension's value that stands for each there is."""


class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Our metric for what CloudWatch has from AWS itself, and its threshold."""

    metric: str
    threshold: float


class Alarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One alarm, its fields in CloudWatch's words; the head of infra/alarms.yaml says what each means."""

    name: str
    summary: str
    severity: Literal["page", "ticket"]
    namespace: str = ""
    metric: str
    dimensions: dict[str, str]
    statistic: Literal["Maximum", "Minimum", "Sum"]
    comparison: Literal["GreaterThanThreshold", "LessThanThreshold"]
    threshold: float
    period_seconds: int
    evaluation_periods: int
    treat_missing_data: Literal["breaching", "notBreaching"]
    own: Own | None = None
    prometheus: str = ""
    no_drill: str = ""
    no_prometheus: str = ""

    @property
    def own_metric(self) -> str:
        """The metric of ours that it looks at; empty where AWS alone has one."""
        if self.own is not None:
            return self.own.metric
        return "" if self.namespace else self.metric

    @property
    def own_threshold(self) -> float:
        """The threshold of our metric."""
        return self.own.threshold if self.own is not None else self.threshold

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels by which our metric is told apart: one alarm for each value."""
        return tuple(name for name, value in self.dimensions.items() if value == EACH and name == "table")

    def is_past(self, value: float) -> bool:
        """Whether a value of our metric is past the threshold."""
        if self.comparison == "GreaterThanThreshold":
            return value > self.own_threshold
        return value < self.own_threshold


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    namespace: str
    alarms: tuple[Alarm, ...]


def load_alarms(path: Path = INFRA / "alarms.yaml") -> tuple[Alarm, ...]:
    """All alarms, in the file's order.

    Raises:
        msgspec.ValidationError: when the file does not have the form that its head describes.
    """
    return msgspec.yaml.decode(path.read_bytes(), type=_File).alarms
