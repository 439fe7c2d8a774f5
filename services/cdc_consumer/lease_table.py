"""The lease table in DynamoDB: a row for each lease, changed only by conditional writes.

Source of the facts: the DynamoDB API model in botocore, AWS docs "Condition expressions".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import WaiterError

from cdc.errors import TransientFault
from cdc_consumer.aws_fault import AwsError, aws_fault, error_code
from cdc_consumer.lease import Lease

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEY = "leaseKey"


class LeaseTable(Protocol):
    """The rows of all leases."""

    def ensure(self) -> None:
        """Make the table where it is missing."""

    def leases(self) -> dict[str, Lease]:
        """Every lease by its key, as it is now."""

    def create(self, lease: Lease) -> None:
        """Add a lease that is not there yet; one that is stays as it is."""

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        """Change a lease if it still is what it was; returns what is stored now: `new`, or what another wrote."""

    def delete(self, lease: Lease) -> None:
        """Remove a lease if it still is what it was."""


class DynamoLeaseTable:
    """The lease table in DynamoDB.

    What it costs: a worker scans the table each 5 s, 17,280 times a day, for one read unit (of 4 KB) for each dozen of
    leases; a shard is written to at each checkpoint, or each 15 s or less when nothing arrives, one write unit each,
    11,520 a day. Two workers over four shards: 35,000 reads and 46,000 writes a day, which at 0.125 and 0.625 dollars a
    million are 3.3 cents a day, one dollar a month. Leases of shards that the stream dropped are removed, since each
    scan would pay for them.
    """

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self._client = client
        self._name = name

    def ensure(self) -> None:
        """Two workers may try at the same time; the second one waits for the first one's table."""
        with self._faults("find or make the lease table"):
            try:
                self._client.describe_table(TableName=self._name)
            except self._client.exceptions.ResourceNotFoundException:
                self._create_table()
            try:
                self._client.get_waiter("table_exists").wait(
                    TableName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
                )
            except WaiterError:
                raise TransientFault("the lease table does not become active", where=self._name) from None

    def leases(self) -> dict[str, Lease]:
        """One consistent scan, page by page: a stale counter would look like one that stands still."""
        with self._faults("read the leases"):
            pages = self._client.get_paginator("scan").paginate(TableName=self._name, ConsistentRead=True)
            leases = [_lease(item) for page in pages for item in page["Items"]]
        return {lease.key: lease for lease in leases}

    def create(self, lease: Lease) -> None:
        """Conditional on the key's absence."""
        with self._faults("create a lease"):
            try:
                self._client.put_item(
                    TableName=self._name,
                    Item=_item(lease),
                    ConditionExpression="attribute_not_exists(#key)",
                    ExpressionAttributeNames={"#key": _KEY},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        """Conditional on owner and counter. A refusal is judged by what is stored: our first try may have landed."""
        names = {"#counter": "leaseCounter", "#owner": "leaseOwner"}
        values: dict[str, Any] = {":counter": {"N": str(old.counter)}}
        if old.owner is None:
            owner = "attribute_not_exists(#owner)"
        else:
            owner = "#owner = :owner"
            values[":owner"] = {"S": old.owner}
        with self._faults("write a lease"):
            try:
                self._client.put_item(
                    TableName=self._name,
                    Item=_item(new),
                    ConditionExpression=f"#counter = :counter AND {owner}",
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                answer = self._client.get_item(TableName=self._name, Key={_KEY: {"S": old.key}}, ConsistentRead=True)
                return _lease(answer["Item"]) if "Item" in answer else None
        return new

    def delete(self, lease: Lease) -> None:
        """Conditional on the counter: what anybody wrote since then stays."""
        with self._faults("remove a lease"):
            try:
                self._client.delete_item(
                    TableName=self._name,
                    Key={_KEY: {"S": lease.key}},
                    ConditionExpression="#counter = :counter",
                    ExpressionAttributeNames={"#counter": "leaseCounter"},
                    ExpressionAttributeValues={":counter": {"N": str(lease.counter)}},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return

    @contextmanager
    def _faults(self, verb: str) -> Iterator[None]:
        try:
            yield
        except AwsError as error:
            hint = "check CDC_LEASES, the region and the role's permissions in DynamoDB"
            if error_code(error) == "ResourceNotFoundException":
                hint = "the table vanished: start again; it is made anew and every shard goes on from its batch records"
            raise aws_fault(verb, self._name, error, hint) from error

    def _create_table(self) -> None:
        try:
            self._client.create_table(
                TableName=self._name,
                AttributeDefinitions=[{"AttributeName": _KEY, "AttributeType": "S"}],
                KeySchema=[{"AttributeName": _KEY, "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except self._client.exceptions.ResourceInUseException:
            return


def _item(lease: Lease) -> dict[str, Any]:
    item: dict[str, Any] = {
        _KEY: {"S": lease.key},
        "leaseCounter": {"N": str(lease.counter)},
        "ownerSwitchesSinceCheckpoint": {"N": str(lease.owner_switches)},
        "checkpoint": {"S": lease.checkpoint},
        "checkpointSubSequenceNumber": {"N": "0"},
    }
    if lease.owner is not None:
        item["leaseOwner"] = {"S": lease.owner}
    if lease.arrived_at is not None:
        item["checkpointArrivedAt"] = {"S": lease.arrived_at.astimezone(UTC).isoformat()}
    if lease.parents:
        item["parentShardId"] = {"SS": list(lease.parents)}
    if lease.children:
        item["childShardIds"] = {"SS": list(lease.children)}
    return item


def _lease(item: Any) -> Lease:
    arrived_at = item.get("checkpointArrivedAt")
    return Lease(
        key=item[_KEY]["S"],
        owner=item["leaseOwner"]["S"] if "leaseOwner" in item else None,
        counter=int(item["leaseCounter"]["N"]),
        owner_switches=int(item["ownerSwitchesSinceCheckpoint"]["N"]),
        checkpoint=item["checkpoint"]["S"],
        arrived_at=datetime.fromisoformat(arrived_at["S"]) if arrived_at else None,
        parents=tuple(sorted(item.get("parentShardId", {"SS": []})["SS"])),
        children=tuple(sorted(item.get("childShardIds", {"SS": []})["SS"])),
    )
