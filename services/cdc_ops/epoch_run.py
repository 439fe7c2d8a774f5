"""Run of `cdc epoch`: reads what is recorded and what raw shows, tells it, asks, and records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cdc import aws
from cdc.epoch import (
    FIRST_EPOCH,
    EpochEnd,
    EpochResent,
    Epochs,
    EpochStart,
    read_epochs,
    record_end,
    record_resent,
    record_start,
)
from cdc.errors import FatalFault
from cdc.objects import ObjectStore, S3Objects
from cdc.program import EXIT_FATAL
from cdc_ops.epoch_command import EpochSettings
from cdc_ops.epoch_proposal import propose_end, propose_resent, propose_start
from cdc_ops.epoch_source import tell_and_accept
from compactor.chain import Shard, known_shards, shards
from compactor.lake.view import look, open_catalog_to_read
from compactor.progress import Progress, parse_progress


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator asks for; `is_agreed`: it is to be recorded without a question."""

    table: str
    at: Mapping[str, int]
    is_from_now: bool = False
    is_complete: bool = False
    is_resent: bool = False
    continues: bool = False
    accepts_source: bool = False
    is_agreed: bool = False


def run_epoch(settings: EpochSettings, asked: Asked) -> int:
    """Do what was asked; returns the exit code.

    Raises:
        FatalFault: when there is no contract for the table.
    """
    contract = next((contract for contract in settings.tables if contract.name == asked.table), None)
    if contract is None:
        raise FatalFault("no contract names the table", where=f"table {asked.table}", hint="give its name in the lake")
    view = look(open_catalog_to_read(settings.catalog), settings.catalog, asked.table)
    progress = parse_progress(view.properties, asked.table) if view is not None else Progress()
    store = S3Objects(aws.s3(), settings.raw)
    tell = sys.stdout.write
    if asked.accepts_source:
        return tell_and_accept(store, contract, progress, tell, (lambda: True) if asked.is_agreed else agreed_by_hand)
    tell_and_accept(store, contract, progress, tell, None)
    return tell_and_record(store, progress, asked, tell, agreed_by_hand)


def tell_and_record(
    store: ObjectStore,
    progress: Progress,
    asked: Asked,
    tell: Callable[[str], object],
    agree: Callable[[], bool | None],
) -> int:
    """The command on a raw zone; `agree` asks the operator, and is None when nobody can be asked."""
    epochs = read_epochs(store, asked.table)
    for line in _shown(epochs, progress):
        tell(line + "\n")
    known = _known(store)
    record: EpochStart | EpochEnd | EpochResent | None
    if asked.is_resent:
        record = propose_resent(store, asked.table, epochs, known) if progress.waits else None
        tell(_told_resent(record))
    elif asked.is_complete:
        record = propose_end(store, epochs, known, datetime.now(UTC))
        tell(_told_end(record))
    else:
        proposal = propose_start(
            store,
            asked.table,
            epochs,
            progress,
            known,
            is_from_now=asked.is_from_now,
            continues=asked.continues,
            at=asked.at,
        )
        record = proposal.start if proposal is not None else None
        tell(_told_start(record, proposal.why if proposal is not None else ""))
    if record is None:
        return EXIT_FATAL if progress.waits else 0
    if not asked.is_agreed:
        answer = agree()
        if answer is None:
            tell("not recorded: nobody can be asked; add --yes\n")
        if not answer:
            return EXIT_FATAL
    is_recorded = _record(store, record, epochs)
    tell("recorded\n" if is_recorded else "not recorded: somebody else has recorded it meanwhile; look again\n")
    return 0 if is_recorded else EXIT_FATAL


def _record(store: ObjectStore, record: EpochStart | EpochEnd | EpochResent, epochs: Epochs) -> bool:
    if isinstance(record, EpochResent):
        return record_resent(store, record, epochs)
    return record_end(store, record) if isinstance(record, EpochEnd) else record_start(store, record)


def agreed_by_hand() -> bool | None:
    """Ask the person at the terminal; None when there is none."""
    if not sys.stdin.isatty():
        return None
    sys.stdout.write("record this? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _known(store: ObjectStore) -> dict[str, Shard]:
    found = {shard.id: shard for shard in shards(store)}
    for shard_id in known_shards(store):
        stream, _, name = shard_id.partition("/")
        found.setdefault(shard_id, Shard(stream, name))
    return found


def _shown(epochs: Epochs, progress: Progress) -> Iterator[str]:
    for start in epochs.starts:
        kind = "continues the one before" if start.continues else "begins with a snapshot"
        state = "complete" if start.epoch in epochs.ends or start.continues else "not known to be complete"
        yield f"epoch {start.epoch}: {kind}, {state}; recorded by {start.origin}"
    if not epochs.starts:
        yield f"epoch {FIRST_EPOCH}: nothing else is recorded"
    for shard, number in sorted(progress.waits.items()):
        yield f"the table waits: in {shard} an epoch seems to begin at {number}"


def _told_start(start: EpochStart | None, why: str) -> str:
    if start is None:
        return "raw shows no snapshot that no epoch knows of; say --from-now or --at to record one all the same\n"
    lines = [f"epoch {start.epoch} would begin ({why}):"]
    lines += [f"  {shard} from {number} on" for shard, number in sorted(start.starts.items())]
    lines += [f"  {shard} has nothing of it, and is no longer waited for" for shard in start.ended]
    if start.continues:
        lines.append("nothing is deleted, and what is merged stays")
    else:
        lines.append("once its snapshot is complete, rows that it did not read are deleted")
    return "\n".join(lines) + "\n"


def _told_resent(resent: EpochResent | None) -> str:
    if resent is None:
        return "the table does not wait: there is nothing that looks like a new snapshot\n"
    lines = ["no snapshot would begin; these reads would be taken for ones that were sent again:"]
    lines += [f"  {shard} up to {number}" for shard, number in sorted(resent.upto.items())]
    lines.append("if the table was in truth read anew, its rows would be older than they are: then record the epoch")
    return "\n".join(lines) + "\n"


def _told_end(end: EpochEnd | None) -> str:
    if end is None:
        return "there is no epoch whose snapshot is not known to be complete\n"
    lines = [f"the snapshot of epoch {end.epoch} would be complete with what raw has now:"]
    lines += [f"  {shard} up to {number}" for shard, number in sorted(end.ends.items())]
    lines.append("every row of an older epoch that it did not read is deleted; make sure that the producer is done")
    return "\n".join(lines) + "\n"
