"""The masking key: given outright, or fetched once from Secrets Manager; with a version by which a table tells it."""

from __future__ import annotations

from typing import NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cdc.errors import FatalFault
from compactor.mask import fingerprint
from compactor.settings import PII_KEY_LENGTH_MIN, SECRETS_MANAGER

VERSION_MARK = "#"
"""Stands between an ARN, which has none, and the version of the secret that is wanted."""


class PiiKey(NamedTuple):
    """The key's bytes, and its version, which is no secret: that of Secrets Manager, else the key's fingerprint."""

    secret: bytes
    version: str

    def __repr__(self) -> str:
        """The version alone."""
        return f"PiiKey(version={self.version!r})"


def read_pii_key(stated: str) -> PiiKey:
    """The key; `stated` is the key itself, `secretsmanager:<arn>`, or that with `#<version id>`; empty: no key.

    Raises:
        FatalFault: when it cannot be read, or could be guessed.
    """
    if not stated.startswith(SECRETS_MANAGER):
        if stated and len(stated) < PII_KEY_LENGTH_MIN:
            hint = "state the key that the lake's tokens were made with, or its ARN"
            raise FatalFault(
                f"the masking key is shorter than {PII_KEY_LENGTH_MIN} characters", where="CDC_PII_KEY", hint=hint
            )
        return PiiKey(stated.encode(), fingerprint(stated.encode()) if stated else "")
    arn, _, version = stated.removeprefix(SECRETS_MANAGER).partition(VERSION_MARK)
    hint = "check the ARN, the version, and the role's permission secretsmanager:GetSecretValue"
    try:
        asked = {"SecretId": arn, **({"VersionId": version} if version else {})}
        answer = boto3.client("secretsmanager").get_secret_value(**asked)
    except (BotoCoreError, ClientError) as error:
        raise FatalFault(f"cannot read the masking key: {type(error).__name__}", where=arn, hint=hint) from None
    secret: str = answer.get("SecretString", "")
    if len(secret) < PII_KEY_LENGTH_MIN:
        raise FatalFault(f"the masking key is shorter than {PII_KEY_LENGTH_MIN} characters", where=arn)
    return PiiKey(secret.encode(), str(answer["VersionId"]))
