"""The threads that read shards: one for each lease that we hold, told to end when the program does."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cdc.errors import LeaseLost, TransientFault
from cdc.telemetry import get_log
from cdc_consumer import metrics
from cdc_consumer.halt import Halt
from cdc_consumer.held_lease import HeldLease, LeaseStore
from cdc_consumer.lease import Lease
from cdc_consumer.outlook import Taken
from cdc_consumer.shard import Outcome, ShardReader
from cdc_consumer.stream import Stream
from cdc_consumer.tools import Tools

STOP_SECONDS = 8.0
"""How long what was read may take to become durable after SIGTERM; what does not is read again by the next worker."""
RELEASE_SECONDS = 2.0

_log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class _Member:
    reader: ShardReader
    stream: str
    lease: HeldLease
    halt: Halt
    thread: threading.Thread


@dataclass(frozen=True, slots=True)
class _Farewell:
    key: str
    outcome: Outcome | None
    fault: BaseException | None


class Crew:
    """Starts a thread for each shard taken, and learns how it ended."""

    def __init__(self, table: LeaseStore, tools: Tools, *, until_caught_up: bool) -> None:
        self._table = table
        self._tools = tools
        self._until_caught_up = until_caught_up
        self._members: dict[str, _Member] = {}
        self._farewells: queue.SimpleQueue[_Farewell] = queue.SimpleQueue()
        self.caught_up: set[str] = set()
        self.gone: set[str] = set()

    @property
    def keys(self) -> set[str]:
        """The keys of the leases that we hold."""
        return set(self._members)

    def held(self) -> list[HeldLease]:
        """The leases that we hold, to be renewed."""
        return [member.lease for member in list(self._members.values())]

    def start(self, taken: Taken) -> None:
        """Read a shard whose lease we just took."""
        halt = Halt(self._tools.clock)
        held = HeldLease(self._table, taken.lease, halt)
        reader = ShardReader(taken.stream, taken.shard.id, held, halt, self._tools)
        # The thread logs with the fields that are bound here, such as the program's name.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._live, taken.key, reader, held, halt), name=taken.key, daemon=True
        )
        self._members[taken.key] = _Member(reader, taken.stream.identity, held, halt, thread)
        metrics.LEASES_HELD.set(len(self._members))
        thread.start()

    def heed(self, streams: Iterable[Stream], leases: Mapping[str, Lease]) -> None:
        """Tell the threads what was seen: who lost its lease, and how long the streams keep records now."""
        retentions = {stream.identity: stream.retention for stream in streams}
        for key, member in self._members.items():
            member.reader.retention = retentions[member.stream]
            member.lease.heed(leases.get(key))

    def reap(self) -> bool:
        """Forget the threads that ended; returns whether any did so that others may be taken now.

        Raises:
            BaseException: what a thread met that must end the program, such as a FatalFault.
        """
        any_ended = False
        while not self._farewells.empty():
            farewell = self._farewells.get()
            any_ended = any_ended or farewell.outcome is not Outcome.GONE
            del self._members[farewell.key]
            metrics.LEASES_HELD.set(len(self._members))
            if farewell.outcome is Outcome.CAUGHT_UP:
                self.caught_up.add(farewell.key)
            elif farewell.outcome is Outcome.GONE:
                self.gone.add(farewell.key)
            if farewell.fault is not None and not isinstance(farewell.fault, LeaseLost | TransientFault):
                raise farewell.fault
        return any_ended

    def end(self) -> None:
        """Ask all threads to write what they have, and wait until they did or the time is over."""
        self.ask(self.keys)
        deadline = self._tools.clock.monotonic() + STOP_SECONDS + RELEASE_SECONDS
        for key, member in self._members.items():
            member.thread.join(max(0.0, deadline - self._tools.clock.monotonic()))
            if member.thread.is_alive():
                _log.warning("a shard is left before all was written; the next worker reads it again", lease=key)

    def ask(self, keys: Collection[str]) -> None:
        """Ask the threads of some shards to write what they have and to end."""
        for member in self._of(keys):
            member.halt.ask(STOP_SECONDS)

    def have_left(self, keys: Collection[str]) -> bool:
        """Whether no thread reads any of these shards now."""
        return not any(member.thread.is_alive() for member in self._of(keys))

    def drop(self, keys: Collection[str]) -> None:
        """Tell the threads of some shards that another worker reads these now; what they have in flight is dropped."""
        for member in self._of(keys):
            if member.thread.is_alive():
                member.halt.lose()

    def _of(self, keys: Collection[str]) -> list[_Member]:
        return [member for key, member in list(self._members.items()) if key in keys]

    def _live(self, key: str, reader: ShardReader, held: HeldLease, halt: Halt) -> None:
        """A thread's whole life. Whatever ends it, the lease is given back, so that the shard is read on elsewhere."""
        outcome: Outcome | None = None
        fault: BaseException | None = None
        try:
            outcome = reader.run(until_caught_up=self._until_caught_up)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises what is fatal
            fault = error
        try:
            held.release()
        except BaseException as error:  # noqa: BLE001 - the lease expires by itself
            fault = fault or error
        if halt.lost:
            metrics.LEASES_LOST.inc()
            _log.info("lease lost", lease=key)
        elif isinstance(fault, TransientFault):
            _log.warning("lease left before all was written", lease=key, what=fault.what, where=fault.where)
        else:
            _log.info("lease released", lease=key, because=outcome.value if outcome else "fault")
        self._farewells.put(_Farewell(key, outcome, fault))
