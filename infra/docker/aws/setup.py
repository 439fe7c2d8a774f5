"""What Terraform makes in production, made in the sandbox's AWS: the bucket and the stream. May be repeated."""

from __future__ import annotations

import os

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    """Make both; returns when the stream is active."""
    kinesis, s3 = boto3.client("kinesis"), boto3.client("s3")
    stream, bucket = os.environ["STREAM"], os.environ["BUCKET"]
    try:
        kinesis.create_stream(StreamName=stream, ShardCount=int(os.environ["SHARDS"]))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    try:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "sa-east-1"})
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
            raise
    print(f"stream {stream} and bucket {bucket} are there")


if __name__ == "__main__":
    main()
