"""Time as the consumer sees it, so that tests can let it pass at their own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """`monotonic` measures, `utc` tells the time, `wait` rests until an event is set or some seconds have passed."""

    monotonic: Callable[[], float]
    utc: Callable[[], datetime]
    wait: Callable[[threading.Event, float], bool]


SYSTEM_CLOCK = Clock(monotonic=time.monotonic, utc=lambda: datetime.now(UTC), wait=threading.Event.wait)
