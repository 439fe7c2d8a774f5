"""How often it is looked whether a waiting column can be shown."""

from __future__ import annotations

import pytest

from compactor.refill import rest_seconds


@pytest.mark.parametrize(
    ("took", "rows", "rest"),
    [(0.1, 10_000, 0.0), (0.1, 10_001, 60.0), (10.0, 5, 200.0), (600.0, 5_000_000, 12_000.0)],
)
def test_merging_does_not_rest_long_for_a_column_that_cannot_be_shown(took: float, rows: int, rest: float) -> None:
    """Many changes of few rows take as long to read again as those of many."""
    assert rest_seconds(took, rows) == rest
