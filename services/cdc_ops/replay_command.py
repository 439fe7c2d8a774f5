"""The command `cdc replay`: puts quarantined records, raw, or a file of such records back on a stream or in a file."""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from cdc.contract import ContractsSetting
from cdc.errors import SettingsFault
from cdc.settings import KAFKA_PREFIX, S3Location, S3Setting, Settings, Source, SourceSetting, describe, load
from cdc_consumer.kafka.properties import ClientProperties, KafkaSetting
from cdc_ops.replay_selection import Kept, Selection, parse_batch, parse_days

RECORDS_PER_SECOND = 500.0
"""Half of what one shard of Kinesis takes: a replay must not starve what is streamed meanwhile."""
_FILES = (".jsonl", ".jsonl.gz")
_SOURCE: TypeAdapter[Source] = TypeAdapter(SourceSetting)
_DESCRIPTION = """\
Puts records that were quarantined, or that are in raw, back on a stream or in a file: payloads as they came, in the
order of each shard, with partition keys that keep the order of each row. What the lake has already changes nothing."""
_EPILOG = """
examples:
  cdc replay --from quarantine --reason value-not-held --dry-run
  cdc replay --from quarantine --reason value-not-held --to kinesis://usuarios --resolve
  cdc replay --from raw --day 2026-11-21 --table usuarios --to day.jsonl.gz
  cdc replay --from day.jsonl.gz --to kinesis://usuarios --speed 10

exit codes: 0 all of it was put; 1 it stopped, or something could not be put, and says what; 2 wrong usage or settings
"""


class ReplaySettings(Settings):
    """What every replay reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    kafka: KafkaSetting = Field(
        default_factory=ClientProperties,
        alias=f"{KAFKA_PREFIX}*",
        description="of the Kafka client: CDC_KAFKA_SECURITY_PROTOCOL is security.protocol, and so on (docs/kafka.md)",
    )
    raw: S3Setting | None = Field(
        default=None,
        alias="CDC_RAW",
        description="the raw zone, s3://bucket/prefix: it has the epochs, which what is put on a stream is checked by",
    )

    @property
    def read_from(self) -> S3Location | None:
        """Where the records are that are put back; None for a file."""
        return None


class QuarantineSettings(ReplaySettings):
    """What a replay of the quarantine reads from the environment."""

    kept: S3Setting = Field(alias="CDC_QUARANTINE", description="the quarantine, s3://bucket/prefix")

    @property
    def read_from(self) -> S3Location | None:
        """The quarantine."""
        return self.kept


class RawSettings(ReplaySettings):
    """What a replay of raw reads from the environment."""

    raw: S3Setting = Field(alias="CDC_RAW", description="the raw zone, s3://bucket/prefix")

    @property
    def read_from(self) -> S3Location | None:
        """The raw zone."""
        return self.raw


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay as the command line asks for it; `origin` and `target` are None where there is none of that kind.

    Without `target` it is a dry run. `speed` is a factor on the times of arrival, `records_per_second` 0 where there is
    no limit. `words` are what makes it this replay and no other.
    """

    kept: Kept | None
    origin: Path | None
    selection: Selection
    target: Source | Path | None
    records_per_second: float
    speed: float | None
    resume: Path | None
    resolves: bool
    takes_any_epoch: bool
    as_json: bool
    words: tuple[str, ...]


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "replay",
        help="put quarantined records or raw back on a stream or in a file",
        description=_DESCRIPTION,
        epilog=f"{describe(QuarantineSettings)}\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--from", dest="origin", required=True, metavar="quarantine|raw|FILE", help="what is put back")
    parser.add_argument(
        "--to",
        metavar="TARGET",
        help="kinesis://stream, kafka://host:port/topic, or a new file: name.jsonl or name.jsonl.gz",
    )
    parser.add_argument("--table", action="append", default=[], help="of this lake table alone; may be repeated")
    parser.add_argument("--reason", action="append", default=[], help="quarantined for this reason; may be repeated")
    parser.add_argument("--day", metavar="DAY[..DAY]", help="arrived on this day or these days (UTC), like 2026-11-21")
    parser.add_argument("--batch", metavar="NAME", help="of one micro-batch: <stream>~<shard>~<after>~<upto>")
    parser.add_argument("--path", default="", help="of objects whose path below the prefix begins so")
    parser.add_argument("--dry-run", action="store_true", help="count, and put nothing anywhere")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--records-per-second",
        type=float,
        metavar="NUMBER",
        help=f"how fast; 0 for no limit (default: {RECORDS_PER_SECOND:.0f} to a stream, no limit to a file)",
    )
    pace.add_argument("--speed", type=float, metavar="FACTOR", help="as they had arrived, so many times as fast")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on where the replay of this file stopped")
    parser.add_argument(
        "--resolve", action="store_true", help="move objects that are put back whole to _replayed/ of the quarantine"
    )
    parser.add_argument(
        "--any-epoch",
        action="store_true",
        help="also put records on the table's own stream that are older than its newest epoch, where they would count "
        "as of that one: only for a record whose position was mended by hand",
    )
    parser.add_argument("--json", action="store_true", help="the summary as one JSON document on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replay; returns the exit code.

    Raises:
        SettingsFault: naming every problem of the command line, or of the settings, at once.
        CdcError: when nothing could be begun.
    """
    plan = read_plan(arguments)
    settings: QuarantineSettings | RawSettings | ReplaySettings
    match plan.kept:
        case "quarantine":
            settings = load(QuarantineSettings, os.environ)
        case "raw":
            settings = load(RawSettings, os.environ)
        case None:
            settings = load(ReplaySettings, os.environ)
    from cdc_ops.replay_execute import execute  # noqa: PLC0415 - it loads what the other commands need not wait for

    if isinstance(plan.target, Source) and settings.raw is None and not plan.takes_any_epoch:
        missing = "CDC_RAW: is missing: it has the epochs, by which it is told what may go on a stream again"
        raise SettingsFault([f"{missing}; or say --any-epoch"])
    return execute(plan, settings, sys.stdout, sys.stderr)


def read_plan(arguments: argparse.Namespace) -> Plan:
    """What the command line asks for.

    Raises:
        SettingsFault: naming every problem at once.
    """
    problems: list[str] = []
    kept: Kept | None = arguments.origin if arguments.origin in {"quarantine", "raw"} else None
    origin = None if kept else _file(arguments.origin)
    if kept is None and origin is None:
        problems.append("--from: must be quarantine, raw, or a file called *.jsonl or *.jsonl.gz")
    target = _target(arguments.to, problems)
    if target is None and not arguments.dry_run and not problems:
        problems.append("--to: is missing; or count with --dry-run")
    selection = _selection(arguments, kept, problems)
    problems += _contradictions(arguments, kept, target)
    per_second = arguments.records_per_second
    for option, number in (("--records-per-second", per_second), ("--speed", arguments.speed)):
        if number is not None and not (math.isfinite(number) and (number > 0 or (number == 0 and option != "--speed"))):
            problems.append(f"{option}: must be a number above 0")
    if problems:
        raise SettingsFault(problems)
    if per_second is None:
        per_second = RECORDS_PER_SECOND if isinstance(target, Source) and arguments.speed is None else 0.0
    is_dry_run = arguments.dry_run
    chosen = (arguments.origin, arguments.to or "", *sorted(arguments.table), "|", *sorted(arguments.reason))
    return Plan(
        kept=kept,
        origin=origin,
        selection=selection,
        target=None if is_dry_run else target,
        records_per_second=0.0 if is_dry_run else per_second,
        speed=None if is_dry_run else arguments.speed,
        resume=arguments.resume,
        resolves=arguments.resolve and not is_dry_run,
        takes_any_epoch=arguments.any_epoch,
        as_json=arguments.json,
        words=(*chosen, "|", arguments.day or "", arguments.batch or "", arguments.path),
    )


def _selection(arguments: argparse.Namespace, kept: Kept | None, problems: list[str]) -> Selection:
    days = parse_days(arguments.day) if arguments.day is not None else None
    if arguments.day is not None and days is None:
        problems.append("--day: must look like 2026-11-21 or 2026-11-01..2026-11-21")
    batch = parse_batch(arguments.batch) if arguments.batch is not None else None
    if arguments.batch is not None and batch is None:
        problems.append("--batch: must look like <stream>~<shard>~<after>~<upto>, as it stands in names of objects")
    if kept == "raw" and days is None and batch is None and not arguments.path:
        problems.append("--from raw: say which part of it by --day, --batch or --path")
    if kept is None and (days or batch or arguments.path):
        problems.append("--day, --batch, --path: select objects of the quarantine or of raw, not lines of a file")
    return Selection(frozenset(arguments.table), frozenset(arguments.reason), days, batch, arguments.path)


def _contradictions(
    arguments: argparse.Namespace, kept: Kept | None, target: Source | Path | None
) -> list[str]:  # fmt: skip
    told: tuple[tuple[bool, str], ...] = (
        (kept == "raw" and bool(arguments.reason), "--reason: is of the quarantine; raw has no reasons"),
        (arguments.resolve and kept != "quarantine", "--resolve: is of the quarantine; nothing else is ever moved"),
        (
            arguments.resolve and not isinstance(target, Source),
            "--resolve: only what is put back on a stream is replayed; a file is a copy",
        ),
        (
            arguments.resume is not None and not isinstance(target, Source),
            "--resume: only a replay to a stream goes on; a file is written anew",
        ),
    )
    return [problem for is_so, problem in told if is_so]


def _target(text: str | None, problems: list[str]) -> Source | Path | None:
    if text is None:
        return None
    if "://" not in text:
        path = _file(text)
        if path is None:
            problems.append("--to: must be kinesis://stream, kafka://host:port/topic, or a file *.jsonl or *.jsonl.gz")
        return path
    try:
        source = _SOURCE.validate_python(text)
    except ValidationError as error:
        problems += [f"--to: {detail['msg'].removeprefix('Value error, ')}" for detail in error.errors()]
        return None
    if len(source.streams) != 1:
        problems.append("--to: must name one stream")
    return source


def _file(text: str) -> Path | None:
    return Path(text) if text.endswith(_FILES) else None
