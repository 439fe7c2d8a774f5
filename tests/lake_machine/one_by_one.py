"""One by one: a compactor that takes nothing for plain, so that every change goes the way of the law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compactor.plain import Line, Sights


def one_by_one(read: Callable[..., Any]) -> Callable[..., Any]:
    """A reader that finds nothing plain, so that all goes one by one."""

    def nothing(reader: Any, lines: Sequence[Line], *others: Any) -> Any:
        count = len(lines)
        return read(reader, [], *others)._replace(others=list(range(count)), sights=Sights.of_nothing(count))

    return nothing
