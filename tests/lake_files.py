"""The files of a lake table: those that are there, by S3 itself, and those that it names, by pyiceberg's own views."""

from __future__ import annotations

from pyiceberg.table import Table

from compactor.lake.table import LakeTable
from sandbox.aws import Aws
from tests.compactor_world import World


def stored(aws: Aws, lake: LakeTable) -> set[str]:
    """Every object below a table's location."""
    bucket, _, prefix = lake.table.location().removeprefix("s3://").partition("/")
    pages = aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    return {f"s3://{bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", ())}


def named(table: Table) -> set[str]:
    """Every file that some snapshot or the metadata names."""
    metadata = table.metadata
    found = {table.metadata_location, *(log.metadata_file for log in metadata.metadata_log)}
    found |= {snapshot.manifest_list for snapshot in metadata.snapshots}
    found |= set(table.inspect.all_manifests()["path"].to_pylist())
    return found | set(table.inspect.all_files()["file_path"].to_pylist())


def assert_no_file_is_missing(aws: Aws, world: World) -> None:
    for lake in (world.pair().table, world.pair().history):
        assert named(lake.table) - stored(aws, lake) == set()


def assert_files_are_exactly_those_named(aws: Aws, world: World) -> None:
    for lake in (world.pair().table, world.pair().history):
        assert stored(aws, lake) == named(lake.table)
