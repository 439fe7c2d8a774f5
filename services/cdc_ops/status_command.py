"""The command `cdc status`: how far and how sound everything is, for people and as JSON. It only reads."""

from __future__ import annotations

import argparse
import os
from typing import Any

from pydantic import Field

from cdc.contract import ContractsSetting
from cdc.settings import CATALOG_DESCRIPTION, CatalogSetting, S3Setting, Settings, SourceSetting, describe, load

_DESCRIPTION = """\
Tells how complete and how sound the lake is: rows, freshness, what waits, what was set aside, files, and what is wrong.
It needs no permission to write, and makes nothing."""
_EPILOG = """
exit codes: 0 fine; 1 something is wrong, named under `problems`, or could not be read; 2 wrong usage or settings
"""


class StatusSettings(Settings):
    """What `cdc status` reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    raw: S3Setting = Field(alias="CDC_RAW", description="the raw zone, s3://bucket/prefix")
    quarantine: S3Setting = Field(alias="CDC_QUARANTINE", description="the quarantine, s3://bucket/prefix")
    catalog: CatalogSetting = Field(default="lake", alias="CDC_CATALOG", description=CATALOG_DESCRIPTION)
    leases: str = Field(
        default="",
        alias="CDC_LEASES",
        pattern=r"^([a-zA-Z0-9_.-]{3,255})?$",
        description="the DynamoDB table of leases; where it is set, it is told who reads each shard",
    )
    source: SourceSetting | None = Field(
        default=None,
        alias="CDC_SOURCE",
        description="where the consumers read from; of Kafka no leases are told: CDC_LEASES is the group there",
    )

    @property
    def lease_table(self) -> str | None:
        """The table of leases, if there is one."""
        is_kafka = self.source is not None and self.source.kind == "kafka"
        return None if is_kafka else self.leases or None


def add_parser(commands: Any) -> None:
    """Add the command to those of `cdc`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "status",
        help="how far and how sound everything is",
        description=_DESCRIPTION,
        epilog=describe(StatusSettings) + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="one JSON document; docs/status.md has its keys")
    parser.add_argument(
        "--verify",
        nargs="?",
        const="names",
        choices=("names", "sizes", "checksums"),
        help="verify every shard's chain of batches from its beginning: names (the default) lists them, sizes also "
        "reads every batch record and lists what it names, checksums reads all of raw",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read and tell; returns the exit code.

    Raises:
        SettingsFault: naming every problem of the settings at once.
        CdcError: when something cannot be read.
    """
    settings = load(StatusSettings, os.environ)
    # Loading pyiceberg takes a second or two, which the other commands need not wait for.
    from cdc_ops.status_run import tell_status  # noqa: PLC0415

    return tell_status(settings, arguments.verify, as_json=arguments.json)
