"""Fixtures that several tests share: the real servers of the sandbox, each started once a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import boto3
import pytest
from hypothesis import HealthCheck, settings

from cdc.contract import TableContract, load_folder, parse_contract
from compactor.lake.catalog import open_catalog
from sandbox.aws import Aws
from sandbox.kafka import Kafka
from tests.compactor_world import CONTRACT, NAMES, World
from tests.emulator import Services

ROOT = Path(__file__).resolve().parent.parent
# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("project")
PII_KEY = "a masking key for tests, long enough"


@pytest.fixture(autouse=True)
def _no_session_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    # boto3 remembers what the environment said when its first client was made; each test has an environment of its own.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """AWS services, empty at the start; tests keep apart by their own names of streams and buckets."""
    with Aws.start(tmp_path_factory.mktemp("aws")) as services:
        services.create_bucket("lake")
        yield services


@pytest.fixture(scope="session")
def services(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The same services and emulators of them by name; those from npm are started when first asked for."""
    with ExitStack() as stack:
        yield Services(stack, aws, tmp_path_factory.mktemp("emulators"))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A Kafka broker, empty at the start; tests keep apart by their own names of topics and groups."""
    with Kafka.start(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def aws_environment(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a program that uses these services, also set for the test itself."""
    environment = aws.environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture(scope="session")
def usuarios() -> TableContract:
    """The founding contract."""
    (contract,) = load_folder(ROOT / "tables")
    return contract


@pytest.fixture
def world(aws: Aws, aws_environment: dict[str, str]) -> World:
    name = next(NAMES)
    return World(open_catalog("lake"), parse_contract(CONTRACT.format(name=name)), aws_environment)
