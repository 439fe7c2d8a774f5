"""What tests of infra/terraform share: the tools, a moto server, and Terraform applied to it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from sandbox.process import LOCALHOST, Command, Process, free_port
from tests.infra.checkers import ROOT, installed, need

TOOLS = ROOT / ".venv-terraform"
REGION = "us-east-1"
ACCOUNT = "123456789012"
_CREDENTIAL = "test"
_APPLY_SECONDS = 900

# moto does not tell the tags of a scalable target, without which the provider reads none; tests/parts.tftest.hcl covers it.
LEFT_OUT = ("modules/services/scaling.tf",)
OVERRIDES = {
    # moto is one address for all buckets; it closes some connections that the provider keeps.
    "provider_override.tf": 'provider "aws" {\n  max_retries       = 5\n  s3_use_path_style = true\n}\n',
    "backend_override.tf": 'terraform {\n  backend "local" {}\n}\n',
    # The provider looks many times whether a lifecycle stays; on a busy machine moto answers that in more than its three minutes.
    "modules/zones/lifecycle_override.tf": (
        'resource "aws_s3_bucket_lifecycle_configuration" "zone" {\n  timeouts {\n    create = "12m"\n  }\n}\n'
    ),
    # moto has no subscribers of a budget; tests/parts.tftest.hcl covers it.
    "modules/watch/budget_override.tf": 'resource "aws_budgets_budget" "month" {\n  count = 0\n}\n',
}


def tools() -> Path:
    """moto, checkov and the simulator of IAM, installed by their make target where they are not yet."""
    need("terraform", "node", "npm")
    return installed(TOOLS.name)


def gate() -> Any:
    """The gates' own module, which knows how Terraform is run here; it is a program and lies in no package."""
    spec = importlib.util.spec_from_file_location("terraform_gate", ROOT / "infra" / "gates" / "terraform" / "gate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Account:
    """An AWS account that moto plays, with what Terraform made in it."""

    endpoint_url: str
    destroy_said: str = ""
    """What `terraform plan -destroy` said once all was there."""

    def client(self, service: str) -> Any:
        """A boto3 client of it, whatever the process's own environment says."""
        return boto3.Session().client(  # type: ignore[call-overload]  # the stubs know each service by its name
            service,
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=_CREDENTIAL,
            aws_secret_access_key=_CREDENTIAL,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )


@contextmanager
def moto(directory: Path) -> Iterator[Account]:
    """A moto server on a free port of 127.0.0.1."""
    port = free_port()
    process = Process(
        Command(
            name="moto",
            arguments=(str(tools() / "bin" / "moto_server"), "-H", LOCALHOST, "-p", str(port)),
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            directory=directory,
            log=directory / "moto.log",
        )
    )
    account = Account(f"http://{LOCALHOST}:{port}")

    def answers() -> bool:
        try:
            account.client("s3").list_buckets()
        except BotoCoreError:
            return False
        return True

    try:
        process.wait_until(answers, 120, "moto answers")
        yield account
    finally:
        process.stop()


def apply(account: Account, variables: Mapping[str, str]) -> Account:
    """Apply infra/terraform with the variables of production, and others on top, to an account."""
    with gate().copied(ROOT) as (folder, environment):
        for name, text in OVERRIDES.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name in LEFT_OUT:
            (folder / name).unlink()
        told = {
            **environment,
            "AWS_ENDPOINT_URL": account.endpoint_url,
            "AWS_ACCESS_KEY_ID": _CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": _CREDENTIAL,
        }
        stated = [
            "-var-file=environments/production.tfvars",
            *(f"-var={name}={value}" for name, value in variables.items()),
        ]
        for command in (["init"], ["apply", "-auto-approve", *stated]):
            done = _terraform(command, folder, told)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        said = ""
        # What depends on the key is asked first; once that may go, the key is.
        for lifted in ((), ("main.tf", "modules/stream/main.tf", "modules/catalog/main.tf")):
            for name in lifted:
                text = (folder / name).read_text(encoding="utf-8")
                (folder / name).write_text(text.replace("prevent_destroy = true", "prevent_destroy = false"), "utf-8")
            refused = _terraform(["plan", "-destroy", "-refresh=false", *stated], folder, told)
            assert refused.returncode == 1, refused.stdout[-4000:]
            said += refused.stderr
        return replace(account, destroy_said=said)


def _terraform(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["terraform", *command, "-input=false", "-no-color"],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_APPLY_SECONDS,
    )
