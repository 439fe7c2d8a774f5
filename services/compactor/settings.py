"""The compactor's settings."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from cdc.contract import ContractsSetting, TableContract
from cdc.settings import CATALOG_DESCRIPTION, CatalogSetting, S3Setting, Settings

PII_KEY_LENGTH_MIN = 32
SECRETS_MANAGER = "secretsmanager:"


class CompactorSettings(Settings):
    """What the compactor reads from the environment."""

    tables: ContractsSetting = Field(alias="CDC_TABLES", description="folder of table contracts (*.odcs.yaml)")
    raw: S3Setting = Field(alias="CDC_RAW", description="the raw zone, s3://bucket/prefix")
    quarantine: S3Setting = Field(
        alias="CDC_QUARANTINE", description="where records go that cannot be merged, s3://bucket/prefix"
    )
    catalog: CatalogSetting = Field(default="lake", alias="CDC_CATALOG", description=CATALOG_DESCRIPTION)
    pii_key: SecretStr = Field(
        default=SecretStr(""),
        alias="CDC_PII_KEY",
        validate_default=True,
        description=f"the masking key, at least {PII_KEY_LENGTH_MIN} characters, or "
        f"{SECRETS_MANAGER}<arn>[#<version id>]; needed where a contract masks a column by token",
    )
    compact_interval_seconds: float | None = Field(
        default=None,
        alias="CDC_COMPACT_INTERVAL_SECONDS",
        gt=0,
        description="how often is committed; unset: half of the freshness that the strictest contract promises",
    )

    @field_validator("pii_key")
    @classmethod
    def _key_where_tokens_need_it(cls, pii_key: SecretStr, info: ValidationInfo) -> SecretStr:
        key = pii_key.get_secret_value()
        tables: tuple[TableContract, ...] = info.data.get("tables", ())
        tokens = sorted({f"{t.name}.{c.name}" for t in tables for c in t.columns if c.mask == "token"})
        if tokens and not key:
            raise ValueError(f"is not set, but these columns are masked by token: {', '.join(tokens)}")
        if key and not key.startswith(SECRETS_MANAGER) and len(key) < PII_KEY_LENGTH_MIN:
            raise ValueError(f"is shorter than {PII_KEY_LENGTH_MIN} characters and could be guessed")
        return pii_key

    @property
    def interval_seconds(self) -> float:
        """How often is committed: twice within the freshness promised."""
        return self.compact_interval_seconds or min(table.latency_seconds_max for table in self.tables) / 2
