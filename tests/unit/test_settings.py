from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cdc.errors import FatalFault, SettingsFault
from cdc.settings import S3Location, Source, _source, describe, load
from cdc.telemetry import http_server
from compactor.settings import CompactorSettings
from tests.conftest import PII_KEY, ROOT

GOOD = {
    "CDC_TABLES": str(ROOT / "tables"),
    "CDC_RAW": "s3://raw/usuarios",
    "CDC_QUARANTINE": "s3://raw/quarantine/",
    "CDC_PII_KEY": PII_KEY,
}
PROGRAMS = {"compactor": ["run", "--once"], "cdc_consumer": ["run"], "cdc_publisher": ["run"]}


def problems(**changes: str) -> list[str]:
    with pytest.raises(SettingsFault) as raised:
        load(CompactorSettings, {**GOOD, **changes})
    return list(raised.value.problems)


def test_good_settings() -> None:
    settings = load(CompactorSettings, GOOD)
    assert settings.raw == S3Location("raw", "usuarios")
    assert settings.quarantine.key("a") == "quarantine/a"
    assert settings.interval_seconds == 30  # half of the sixty seconds that the contract promises
    assert PII_KEY not in repr(settings)


def test_every_problem_is_named_at_once_and_no_value_is_repeated() -> None:
    found = problems(
        CDC_RAW="secret-raw", CDC_COMPACT_INTERVAL_SECONDS="-1", CDC_HTTP_PORT="x9", CDC_RAWW="y", CDC_TABLES="/none"
    )
    assert [problem.split(":")[0] for problem in found] == [
        "CDC_RAWW", "CDC_HTTP_PORT", "CDC_TABLES", "CDC_RAW", "CDC_COMPACT_INTERVAL_SECONDS",
    ]  # fmt: skip
    assert "did you mean CDC_RAW?" in found[0]
    assert not any("secret-raw" in problem or "x9" in problem for problem in found)


def test_a_token_mask_needs_a_key_and_a_good_one() -> None:
    assert "usuarios.cpf" in problems(CDC_PII_KEY="")[0]
    assert len(problems(CDC_PII_KEY="", CDC_RAW="")) == 2
    assert "could be guessed" in problems(CDC_PII_KEY="short-secret")[0]


def test_a_missing_setting_says_what_it_is() -> None:
    assert problems(CDC_RAW="") == ["CDC_RAW: is not set; it is the raw zone, s3://bucket/prefix"]


def test_help_lists_every_setting() -> None:
    text = describe(CompactorSettings)
    assert all(name in text for name in (*GOOD, "CDC_HTTP_PORT", "CDC_CATALOG", "CDC_COMPACT_INTERVAL_SECONDS"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_with_bad_settings_names_them_all_and_exits_with_2_before_any_connection(
    program: str, tmp_path: Path
) -> None:
    # Every address leads nowhere and would take long to fail: the answer comes without asking any of them.
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "CDC_TABLES": str(tmp_path),
        "CDC_RAW": "raw",
        "CDC_QUARANTINE": "quarantine",
        "CDC_SOURCE": "rabbit://x",
        "CDC_HTTP_PORT": "99999",
    }
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; from {program}.cli import main; sys.exit(main())", *PROGRAMS[program]],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    named = {line.strip(" -").split(":")[0] for line in done.stderr.splitlines()[1:]}
    expected = {
        "compactor": {"CDC_TABLES", "CDC_RAW", "CDC_QUARANTINE", "CDC_HTTP_PORT"},
        "cdc_consumer": {"CDC_TABLES", "CDC_RAW", "CDC_QUARANTINE", "CDC_HTTP_PORT", "CDC_SOURCE", "CDC_LEASES"},
        "cdc_publisher": {"CDC_TABLES", "CDC_HTTP_PORT", "CDC_SOURCE", "CDC_DATABASE"},
    }[program]
    assert named == expected


@pytest.mark.parametrize(("text", "streams"), [("kinesis://a", ("a",)), ("kinesis://a,b.c", ("a", "b.c"))])
def test_a_source_names_its_streams(text: str, streams: tuple[str, ...]) -> None:
    assert _source(text) == Source("kinesis", streams)


def test_a_port_that_is_taken_is_a_fault_that_names_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = http_server("127.0.0.1", taken.getsockname()[1], healthy=lambda: True)
        with pytest.raises(FatalFault, match="cannot listen") as raised, server:
            pass
    assert "CDC_HTTP_PORT" in raised.value.hint


def test_healthz_and_metrics_answer() -> None:
    healthy = [True]
    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    with http_server("127.0.0.1", port, healthy=lambda: healthy[0]):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"python_info" in answer.read()
        healthy[0] = False
        with pytest.raises(urllib.error.HTTPError, match="503") as raised:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz")
        raised.value.close()
