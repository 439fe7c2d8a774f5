"""The last line of a row of the bench."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.bench.result import Result

RESULT = Result(
    "publisher", 61_234.5, "changes/s", "Debezium", 9_012.3, 6.7947, "≥ 50,000 changes/s and ≥ 5×", met=True
)


@pytest.mark.parametrize(("met", "verdict"), [(True, "met"), (False, "missed")])
def test_the_line_says_the_figure_the_peers_the_ratio_and_whether_the_target_is_met(*, met: bool, verdict: str) -> None:
    assert replace(RESULT, met=met).line() == (
        "publisher: 61,234 changes/s, Debezium 9,012, ratio 6.79, target ≥ 50,000 changes/s and ≥ 5×: " + verdict
    )


def test_a_peer_that_could_not_run_is_neither_met_nor_missed() -> None:
    alone = replace(RESULT, peer_figure=None, ratio=None)
    assert alone.line() == (
        "publisher: 61,234 changes/s, Debezium not measured, ratio not measured, "
        "target ≥ 50,000 changes/s and ≥ 5×: met, the ratio not measured"
    )
    assert json.loads(alone.to_json())["ratio"] is None
