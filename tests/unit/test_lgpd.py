"""docs/lgpd.md states for how long personal data stays: the figures are those of the infrastructure and of maintenance."""

from __future__ import annotations

import re
from datetime import timedelta

from compactor.maintenance import Limits
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "lgpd.md").read_text(encoding="utf-8")
VARIABLES = (ROOT / "infra" / "terraform" / "variables.tf").read_text(encoding="utf-8")


def default(name: str) -> int:
    """What Terraform sets unless told otherwise."""
    (days,) = re.findall(rf"\b{name}\s*=\s*optional\(number, (\d+)\)", VARIABLES)
    return int(days)


def test_the_longest_that_an_erased_person_stays_is_raw_and_its_versions() -> None:
    raw, quarantine, versions = default("raw"), default("quarantine"), default("noncurrent")
    assert quarantine <= raw
    assert f"**maximum delay is {raw + versions} days** ({raw} of raw and {versions} of noncurrent versions)" in TEXT
    assert f"{raw} days + {versions} as noncurrent versions" in TEXT
    assert f"30 days of raw give {30 + versions}" in TEXT
    results = default("results")
    assert f"| results of queries | {results} days + {versions} as noncurrent versions |" in TEXT
    assert f"**{raw + results + versions} days where investigators queried**" in TEXT
    assert f"and {30 + results + versions}.\n" in TEXT


def test_the_lakes_files_are_gone_before_raw_is() -> None:
    limits = Limits()
    orphans = limits.orphan_age + limits.orphans_every
    assert f"by the steps below {orphans // timedelta(days=1)} days, and {default('noncurrent')} as noncurrent" in TEXT
    last = default("raw") + default("noncurrent") - orphans // timedelta(days=1) - default("noncurrent")
    assert f"within the first {last} of them" in TEXT


def test_logs_stay_as_long_as_is_said() -> None:
    (days,) = re.findall(r'variable "log_kept_days" \{.*?default\s*=\s*(\d+)', VARIABLES, re.DOTALL)
    assert f"logs {days} days" in TEXT
