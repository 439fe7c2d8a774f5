"""Gates over infra/terraform: each runs one checker on a copy, so that nothing is left in the working tree.

    python3 infra/gates/terraform/gate.py fmt|validate|test|checkov [ROOT]

ROOT is whose files are checked (default: this repository). Exit codes: 0 passed; 1 the checker found something; 2 a
program is missing, or wrong usage. It needs nothing but Python's standard library, and for checkov .venv-terraform
(TERRAFORM_TOOLS: another folder).

The AWS provider comes from a file-system mirror where this machine has one (TERRAFORM_MIRROR, or one of the usual
places), else from the registry, as terraform does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HOME = Path(__file__).resolve().parents[3]
ENVIRONMENTS = ("development", "staging", "production")
_MIRRORS = ("/opt/*", "/usr/share/terraform/*", "/usr/local/share/terraform/*", "~/.terraform.d/*")
_PROVIDER = "registry.terraform.io/hashicorp/aws"


class Missing(Exception):
    """A program that a gate needs is not on this machine."""


def terraform() -> str:
    """Where terraform is.

    Raises:
        Missing: when it is not installed.
    """
    found = shutil.which("terraform")
    if found is None:
        raise Missing("terraform is missing: install 1.11 or later")
    return found


def mirror(environ: Mapping[str, str]) -> Path | None:
    """A file-system mirror that has the AWS provider, if there is one."""
    stated = environ.get("TERRAFORM_MIRROR")
    if stated:
        return Path(stated)
    for pattern in _MIRRORS:
        place = Path(pattern).expanduser()
        for candidate in sorted(place.parent.glob(place.name)):
            if (candidate / _PROVIDER).is_dir():
                return candidate
    return None


@contextmanager
def copied(root: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of what Terraform reads, and the environment to run it in; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="terraform-") as name:
        place = Path(name)
        if not (root / "infra" / "terraform").is_dir():
            raise Missing(f"{root} has no infra/terraform: is it the repository?")
        shutil.copytree(root / "tables", place / "tables")
        leave = shutil.ignore_patterns(".terraform*", "*.tfstate*")
        shutil.copytree(root / "infra" / "terraform", place / "infra" / "terraform", ignore=leave)
        shutil.copy(root / "infra" / "alarms.yaml", place / "infra" / "alarms.yaml")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "AWS_"))}
        rc = place / "terraform.rc"
        found = mirror(os.environ)
        mirrored = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{found}"\n  }}\n}}\n'
        rc.write_text(mirrored if found else "", encoding="utf-8")
        yield (
            place / "infra" / "terraform",
            {
                **environment,
                "TF_CLI_CONFIG_FILE": str(rc),
                "TF_IN_AUTOMATION": "1",
                "CHECKPOINT_DISABLE": "1",
                "AWS_EC2_METADATA_DISABLED": "true",
            },
        )


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
    """Run a program; what it says goes where ours goes."""
    done = subprocess.run(command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, check=False)
    return done.returncode


def initialised(folder: Path, environment: Mapping[str, str]) -> bool:
    """Whether `terraform init` worked; it is shown only where it did not."""
    command = [terraform(), "init", "-backend=false", "-input=false", "-no-color"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    return done.returncode == 0


def fmt(folder: Path, environment: Mapping[str, str]) -> int:
    """Every file is as `terraform fmt` writes it."""
    return run([terraform(), "fmt", "-check", "-diff", "-recursive", "-no-color"], folder, environment)


def validate(folder: Path, environment: Mapping[str, str]) -> int:
    """References, types and arguments are those that the provider knows."""
    if not initialised(folder, environment):
        return 1
    return run([terraform(), "validate", "-no-color"], folder, environment)


def test(folder: Path, environment: Mapping[str, str]) -> int:
    """Tests with mocked providers: those of the parts once, what holds everywhere with each environment's variables."""
    if not initialised(folder, environment):
        return 1
    command = [terraform(), "test", "-no-color"]
    everywhere = ["-filter=tests/design.tftest.hcl"]
    once = ["-filter=tests/parts.tftest.hcl", "-filter=tests/operations.tftest.hcl"]
    failed = run([*command, *once], folder, environment)
    for name in ENVIRONMENTS:
        failed |= run([*command, *everywhere, f"-var-file=environments/{name}.tfvars"], folder, environment)
    return int(failed != 0)


def checkov(folder: Path, environment: Mapping[str, str]) -> int:
    """Checkov's rules; exceptions stand beside what they except, with a reason (#checkov:skip)."""
    tools = Path(os.environ.get("TERRAFORM_TOOLS", HOME / ".venv-terraform"))
    program = tools / "bin" / "checkov"
    if not program.exists():
        raise Missing(f"{program} is missing: run `make gates`, which installs it")
    options = ["--directory", ".", "--framework", "terraform", "--skip-download", "--compact", "--quiet"]
    return run([str(program), *options, "--var-file", "environments/production.tfvars"], folder, environment)


GATES = {"fmt": fmt, "validate": validate, "test": test, "checkov": checkov}


def main(arguments: Sequence[str]) -> int:
    """Run one gate."""
    if not 1 <= len(arguments) <= 2 or arguments[0] not in GATES:
        sys.stderr.write(f"usage: gate.py {'|'.join(GATES)} [ROOT]\n")
        return 2
    root = Path(arguments[1]) if len(arguments) == 2 else HOME
    try:
        with copied(root) as (folder, environment):
            return int(GATES[arguments[0]](folder, environment) != 0)
    except Missing as missing:
        sys.stderr.write(f"gates: {missing}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
