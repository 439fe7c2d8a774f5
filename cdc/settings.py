"""Settings: read from the environment, all checked before anything is touched, every problem named at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from cdc.errors import SettingsFault
from cdc.readers import namespace_faults

KNOWN = frozenset({
    "CDC_SOURCE", "CDC_SCHEMA_REGISTRY", "CDC_TABLES", "CDC_RAW", "CDC_QUARANTINE", "CDC_LEASES", "CDC_LEASE_SECONDS",
    "CDC_BATCH_AGE_SECONDS", "CDC_BATCH_BYTES", "CDC_COMPACT_INTERVAL_SECONDS", "CDC_CATALOG", "CDC_PII_KEY",
    "CDC_DATABASE", "CDC_SLOT", "CDC_HEARTBEAT_SECONDS", "CDC_HTTP_HOST", "CDC_HTTP_PORT", "CDC_LOG_LEVEL",
    "CDC_METRICS", "CDC_METRICS_NAMESPACE", "CDC_METRICS_PERIOD_SECONDS",
})  # fmt: skip
"""Every setting of every program; any other name that starts with `CDC_` is a typing error and refused."""
KAFKA_PREFIX = "CDC_KAFKA_"
"""Settings of the Kafka client; a program that takes them has one field for all, with the alias `CDC_KAFKA_*`."""
_KAFKA_SHAPE = "kafka://host:port[,host:port]/topic[,topic]"
_KINESIS_SHAPE = "kinesis://stream[,stream]"
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")  # Kafka's Topic.validate


@dataclass(frozen=True, slots=True)
class Source:
    """Where changes are read from or put to.

    `kind` is `kinesis` or `kafka`, `streams` are the names of streams or topics, `servers` Kafka's as `host:port`.
    """

    kind: str
    streams: tuple[str, ...]
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class S3Location:
    """A place in S3: `bucket`, and `prefix` without slashes at its ends (empty: the bucket's root)."""

    bucket: str
    prefix: str

    def key(self, path: str) -> str:
        """The full object key of a path below this place."""
        return f"{self.prefix}/{path}" if self.prefix else path


def _source(value: object) -> Source:
    scheme, _, rest = str(value).partition("://")
    if scheme == "kafka":
        return _kafka(rest)
    names = tuple(name for name in rest.split(",") if name)
    if scheme != "kinesis" or not names or any("/" in name for name in names):
        raise ValueError(f"must look like {_KINESIS_SHAPE} or {_KAFKA_SHAPE}")
    return Source("kinesis", names)


def _kafka(rest: str) -> Source:
    servers, slash, topics = rest.partition("/")
    if "@" in rest:
        raise ValueError(f"must look like {_KAFKA_SHAPE}; a user and a password are given in CDC_KAFKA_SASL_*")
    source = Source("kafka", tuple(filter(None, topics.split(","))), tuple(filter(None, servers.split(","))))
    well_formed = all(map(_SERVER.fullmatch, source.servers)) and all(map(_TOPIC.fullmatch, source.streams))
    if not (slash and source.servers and source.streams and well_formed):
        raise ValueError(f"must look like {_KAFKA_SHAPE}")
    return source


def _s3_location(value: object) -> S3Location:
    url = urlsplit(str(value))
    if url.scheme != "s3" or not url.netloc:
        raise ValueError("must look like s3://bucket/prefix")
    return S3Location(url.netloc, url.path.strip("/"))


SourceSetting = Annotated[Source, BeforeValidator(_source)]


def _catalog(value: str) -> str:
    if faults := namespace_faults(value):
        raise ValueError("; ".join(faults))
    return value


S3Setting = Annotated[S3Location, BeforeValidator(_s3_location)]
CatalogSetting = Annotated[str, AfterValidator(_catalog)]
"""The name of the pyiceberg catalog, and of the lake's namespace in it."""
CATALOG_DESCRIPTION = (
    "name of the pyiceberg catalog (PYICEBERG_CATALOG__<NAME>__*) and of the lake's namespace (Glue: database) in it"
)


class Settings(BaseModel):
    """What every program needs; each program's own settings extend it. Fields carry the variable's name as alias."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, arbitrary_types_allowed=True)

    http_port: int = Field(
        default=0, alias="CDC_HTTP_PORT", ge=0, le=65535, description="port of /healthz and /metrics; 0: none"
    )
    http_host: str = Field(
        default="127.0.0.1",
        alias="CDC_HTTP_HOST",
        description="address of /healthz and /metrics; 0.0.0.0 in a container",
    )
    log_level: str = Field(
        default="info", alias="CDC_LOG_LEVEL", pattern="^(debug|info|warning|error)$", description="least level logged"
    )
    metrics: str = Field(
        default="prometheus",
        alias="CDC_METRICS",
        pattern="^(prometheus|emf)$",
        description="prometheus: on /metrics only; emf: also on stdout, in CloudWatch's embedded metric format",
    )
    metrics_namespace: str = Field(
        default="usuarios-cdc",
        alias="CDC_METRICS_NAMESPACE",
        pattern="^[a-z][0-9A-Za-z._/#-]{0,254}$",  # AWS API model of CloudWatch: Namespace; AWS/… is its own
        description="the namespace in CloudWatch, such as usuarios-cdc/production",
    )
    metrics_period_seconds: float = Field(
        default=60,
        alias="CDC_METRICS_PERIOD_SECONDS",
        gt=0,
        le=3600,
        description="how often metrics are written to stdout; alarms count on at most 60",
    )


T = TypeVar("T", bound=Settings)


def load(model: type[T], environ: Mapping[str, str]) -> T:
    """The program's settings out of an environment.

    Raises:
        SettingsFault: with one line for every problem; no line repeats a value, which could be a secret.
    """
    problems = [_unknown(name) for name in sorted(environ) if name.startswith("CDC_") and not _is_known(name)]
    present: dict[str, Any] = {name: value for name, value in environ.items() if name in KNOWN and value != ""}
    present[f"{KAFKA_PREFIX}*"] = {
        name: value for name, value in sorted(environ.items()) if name.startswith(KAFKA_PREFIX) and value != ""
    }
    try:
        settings = model.model_validate(present)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in detail["loc"])
            cause = detail.get("ctx", {}).get("error")
            if isinstance(cause, ValueError) and cause.args and isinstance(cause.args[0], tuple):
                # A field that stands for several settings has problems that name each.
                problems.extend(problem if name.endswith("*") else f"{name}: {problem}" for problem in cause.args[0])
            elif detail["type"] == "missing":
                problems.append(f"{name}: is not set; it is {_described(model, name)}")
            else:
                problems.append(f"{name}: {str(cause) if cause else detail['msg']}")
        raise SettingsFault(problems) from None
    if problems:
        raise SettingsFault(problems)
    return settings


def describe(model: type[Settings]) -> str:
    """The settings of a program as `--help` shows them, one paragraph a setting."""
    lines = ["settings, read from the environment:"]
    for field in model.model_fields.values():
        lines += [f"  {field.alias}", f"      {field.description} ({_default(field)})"]
    lines.append("  AWS_*\n      region, credentials and endpoints, as boto3 reads them")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return (
        "default none"
        if field.default_factory or field.default is None
        else f"default {field.default if field.default != '' else 'empty'}"
    )


def _described(model: type[Settings], alias: str) -> str:
    return next((f.description or "" for f in model.model_fields.values() if f.alias == alias), "")


def _is_known(name: str) -> bool:
    return name in KNOWN or name.startswith(KAFKA_PREFIX)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, KNOWN, n=1)
    return f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else "")
