"""Everything that the sandbox's stores hold, to see whether a program has written anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.aws import Aws


def contents(aws: Aws) -> Mapping[str, Any]:
    """Every object of every bucket, and every table of the catalog, as far as a writer would change them."""
    s3 = aws.client("s3")
    found: dict[str, Any] = {}
    for bucket in s3.list_buckets()["Buckets"]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
            found |= {f"{bucket['Name']}/{entry['Key']}": entry["ETag"] for entry in page.get("Contents", ())}
    glue = aws.client("glue")
    for database in glue.get_databases()["DatabaseList"]:
        for table in glue.get_tables(DatabaseName=database["Name"])["TableList"]:
            found[f"{database['Name']}.{table['Name']}"] = table.get("VersionId")
    return found
