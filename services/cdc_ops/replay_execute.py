"""Execution of a replay: opens what the plan names, plays it, moves what is resolved, and tells."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import msgspec

from cdc import aws
from cdc.errors import CdcError
from cdc.objects import S3Objects
from cdc.program import EXIT_FATAL
from cdc.settings import Source
from cdc.stopping import set_by_signals
from cdc_consumer.kafka.properties import ClientProperties
from cdc_ops import replay_pace as pace
from cdc_ops.replay_command import Plan, ReplaySettings
from cdc_ops.replay_epoch import OLDER_EPOCH, EpochGuard, is_own
from cdc_ops.replay_kinesis import KinesisTarget, record_bytes_max
from cdc_ops.replay_read import in_file, in_order, in_raw, quarantined
from cdc_ops.replay_record import Record
from cdc_ops.replay_resolve import move_replayed
from cdc_ops.replay_resume import ResumeFile
from cdc_ops.replay_run import Player, Summary, summary
from cdc_ops.replay_selection import Piece, find
from cdc_ops.replay_target import FileTarget, Nowhere, Target
from cdc_publisher.sink import KinesisPutter


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock, and a wish to stop that signals set."""

    stop: threading.Event = field(default_factory=threading.Event)

    def seconds(self) -> float:
        """Monotonic time."""
        return time.monotonic()

    def rest(self, seconds: float) -> bool:
        """Wait; False when told to stop."""
        return not self.stop.wait(seconds)

    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self.stop.is_set()


def execute(plan: Plan, settings: ReplaySettings, out: TextIO, err: TextIO) -> int:
    """Replay as planned; returns the exit code.

    Raises:
        CdcError: when it could not be begun.
    """
    clock = SystemClock()
    store = S3Objects(aws.s3(), settings.read_from) if settings.read_from else None
    left_over: list[Piece] = []
    resume = ResumeFile(plan.resume, plan.words) if plan.resume and plan.target is not None else None
    reached = resume.read() if resume else {}
    player = Player(
        target=_guarded(_open_target(plan.target, clock, settings.kafka), plan, settings),
        contracts={contract.name: contract for contract in settings.tables},
        due=_due(plan),
        clock=clock,
        note=lambda tally: resume.write(tally.reached) if resume else None,
        tell=lambda tally: _tell(err, f"{tally.records:,} records of {len(tally.objects):,} objects"),
    )
    with set_by_signals(clock.stop):
        tally = player.play(_records(plan, store, left_over), reached)
    moved = 0
    if plan.resolves and tally.is_whole and store is not None:
        try:
            moved = move_replayed(store, tally.objects - tally.kept)
        except CdcError as fault:
            tally.fault = fault
    done = summary(tally, is_dry_run=plan.target is None, left_over=len(left_over), moved=moved)
    if plan.as_json:
        out.write(msgspec.json.encode(done).decode() + "\n")
    _tell(err, told(done, has_resume=resume is not None))
    return 0 if done.is_whole and not done.left_out and done.stopped is None else EXIT_FATAL


def told(done: Summary, *, has_resume: bool) -> str:
    """A summary for people."""
    verb = "would be replayed" if done.is_dry_run else "replayed"
    count = done.records - sum(done.left_out.values()) if done.is_dry_run else done.replayed
    lines = [f"{count:,} records {verb}, out of {done.records:,} ({done.bytes:,} bytes) in {done.objects:,} objects"]
    lines += [f"  of table {table}: {records:,}" for table, records in done.by_table.items()]
    lines += [f"  quarantined as {reason}: {records:,}" for reason, records in done.by_reason.items()]
    lines += [f"  cannot be put back, {why}: {records:,} (docs/replay.md)" for why, records in done.left_out.items()]
    if OLDER_EPOCH in done.left_out:
        lines.append("  on the table's own stream these would count as of its newest epoch, and beat its snapshot")
    if done.skipped:
        lines.append(f"  replayed by an earlier run: {done.skipped:,}")
    if done.left_over_objects:
        lines.append(f"  objects left over from crashes, not read: {done.left_over_objects:,}")
    if done.moved_objects:
        lines.append(f"  objects moved to _replayed/: {done.moved_objects:,}")
    if done.stopped is not None:
        lines.append(f"stopped: {done.stopped}")
        lines += [f"  {shard}: all up to {place} is done" for shard, place in done.reached.items()]
        lines.append("run it again to go on" if has_resume else "run it again; what is put twice does no harm")
    return "\n".join(lines)


def _records(plan: Plan, store: S3Objects | None, left_over: list[Piece]) -> Iterator[Record]:
    selection = plan.selection
    if plan.origin is not None:
        for record in in_file(plan.origin):
            is_of_table = not selection.tables or record.table in selection.tables
            if is_of_table and (not selection.reasons or record.reason in selection.reasons):
                yield record
        return
    assert store is not None
    assert plan.kept is not None
    read = in_raw(store, left_over.append) if plan.kept == "raw" else quarantined(store)
    yield from in_order(find(store, plan.kept, selection), read)


def _due(plan: Plan) -> pace.Due:
    if plan.speed is not None:
        return pace.as_recorded(plan.speed)
    return pace.steady(plan.records_per_second) if plan.records_per_second else pace.at_once


def _guarded(target: Target, plan: Plan, settings: ReplaySettings) -> Target:
    """The target, kept from records of older epochs where it is a stream of the tables, or might be one."""
    if settings.raw is None or plan.takes_any_epoch or isinstance(plan.target, Path):
        return target
    raw_zone = S3Objects(aws.s3(), settings.raw)
    if plan.target is not None and not is_own(raw_zone, plan.target.streams[0]):
        return target
    return EpochGuard(target, raw_zone, [contract.name for contract in settings.tables])


def _open_target(target: Source | Path | None, clock: SystemClock, kafka: ClientProperties) -> Target:
    if target is None:
        return Nowhere()
    if isinstance(target, Path):
        return FileTarget(target)
    (stream,) = target.streams
    if target.kind == "kafka":
        # The client is loaded only where it is needed.
        from cdc_ops.replay_kafka import KafkaTarget, open_topic  # noqa: PLC0415

        return KafkaTarget(open_topic(target.servers, kafka, stream), stream, clock.is_stopping)
    client = aws.kinesis()
    dice = random.Random()  # noqa: S311 - jitter only
    put = KinesisPutter(client, stream)
    return KinesisTarget(put, record_bytes_max(client, stream), dice, clock.seconds, clock.rest)


def _tell(err: TextIO, text: str) -> None:
    err.write(f"{text}\n")
    err.flush()
