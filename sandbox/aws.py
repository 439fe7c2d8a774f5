"""AWS: Kinesis, S3, DynamoDB, Glue and what goes with them from `ministack`, on 127.0.0.1 only."""

from __future__ import annotations

import http.client
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, overload

import boto3
import botocore.session
from botocore.config import Config

from sandbox.process import LOCALHOST, Command, Process, free_port
from sandbox.server import Server

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client

REGION: Final = "sa-east-1"
CREDENTIAL = "test"
LAKE_BUCKET = "lake"

_START_SECONDS = 60
_STREAM_SECONDS = 30
_SERVICES = ("KINESIS", "S3", "DYNAMODB", "GLUE")


def lake_environment(endpoint_url: str, profile: Path) -> dict[str, str]:
    """The variables that point a program at AWS services: boto3 by its own, pyiceberg by the catalog `lake`.

    `profile` is a file of boto3's settings whose profile `default` names the region.
    """
    endpoints = {f"AWS_ENDPOINT_URL_{service}": endpoint_url for service in _SERVICES}
    return {
        "AWS_ACCESS_KEY_ID": CREDENTIAL,
        "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_PROFILE": "default",
        "AWS_CONFIG_FILE": str(profile),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint_url,
        **endpoints,
        "PYICEBERG_CATALOG__LAKE__TYPE": "glue",
        "PYICEBERG_CATALOG__LAKE__WAREHOUSE": f"s3://{LAKE_BUCKET}/warehouse",
        # Glue goes through boto3 and would follow AWS_ENDPOINT_URL_GLUE, but pyarrow's S3 follows none of the
        # above: without its own endpoint it asks Amazon, without its own region it asks Amazon for the bucket's.
        "PYICEBERG_CATALOG__LAKE__GLUE__ENDPOINT": endpoint_url,
        "PYICEBERG_CATALOG__LAKE__GLUE__REGION": REGION,
        "PYICEBERG_CATALOG__LAKE__S3__ENDPOINT": endpoint_url,
        "PYICEBERG_CATALOG__LAKE__S3__REGION": REGION,
        "PYICEBERG_CATALOG__LAKE__S3__ACCESS_KEY_ID": CREDENTIAL,
        "PYICEBERG_CATALOG__LAKE__S3__SECRET_ACCESS_KEY": CREDENTIAL,
    }


@dataclass(frozen=True, slots=True)
class Aws(Server):
    """Running AWS services with nothing in them; all that they hold is in their memory and goes with them."""

    endpoint_url: str
    port: int
    directory: Path
    process: Process

    @classmethod
    def start(cls, directory: Path, *, persist: bool = False) -> Self:
        """Start the services; returns when they answer. With `persist` they begin with what a clean stop left here."""
        directory = directory.resolve()
        temporary = directory / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        # A developer's profile must neither decide where we connect nor be needed.
        (directory / "profile").write_text(f"[default]\nregion = {REGION}\n", encoding="utf-8")
        port = free_port()
        environment = {
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "BIND_HOST": LOCALHOST,
            "MINISTACK_HOST": LOCALHOST,
            "GATEWAY_PORT": str(port),
            "MINISTACK_REGION": REGION,
            "TMPDIR": str(temporary),
            "STATE_DIR": str(directory / "state"),
            "S3_DATA_DIR": str(directory / "s3"),
            "PERSIST_STATE": str(int(persist)),
            "S3_PERSIST": str(int(persist)),
            # Left alone it would listen on two more ports and remove containers that look like its own.
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "DOCKER_HOST": f"unix://{directory / 'no-docker.sock'}",
            "LOG_LEVEL": "WARNING",
        }
        process = Process(
            Command(
                name="ministack",
                arguments=(sys.executable, "-m", "ministack"),
                environment=environment,
                directory=directory,
                log=directory / "aws.log",
            )
        )
        aws = cls(endpoint_url=f"http://{LOCALHOST}:{port}", port=port, directory=directory, process=process)
        try:
            process.wait_until(aws._answers, _START_SECONDS, "ministack answers")
        except BaseException:
            aws.stop()
            raise
        return aws

    def environment(self) -> dict[str, str]:
        """The variables that point a program at these services: boto3 by its own, pyiceberg by the catalog `lake`."""
        return lake_environment(self.endpoint_url, self.directory / "profile")

    @overload
    def client(self, service: Literal["kinesis"]) -> KinesisClient: ...
    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: Literal["dynamodb"]) -> DynamoDBClient: ...
    @overload
    def client(self, service: Literal["glue"]) -> GlueClient: ...
    def client(self, service: Any) -> Any:
        """A boto3 client of one of the services, whatever the process's own environment says."""
        # Where AWS_PROFILE names a profile that is not there, a session would refuse before it looks at its arguments.
        session = boto3.Session(botocore_session=botocore.session.Session({"profile": (None, None, None, None)}))
        return session.client(
            service,
            aws_access_key_id=CREDENTIAL,
            aws_secret_access_key=CREDENTIAL,
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def create_stream(self, name: str, shard_count: int) -> None:
        """Make a Kinesis stream; returns when it is active."""
        kinesis = self.client("kinesis")
        kinesis.create_stream(StreamName=name, ShardCount=shard_count)

        def is_active() -> bool:
            summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
            return summary["StreamStatus"] == "ACTIVE"

        self.process.wait_until(is_active, _STREAM_SECONDS, f"the stream {name} is active")

    def create_bucket(self, name: str) -> None:
        """Make an S3 bucket."""
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOCALHOST, self.port, timeout=5)
        try:
            connection.request("GET", "/_ministack/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
