"""What a row of the bench found, for people as one line and for machines as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Result:
    """A figure against its peer's, both measured in one run; `target` says in words what `met` decides.

    `ratio` is how many times better the figure is than the peer's. Both are None where the peer could not be measured;
    `met` then speaks of the figure alone. `details` are further figures worth keeping, with
    their units in their names.
    """

    row: str
    figure: float
    unit: str
    peer: str
    peer_figure: float | None
    ratio: float | None
    target: str
    met: bool
    details: Mapping[str, float | str] = field(default_factory=dict)

    def line(self) -> str:
        """The row's last line."""
        verdict = "met" if self.met else "missed"
        if self.peer_figure is None or self.ratio is None:
            return (
                f"{self.row}: {_number(self.figure)} {self.unit}, {self.peer} not measured, "
                f"ratio not measured, target {self.target}: {verdict}, the ratio not measured"
            )
        return (
            f"{self.row}: {_number(self.figure)} {self.unit}, {self.peer} {_number(self.peer_figure)}, "
            f"ratio {self.ratio:.3g}, target {self.target}: {verdict}"
        )

    def to_json(self) -> str:
        """All of it, as one JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
