"""The heartbeat's thread, one beat at a time: when it looks at the shards, and what it does without a connection."""

from __future__ import annotations

from typing import Any, cast

from cdc_publisher.heartbeat import SHARDS_SECONDS, Heartbeat


class Connection:
    """A source that takes every beat."""

    def execute(self, _query: str, _parameters: list[str]) -> None:
        pass


def test_the_shards_are_listed_again_now_and_then() -> None:
    now = [0.0]
    listed: list[float] = []

    def shards() -> tuple[str, ...]:
        listed.append(now[0])
        return ("0",) if len(listed) == 1 else ("0", "100")

    heartbeat = Heartbeat(lambda: cast("Any", Connection()), shards, 5, lambda: now[0])
    while now[0] < SHARDS_SECONDS:
        heartbeat.beat()
        assert heartbeat.open_shards == ("0",)
        now[0] += 5
    heartbeat.beat()
    assert heartbeat.open_shards == ("0", "100")
    assert listed == [0, SHARDS_SECONDS]
