"""Drills: what an alarm would see of running programs, and a compactor of its own to produce faults with.

The conditions are those of infra/alarms.yaml. Gauges are looked at on /metrics now, counters in the documents that the
programs write for CloudWatch, which tell of a program's end too. Time windows are left out: a drill waits until the
condition holds, and until it does no more; a threshold of minutes may be scaled down to seconds.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from cdc.objects import S3Objects
from cdc.settings import S3Location
from sandbox.alarms import Alarm, load_alarms
from sandbox.aws import LAKE_BUCKET, Aws
from sandbox.pipeline import PII_KEY, ROOT
from sandbox.process import Command, Process, SandboxFault, free_port, tail, wait_until
from tests.compactor_world import CONTRACT
from tests.raw_zone import ShardWriter

ALARMS = {alarm.name: alarm for alarm in load_alarms()}
QUIET_PERIODS = 3  # a counter is over when so many periods added nothing
PATIENCE_SECONDS = 240  # a limit for what has gone wrong; nothing right takes as long


@dataclass
class Monitor:
    """Looks at programs by their ports and logs; `since` is how many bytes of each log are of before.

    `check` raises when a program has ended that should run.
    """

    ports: dict[str, int] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None

    def port(self, program: str, log: Path) -> int:
        """A port for the program's /metrics, the same at each start."""
        self.logs[program] = log
        return self.ports.setdefault(program, free_port())

    def sees(self, name: str, scale: float = 1.0) -> bool:
        """Whether an alarm's condition holds, its threshold made smaller by so many times."""
        stated = ALARMS[name]
        alarm = replace_threshold(stated, stated.own_threshold / scale)
        if alarm.statistic == "Sum":
            return alarm.is_past(self.added(alarm))
        values = self.values(alarm.own_metric)
        if not values:
            return alarm.treat_missing_data == "breaching"
        return alarm.is_past(max(values) if alarm.statistic == "Maximum" else min(values))

    def values(self, metric: str) -> list[float]:
        """What the programs that answer show of a gauge now, values that are none left out."""
        found: list[float] = []
        for port in self.ports.values():
            families = text_string_to_metric_families(_page(port))
            found += [s.value for family in families if family.name == metric for s in family.samples]
        return [value for value in found if value == value]  # noqa: PLR0124 - not a number is no value

    def added(self, alarm: Alarm) -> float:
        """What a counter grew by since `forget`, as told to CloudWatch."""
        total = 0.0
        for program, log in self.logs.items():
            if not log.exists():
                continue
            with log.open("rb") as file:
                file.seek(self.since.get(program, 0))
                for line in file:
                    if b'"_aws"' in line and line.endswith(b"\n"):
                        total += json.loads(line).get(alarm.metric, 0.0)
        return total

    def series(self) -> set[tuple[str, str]]:
        """What was told to CloudWatch since `forget`, as metric and table."""
        found = set()
        for program, log in self.logs.items():
            for line in log.read_bytes()[self.since.get(program, 0) :].splitlines():
                if b'"_aws"' in line:
                    told = json.loads(line)
                    (directive,) = told["_aws"]["CloudWatchMetrics"]
                    found |= {(metric["Name"], told.get("table", "")) for metric in directive["Metrics"]}
        return found

    def periods(self) -> int:
        """How many times the program that told least often of late has told CloudWatch since `forget`.

        A program that never told anything, or has ended, counts for nothing.
        """
        told = []
        for program, log in self.logs.items():
            if not _page(self.ports[program]):
                continue
            lines = log.read_bytes()[self.since.get(program, 0) :].split(b"\n")[:-1]
            told.append(len({json.loads(line)["_aws"]["Timestamp"] for line in lines if b'"_aws"' in line}))
        return min(told, default=0)

    def forget(self) -> None:
        """Count from now on."""
        self.since = {program: log.stat().st_size for program, log in self.logs.items() if log.exists()}

    def wait(self, *names: str, scale: float = 1.0, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the conditions of some alarms have held, each at some moment."""
        left = set(names)

        def have_held() -> bool:
            self.check()
            left.difference_update([name for name in left if self.sees(name, scale)])
            return not left

        wait_until(have_held, timeout_seconds, f"{sorted(names)} are seen", self._a_log(), poll_seconds=0.2)

    def wait_until_over(self, *names: str, scale: float = 1.0, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until no condition of some alarms holds any more."""
        self.forget()
        counted = [ALARMS[name] for name in names if ALARMS[name].statistic == "Sum"]

        def are_over() -> bool:
            self.check()
            if any(self.sees(name, scale) for name in names):
                self.forget()  # what is counted is over once a look at some periods adds nothing
                return False
            return not counted or self.periods() >= QUIET_PERIODS

        wait_until(are_over, timeout_seconds, f"{sorted(names)} are over", self._a_log(), poll_seconds=0.2)

    def _a_log(self) -> Path | None:
        return next(iter(self.logs.values()), None)


def replace_threshold(alarm: Alarm, threshold: float) -> Alarm:
    """The same alarm on our own metric with another threshold."""
    own = alarm.own
    return msgspec.structs.replace(
        alarm, threshold=threshold, own=own and msgspec.structs.replace(own, threshold=threshold)
    )


def settings(monitor: Monitor, program: str, log: Path) -> dict[str, str]:
    """What a program under drill is told besides: its port, and to write for CloudWatch each half second."""
    return {
        "CDC_HTTP_PORT": str(monitor.port(program, log)),
        "CDC_METRICS": "emf",
        "CDC_METRICS_PERIOD_SECONDS": "0.5",
    }


def _page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:  # it does not run, or not yet
        return ""


@dataclass
class LakeScene:
    """A table with a raw zone made by hand in S3, and the real compactor as a process."""

    aws: Aws
    folder: Path
    name: str
    monitor: Monitor = field(default_factory=Monitor)
    environment: dict[str, str] = field(default_factory=dict)
    process: Process | None = None
    launcher: tuple[str, ...] = ()
    """What starts the compactor's interpreter, where that is not the sandbox itself."""

    def __post_init__(self) -> None:
        self.tables = self.folder / "tables"
        self.tables.mkdir(parents=True)
        self.contract = CONTRACT.format(name=self.name)
        self.store = S3Objects(self.aws.client("s3"), S3Location(LAKE_BUCKET, f"{self.name}/raw"))
        self.log = self.folder / "compactor.log"
        self.monitor.check = self._check

    def shard(self, number: int = 0) -> ShardWriter:
        """A writer of one shard's batches."""
        return ShardWriter(self.store, f"shardId-{number:012}")

    def put(self, shard: ShardWriter, *events: bytes, **options: object) -> None:
        """A batch of events of the table."""
        shard.batch(events, table=self.name, **options)  # type: ignore[arg-type]

    def start(self, **extra: str) -> Process:
        """Start the compactor with the contract as it is."""
        (self.tables / f"{self.name}.odcs.yaml").write_text(self.contract, encoding="utf-8")
        environment: Mapping[str, str] = {
            **self.aws.environment(),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
            "PATH": "/usr/bin:/bin",
            "CDC_TABLES": str(self.tables),
            "CDC_RAW": f"s3://{LAKE_BUCKET}/{self.name}/raw",
            "CDC_QUARANTINE": f"s3://{LAKE_BUCKET}/{self.name}/quarantine",
            "CDC_COMPACT_INTERVAL_SECONDS": "0.5",
            "CDC_PII_KEY": PII_KEY,
            **settings(self.monitor, "compactor", self.log),
            **self.environment,
            **extra,
        }
        program = "import sys; from compactor.cli import main; sys.exit(main(['run']))"
        arguments = (*self.launcher, sys.executable, "-c", program)
        command = Command("compactor", arguments, environment, self.folder, self.log)
        self.process = Process(command)
        return self.process

    def wait_for_rows(self, rows: int) -> None:
        """Wait until so many rows are merged."""
        wait_until(
            lambda: self.monitor.values("compactor_rows") == [rows],
            PATIENCE_SECONDS,
            f"{rows} rows are merged",
            self.log,
        )

    def stop(self) -> None:
        """End the compactor, if it runs."""
        if self.process is not None:
            self.process.stop()

    def restart(self) -> None:
        """Stop it and start it, with the contract as it is now."""
        self.stop()
        self.start()

    def _check(self) -> None:
        if self.process is not None and self.process.exit_status is not None:
            raise SandboxFault("the compactor has ended", where=str(self.log), hint=tail(self.log))
