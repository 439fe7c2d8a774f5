"""A lease in our hands: renewed by threads of their own, checkpointed by the shard's thread, given back in the end."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Protocol

from cdc.errors import CdcError, LeaseLost, TransientFault
from cdc.telemetry import get_log
from cdc_consumer.backoff import FaultReport
from cdc_consumer.clock import Clock
from cdc_consumer.halt import Halt
from cdc_consumer.lease import Lease, checkpointed, ended, released, renewed

_log = get_log(__name__)
RENEWALS_PER_LEASE = 4
"""How often in a lease's time it is seen to that it was written to; so it never stands still for more than a half."""


class LeaseStore(Protocol):
    """Where leases are kept, as far as one in our hands needs it."""

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        """Change a lease if it still is what it was; returns what is stored now, None where that is nothing of ours."""


class HeldLease:
    """One lease that we took. Its steps never overlap, since each is conditional on what the one before wrote."""

    def __init__(self, table: LeaseStore, lease: Lease, halt: Halt) -> None:
        self._table = table
        self._lease = lease
        self._owner = lease.owner
        self._halt = halt
        self._lock = threading.Lock()
        self._released = False
        self._counter_seen = lease.counter

    @property
    def lease(self) -> Lease:
        """The lease as we wrote it last."""
        return self._lease

    def renew(self) -> None:
        """Give a sign of life, unless another step is on its way or came since the last time, which is one as well.

        Raises:
            LeaseLost: when another worker took the shard over; the shard's thread is told as well.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._halt.check()
                if self._lease.counter == self._counter_seen:
                    self._write(renewed)
                self._counter_seen = self._lease.counter
            finally:
                self._lock.release()

    def heed(self, listed: Lease | None) -> None:
        """Learn from a listing of the table that another worker took the lease, sooner than by the next write."""
        if listed is not None and listed.counter > self._lease.counter and listed.owner not in {None, self._owner}:
            self._halt.lose()

    def checkpoint(self, sequence_number: str, arrived_at: datetime) -> None:
        """Note that everything up to a sequence number is durable, if the lease is still ours.

        Raises:
            LeaseLost: when it is not.
        """
        self._step(lambda lease: checkpointed(lease, sequence_number, arrived_at))

    def end(self, children: Iterable[str], read_until: datetime | None) -> None:
        """Note that the shard is closed and all of it durable, read until some time, if the lease is still ours.

        Raises:
            LeaseLost: when it is not.
        """
        names = tuple(children)
        self._step(lambda lease: ended(lease, names, read_until))

    def release(self) -> None:
        """Give the lease back. One that was lost is another's; there is nothing to give."""
        if self._halt.lost:
            return
        try:
            self._step(released)
        except LeaseLost:
            return

    def _step(self, change: Callable[[Lease], Lease]) -> None:
        with self._lock:
            self._write(change)

    def _write(self, change: Callable[[Lease], Lease]) -> None:
        while not self._released:
            self._halt.check()
            new = change(self._lease)
            stored = self._table.replace(self._lease, new)
            if stored == new:
                self._lease = new
                self._released = new.owner is None
                return
            if stored is None or stored.owner != self._owner:
                self._halt.lose()
                raise LeaseLost("another worker took the shard over", where=self._lease.key)
            # Our own earlier write, whose answer was lost, did land: go on from it.
            self._lease = stored


@contextmanager
def renewing(held: Callable[[], Iterable[HeldLease]], lease_seconds: float, clock: Clock) -> Iterator[None]:
    """Renew all leases that are held, while inside, each in a thread of its own.

    A slow write must not cost the lease, nor a call that hangs the other leases.
    """
    done = threading.Event()
    report = FaultReport(clock.monotonic, where="all")

    def renew_all() -> None:
        while not clock.wait(done, lease_seconds / RENEWALS_PER_LEASE):
            for lease in held():
                _spawn(partial(_renew, lease, report))

    _spawn(renew_all)
    try:
        yield
    finally:
        done.set()


def _spawn(work: Callable[[], None]) -> None:
    threading.Thread(target=contextvars.copy_context().run, args=(work,), name="renew", daemon=True).start()


def _renew(lease: HeldLease, report: FaultReport) -> None:
    try:
        lease.renew()
    except LeaseLost:
        pass  # the shard's thread says so when it ends
    except TransientFault as fault:
        report.add("renew a lease", fault)
    except CdcError as fault:
        # The shard's thread meets the same fault at its next checkpoint and ends the program with it.
        _log.error("cannot renew a lease", what=fault.what, where=fault.where, hint=fault.hint)
