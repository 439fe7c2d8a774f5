"""Settings of the publisher."""

from __future__ import annotations

from typing import Annotated

from psycopg import ProgrammingError, conninfo
from pydantic import AfterValidator, Field, SecretStr

from cdc.contract import ContractsSetting
from cdc.settings import Settings, Source, SourceSetting


def _one_stream(source: Source) -> Source:
    if source.kind != "kinesis" or len(source.streams) != 1:
        raise ValueError("the publisher puts to exactly one stream: kinesis://stream")
    return source


def _dsn(value: SecretStr) -> SecretStr:
    try:
        given = conninfo.conninfo_to_dict(value.get_secret_value())
    except ProgrammingError:
        # libpq's own message repeats the text, which holds the password.
        raise ValueError("must look like postgresql://user:password@host:port/database") from None
    if "replication" in given:
        raise ValueError("must not set `replication`; the publisher makes both kinds of connections itself")
    return value


class PublisherSettings(Settings):
    """What `cdc-publisher run` needs."""

    source: Annotated[SourceSetting, AfterValidator(_one_stream)] = Field(
        alias="CDC_SOURCE", description="the stream that changes are put to: kinesis://stream"
    )
    database: Annotated[SecretStr, AfterValidator(_dsn)] = Field(
        alias="CDC_DATABASE",
        description="the source: postgresql://user:password@host:port/database; the user needs REPLICATION and SELECT",
    )
    tables: ContractsSetting = Field(
        alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml): their source tables are published"
    )
    slot: str = Field(
        default="usuarios_cdc",
        alias="CDC_SLOT",
        pattern="^[a-z_][a-z0-9_]{0,53}$",
        description="name of the replication slot and of the publication",
    )
    heartbeat_seconds: float = Field(
        default=5, alias="CDC_HEARTBEAT_SECONDS", gt=0, le=3600, description="how often evidence of freshness is sent"
    )
