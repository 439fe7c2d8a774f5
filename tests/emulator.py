"""Emulators of AWS services from npm: installed once from a lock file, each run on a free port of 127.0.0.1."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from sandbox.aws import CREDENTIAL, REGION, Aws
from sandbox.process import LOCALHOST, Command, Process, free_port

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient

ROOT = Path(__file__).resolve().parent.parent
LOCK_FILES = ROOT / "tests" / "emulators"
CACHE = ROOT / ".cache" / "emulators"
_INSTALL_SECONDS = 300
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Service:
    """A running service that speaks an API of AWS."""

    name: str
    endpoint_url: str

    def kinesis(self) -> KinesisClient:
        """A client of its Kinesis."""
        client: KinesisClient = self._client("kinesis")
        return client

    def dynamodb(self) -> DynamoDBClient:
        """A client of its DynamoDB."""
        client: DynamoDBClient = self._client("dynamodb")
        return client

    def _client(self, service: Any) -> Any:
        # Where AWS_PROFILE names a profile that is not there, a session would refuse before it looks at its arguments.
        session = boto3.Session(botocore_session=botocore.session.Session({"profile": (None, None, None, None)}))
        return session.client(
            service,
            aws_access_key_id=CREDENTIAL,
            aws_secret_access_key=CREDENTIAL,
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
        )


class Services(dict[str, Service]):
    """Services by name: ministack, which runs already, and emulators from npm, each started when first asked for."""

    def __init__(self, stack: ExitStack, ministack: Aws, directory: Path) -> None:
        super().__init__({"ministack": Service("ministack", ministack.endpoint_url)})
        self._stack = stack
        self._directory = directory

    def __missing__(self, name: str) -> Service:
        start = {"kinesalite": kinesalite, "kinesis-mock": kinesis_mock, "dynalite": dynalite}[name]
        self[name] = self._stack.enter_context(start(self._directory))
        return self[name]


@contextmanager
def kinesalite(directory: Path) -> Iterator[Service]:
    """Kinesis by mhart/kinesalite; streams change within 10 ms."""
    port = free_port()
    pace = ("--createStreamMs", "10", "--deleteStreamMs", "10", "--updateStreamMs", "10", "--shardLimit", "1000")
    with _running("kinesalite", directory, port, "kinesalite/cli.js", "--port", str(port), *pace) as process:
        service = Service("kinesalite", f"http://{LOCALHOST}:{port}")
        process.wait_until(lambda: _answers(service.kinesis().list_streams), _START_SECONDS, "kinesalite answers")
        yield service


@contextmanager
def kinesis_mock(directory: Path) -> Iterator[Service]:
    """Kinesis by etspaceman/kinesis-mock; streams change within 10 ms."""
    port = free_port()
    steps = ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS")
    settings = {f"{step}_DURATION": "10ms" for step in steps} | {
        "KINESIS_MOCK_CERT_PATH": str(packages() / "kinesis-local" / "server.json"),
        "KINESIS_MOCK_PLAIN_PORT": str(port),
        "KINESIS_MOCK_TLS_PORT": str(free_port()),
        "SHARD_LIMIT": "1000",
        "LOG_LEVEL": "ERROR",
    }
    with _running("kinesis-mock", directory, port, "kinesis-local/main.js", **settings) as process:
        service = Service("kinesis-mock", f"http://{LOCALHOST}:{port}")
        process.wait_until(lambda: _answers(service.kinesis().list_streams), _START_SECONDS, "kinesis-mock answers")
        yield service


@contextmanager
def dynalite(directory: Path) -> Iterator[Service]:
    """DynamoDB by architect/dynalite; tables change within 10 ms."""
    port = free_port()
    pace = ("--createTableMs", "10", "--deleteTableMs", "10")
    with _running("dynalite", directory, port, "dynalite/cli.js", "--port", str(port), *pace) as process:
        service = Service("dynalite", f"http://{LOCALHOST}:{port}")
        process.wait_until(lambda: _answers(service.dynamodb().list_tables), _START_SECONDS, "dynalite answers")
        yield service


@contextmanager
def _running(
    name: str, directory: Path, port: int, program: str, *arguments: str, **settings: str
) -> Iterator[Process]:
    node = shutil.which("node")
    assert node, "packages() skips the test where there is no node"
    process = Process(
        Command(
            name=name,
            arguments=(node, "--require", str(LOCK_FILES / "loopback.cjs"), str(packages() / program), *arguments),
            environment={"PATH": os.environ.get("PATH", os.defpath), **settings},
            directory=directory,
            log=directory / f"{name}-{port}.log",
        )
    )
    try:
        yield process
    finally:
        process.stop()


def _answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except BotoCoreError:
        return False
    return True


def packages() -> Path:
    """The folder of installed packages: those of the lock file, installed when they are not yet."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed: the emulators from npm cannot run")
    CACHE.mkdir(parents=True, exist_ok=True)
    installed = CACHE / "node_modules"
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = (LOCK_FILES / "package-lock.json").read_bytes()
        done = CACHE / ".installed"  # written last: what was cut off is installed anew
        if not done.exists() or done.read_bytes() != wanted:
            done.unlink(missing_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(LOCK_FILES / name, CACHE / name)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(command, cwd=CACHE, check=True, timeout=_INSTALL_SECONDS)
            done.write_bytes(wanted)
    return installed
