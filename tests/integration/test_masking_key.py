"""The masking key: its version stands on both tables, and a table never gets tokens of another key."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cdc import aws as clients
from cdc.errors import FatalFault
from cdc.objects import S3Objects
from cdc.settings import S3Location, load
from compactor.lake.catalog import open_catalog
from compactor.loop import run
from compactor.mask import fingerprint
from compactor.pii_key import read_pii_key
from compactor.settings import CompactorSettings
from sandbox.aws import Aws
from tests.compactor_world import CONTRACT, NAMES
from tests.conftest import PII_KEY
from tests.raw_zone import ShardWriter, event
from tests.store_contents import contents

pytestmark = pytest.mark.slow
TOKEN = "customProperties: [{property: mask, value: token}], "
OTHER_KEY = "another masking key, as long as it must be"


@pytest.fixture
def name(aws: Aws, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A table with tokens, of a lake of its own."""
    name = next(NAMES)
    (tmp_path / "t.odcs.yaml").write_text(CONTRACT.format(name=name).replace("{name: nome, ", f"{{name: nome, {TOKEN}"))
    aws.create_bucket(f"raw-{name}")
    settings = {
        "CDC_TABLES": str(tmp_path), "CDC_RAW": f"s3://raw-{name}/raw", "CDC_QUARANTINE": f"s3://raw-{name}/quarantine",
        "CDC_PII_KEY": PII_KEY,
    }  # fmt: skip
    for variable in [variable for variable in os.environ if variable.startswith("CDC_")]:
        monkeypatch.delenv(variable)
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    return name


def merge(name: str, key: int) -> None:
    shard = ShardWriter(S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw")), f"shardId-{key:012}")
    shard.batch([event("c", 5 + key, {"id": key, "nome": "Joaquim", "bio": "x"}, table="t")], table=name)
    run(load(CompactorSettings, os.environ), threading.Event(), once=True)


def stated(name: str) -> list[str]:
    tables = (open_catalog("lake").load_table(("lake", suffixed)) for suffixed in (name, f"{name}_history"))
    return [table.properties["cdc.pii-key-version"] for table in tables]


def tokens(name: str) -> list[str]:
    rows: list[Mapping[str, Any]] = open_catalog("lake").load_table(("lake", name)).scan().to_arrow().to_pylist()
    return [row["nome"] for row in rows]


def test_both_tables_state_the_version_of_the_key_that_made_their_tokens(name: str) -> None:
    merge(name, 1)
    assert stated(name) == [fingerprint(PII_KEY.encode())] * 2


def test_with_another_key_nothing_is_touched(name: str, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    merge(name, 1)
    monkeypatch.setenv("CDC_PII_KEY", OTHER_KEY)
    ShardWriter(S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw")), "shardId-9").batch([], table=name)
    before = contents(aws)
    with pytest.raises(FatalFault, match="another masking key") as found:
        run(load(CompactorSettings, os.environ), threading.Event(), once=True)
    assert contents(aws) == before
    assert fingerprint(PII_KEY.encode()) in found.value.what
    assert fingerprint(OTHER_KEY.encode()) in found.value.what
    assert OTHER_KEY not in str(found.value)


def test_a_secret_that_was_rotated_is_refused_until_the_version_of_then_is_named(
    name: str, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = aws.client("secretsmanager")  # type: ignore[call-overload]
    made = secrets.create_secret(Name=f"pii-{name}", SecretString=PII_KEY)
    monkeypatch.setenv("CDC_PII_KEY", f"secretsmanager:{made['ARN']}")
    merge(name, 1)
    assert stated(name) == [made["VersionId"]] * 2
    secrets.put_secret_value(SecretId=made["ARN"], SecretString=OTHER_KEY)
    with pytest.raises(FatalFault, match=f"#{made['VersionId']}"):
        merge(name, 2)
    monkeypatch.setenv("CDC_PII_KEY", f"secretsmanager:{made['ARN']}#{made['VersionId']}")
    merge(name, 3)
    assert len(set(tokens(name))) == 1
    assert len(tokens(name)) == 3


def test_the_same_key_under_another_version_is_the_same(name: str, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    merge(name, 1)
    made = aws.client("secretsmanager").create_secret(Name=f"pii-{name}", SecretString=PII_KEY)  # type: ignore[call-overload]
    monkeypatch.setenv("CDC_PII_KEY", f"secretsmanager:{made['ARN']}")
    merge(name, 2)
    assert stated(name) == [made["VersionId"]] * 2
    assert len(set(tokens(name))) == 1


def test_a_secret_that_cannot_be_read_or_guessed_is_told_without_it(aws_environment: dict[str, str], aws: Aws) -> None:
    with pytest.raises(FatalFault, match="cannot read the masking key"):
        read_pii_key("secretsmanager:arn:aws:secretsmanager:sa-east-1:000000000000:secret:none")
    made = aws.client("secretsmanager").create_secret(Name="pii-short", SecretString="too-little")  # type: ignore[call-overload]
    with pytest.raises(FatalFault, match="shorter than 32") as found:
        read_pii_key(f"secretsmanager:{made['ARN']}")
    assert "short'" not in str(found.value)
    assert "masking key for tests" not in repr(read_pii_key(PII_KEY))
