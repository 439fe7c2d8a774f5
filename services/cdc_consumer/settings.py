"""Settings of the consumer: what `cdc-consumer` reads from the environment, checked before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr

from cdc.contract import ContractsSetting
from cdc.raw import OBJECT_BYTES_MAX
from cdc.settings import KAFKA_PREFIX, S3Setting, Settings, SourceSetting
from cdc_consumer.kafka.properties import ClientProperties, KafkaSetting

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RegistryLocation:
    """A schema registry: its `url` (several, with commas between) without credentials; `user_info` is user:password."""

    url: str
    user_info: SecretStr | None


def _registry(value: object) -> RegistryLocation | None:
    if isinstance(value, RegistryLocation) or value is None:
        return value
    try:
        urls = [urlsplit(part.strip()) for part in str(value).split(",")]
    except ValueError:  # such as a bracket that is never closed
        urls = []
    if not urls or not all(_is_plain(url) for url in urls):
        raise ValueError("must look like https://user:password@host:port")
    logins = {f"{unquote(url.username)}:{unquote(url.password or '')}" for url in urls if url.username is not None}
    if len(logins) > 1:
        raise ValueError("must have the same user and password for all its addresses")
    bare = (url._replace(netloc=url.netloc.rpartition("@")[2]).geturl() for url in urls)
    return RegistryLocation(",".join(bare), SecretStr(logins.pop()) if logins else None)


def _is_plain(url: SplitResult) -> bool:
    try:
        has_host = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:  # a port that is no number
        return False
    return url.scheme in {"http", "https"} and has_host and not url.query and not url.fragment


RegistrySetting = Annotated[RegistryLocation | None, BeforeValidator(_registry)]


class ConsumerSettings(Settings):
    """Where changes come from, where they go, and when a micro-batch is written."""

    source: SourceSetting = Field(
        alias="CDC_SOURCE",
        description="the streams to read: kinesis://stream[,stream] or kafka://host:port[,host:port]/topic[,topic]",
    )
    kafka: KafkaSetting = Field(
        default_factory=ClientProperties,
        alias=f"{KAFKA_PREFIX}*",
        description="of the Kafka client: CDC_KAFKA_SECURITY_PROTOCOL is security.protocol, and so on (docs/kafka.md)",
    )
    tables: ContractsSetting = Field(alias="CDC_TABLES", description="the folder of table contracts (*.odcs.yaml)")
    raw: S3Setting = Field(alias="CDC_RAW", description="where raw objects are written: s3://bucket/prefix")
    quarantine: S3Setting = Field(
        alias="CDC_QUARANTINE", description="where records go that cannot be read: s3://bucket/prefix"
    )
    leases: str = Field(
        alias="CDC_LEASES",
        pattern=r"^[a-zA-Z0-9_.-]{3,255}$",  # AWS API model of DynamoDB: TableName
        description="the DynamoDB table of leases and checkpoints, made when missing; for Kafka the consumer group",
    )
    schema_registry: RegistrySetting = Field(
        default=None,
        alias="CDC_SCHEMA_REGISTRY",
        description="the schema registry of values in Avro, https://user:password@host:port, without which they go to "
        "quarantine; SSL_CERT_FILE names the certificates that it is trusted by, where it is not a public one",
    )
    lease_seconds: float = Field(
        default=30,
        alias="CDC_LEASE_SECONDS",
        ge=1,
        le=3600,
        description="after how many seconds without a sign of life another worker takes a shard over",
    )
    batch_age_seconds: float = Field(
        default=10,
        alias="CDC_BATCH_AGE_SECONDS",
        gt=0,
        le=3600,
        description="a micro-batch is written when its first record was read so many seconds ago",
    )
    batch_bytes: int = Field(
        default=8 * MIB,
        alias="CDC_BATCH_BYTES",
        ge=1,
        le=OBJECT_BYTES_MAX,
        description=f"a micro-batch is written before its lines exceed so many bytes; at most {OBJECT_BYTES_MAX}",
    )
