"""The masking key: given outright, or fetched once from Secrets Manager."""

from __future__ import annotations

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cdc.errors import FatalFault
from compactor.settings import PII_KEY_LENGTH_MIN, SECRETS_MANAGER


def read_pii_key(stated: str) -> bytes:
    """The key's bytes; `stated` is the key or `secretsmanager:<arn>`."""
    if not stated.startswith(SECRETS_MANAGER):
        return stated.encode()
    arn = stated.removeprefix(SECRETS_MANAGER)
    hint = "check the ARN and the role's permission secretsmanager:GetSecretValue"
    try:
        secret: str = boto3.client("secretsmanager").get_secret_value(SecretId=arn).get("SecretString", "")
    except (BotoCoreError, ClientError) as error:
        raise FatalFault(f"cannot read the masking key: {type(error).__name__}", where=arn, hint=hint) from None
    if len(secret) < PII_KEY_LENGTH_MIN:
        raise FatalFault(f"the masking key is shorter than {PII_KEY_LENGTH_MIN} characters", where=arn)
    return secret.encode()
