"""The lake's file access: how many requests to S3 a file costs, against real servers behind a proxy that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyiceberg.io import load_file_io

from compactor.lake import file_io
from sandbox.aws import CREDENTIAL, LAKE_BUCKET, REGION, Aws
from sandbox.requests_counted import RequestsCounted

pytestmark = pytest.mark.slow

PART_BYTES = 10 * 1024 * 1024


@contextmanager
def counted(aws: Aws) -> Iterator[tuple[file_io.LakeFileIO, RequestsCounted]]:
    with RequestsCounted(aws.port) as requests:
        access = load_file_io(
            {
                "py-io-impl": file_io.NAME,
                "s3.endpoint": requests.endpoint_url,
                "s3.region": REGION,
                "s3.access-key-id": CREDENTIAL,
                "s3.secret-access-key": CREDENTIAL,
            }
        )
        assert isinstance(access, file_io.LakeFileIO)
        yield access, requests


def operations(requests: RequestsCounted) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (operation, _), number in requests.snapshot().items():
        counts[operation] += number
    return counts


def location(name: str) -> str:
    return f"s3://{LAKE_BUCKET}/warehouse/file_io/{name}"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_small_file_is_one_request(aws: Aws, *, overwrite: bool) -> None:
    content = b"a manifest" * 1000
    with counted(aws) as (access, requests):
        with access.new_output(location(f"small-{overwrite}")).create(overwrite=overwrite) as stream:
            stream.write(content)
        assert operations(requests) == {"PutObject": 1}
        with access.new_input(location(f"small-{overwrite}")).open() as stream:
            assert stream.read() == content


def test_a_file_of_many_parts_is_whole(aws: Aws) -> None:
    content = bytes(range(256)) * (3 * PART_BYTES // 256) + b"and some"
    with counted(aws) as (access, requests):
        with access.new_output(location("large")).create() as stream:
            stream.write(content)
        counts = operations(requests)
        assert (counts["CreateMultipartUpload"], counts["CompleteMultipartUpload"]) == (1, 1)
        assert counts["UploadPart"] >= 3
        with access.new_input(location("large")).open() as stream:
            assert stream.read() == content


def test_an_empty_file_is_there(aws: Aws) -> None:
    with counted(aws) as (access, _):
        access.new_output(location("empty")).create().close()
        assert len(access.new_input(location("empty"))) == 0


def test_a_bucket_that_is_not_there_is_a_failure_of_the_write(aws: Aws) -> None:
    with counted(aws) as (access, _), pytest.raises(OSError, match=r"(?i)bucket"):  # noqa: PT012  # where it fails is not ours to say
        stream = access.new_output("s3://no-such-bucket/a").create()
        stream.write(b"x")
        stream.close()


def test_what_exists_can_still_be_asked(aws: Aws) -> None:
    with counted(aws) as (access, _):
        assert not access.new_input(location("nothing")).exists()
