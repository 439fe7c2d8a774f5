"""AWS clients: boto3 as the environment configures it, with bounded waits and few hidden retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client

# Retries are ours where order or an unknown outcome matters; botocore's stay for plain network noise.
_CONFIG = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4}, max_pool_connections=32
)
# A call that hangs must end well within the time that a program has for its stop.
_CONFIG_KINESIS = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 1})
# The rows are small, and whoever hangs here for long loses its leases.
_CONFIG_DYNAMODB = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})


def kinesis() -> KinesisClient:
    """A Kinesis client that never retries by itself: a hidden second try could reorder records."""
    return boto3.client("kinesis", config=_CONFIG_KINESIS)


def s3() -> S3Client:
    """An S3 client."""
    return boto3.client("s3", config=_CONFIG)


def dynamodb() -> DynamoDBClient:
    """A DynamoDB client that gives up soon: leases do not wait."""
    return boto3.client("dynamodb", config=_CONFIG_DYNAMODB)
