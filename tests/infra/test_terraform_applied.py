"""What infra/terraform makes, as AWS's own API tells it: applied to moto, read with boto3."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml

from cdc.epoch import EPOCHS
from cdc.raw import BATCHES, SCHEMAS, TIPS
from tests.infra.checkers import ROOT
from tests.infra.terraform_tools import ACCOUNT, REGION, Account, tools

NAME = "usuarios-cdc-production"
ZONES = ("raw", "quarantine", "lake", "results")
SERVICES = ("publisher", "consumer", "compactor")
TASKS = ("tool", "reconcile", "rebuild")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def bucket(zone: str) -> str:
    return f"{NAME}-{zone}-{ACCOUNT}"


def key_arn(account: Account) -> str:
    arn: str = account.client("kms").describe_key(KeyId=f"alias/{NAME}")["KeyMetadata"]["Arn"]
    return arn


def settings(account: Account, program: str) -> dict[str, Any]:
    definition: dict[str, Any] = account.client("ecs").describe_task_definition(taskDefinition=f"{NAME}-{program}")
    (container,) = definition["taskDefinition"]["containerDefinitions"]
    return container  # type: ignore[no-any-return]


def environment(account: Account, program: str) -> dict[str, str]:
    return {pair["name"]: pair["value"] for pair in settings(account, program)["environment"]}


@pytest.mark.parametrize("zone", ZONES)
def test_buckets_are_encrypted_with_our_key_and_bucket_keys(account: Account, zone: str) -> None:
    answer = account.client("s3").get_bucket_encryption(Bucket=bucket(zone))
    (rule,) = answer["ServerSideEncryptionConfiguration"]["Rules"]
    default = rule["ApplyServerSideEncryptionByDefault"]
    assert (default["SSEAlgorithm"], default["KMSMasterKeyID"]) == ("aws:kms", key_arn(account))
    assert rule["BucketKeyEnabled"] is True


@pytest.mark.parametrize("zone", ZONES)
def test_public_access_to_buckets_is_blocked(account: Account, zone: str) -> None:
    block = account.client("s3").get_public_access_block(Bucket=bucket(zone))["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    assert len(block) == 4


@pytest.mark.parametrize("zone", ZONES)
def test_buckets_are_versioned_and_noncurrent_versions_expire(account: Account, zone: str) -> None:
    s3 = account.client("s3")
    assert s3.get_bucket_versioning(Bucket=bucket(zone))["Status"] == "Enabled"
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket(zone))["Rules"]
    noncurrent = [rule for rule in rules if "NoncurrentVersionExpiration" in rule]
    assert [rule["NoncurrentVersionExpiration"]["NoncurrentDays"] for rule in noncurrent] == [7]
    assert [rule.get("Filter", {}).get("Prefix", "") for rule in noncurrent] == [""]
    assert any(rule.get("Expiration", {}).get("ExpiredObjectDeleteMarker") for rule in rules)


def expiring(account: Account, zone: str) -> dict[str, int]:
    rules = account.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket(zone))["Rules"]
    return {
        rule.get("Filter", {}).get("Prefix", ""): rule["Expiration"]["Days"]
        for rule in rules
        if rule["Status"] == "Enabled" and rule.get("Expiration", {}).get("Days")
    }


def test_raw_is_kept_for_ninety_days_and_batch_records_go_before_their_objects(account: Account) -> None:
    assert expiring(account, "raw") == {"raw/postgres/": 90, "raw/_batches/": 89}


@pytest.mark.parametrize("kept", [EPOCHS, SCHEMAS, TIPS])
def test_what_raw_is_read_by_never_expires(account: Account, kept: str) -> None:
    assert not [prefix for prefix in expiring(account, "raw") if f"raw/{kept}/".startswith(prefix)]


def test_what_expires_is_where_the_consumer_writes(account: Account) -> None:
    location = environment(account, "consumer")["CDC_RAW"]
    assert location == f"s3://{bucket('raw')}/raw"
    assert f"raw/{BATCHES}/" in expiring(account, "raw")
    assert environment(account, "consumer")["CDC_QUARANTINE"] == f"s3://{bucket('quarantine')}/quarantine"
    assert expiring(account, "quarantine") == {"quarantine/": 90}


def test_nothing_of_the_lake_expires_by_itself(account: Account) -> None:
    assert expiring(account, "lake") == {}


@pytest.mark.parametrize("zone", ZONES)
def test_buckets_are_reached_over_tls_only(account: Account, zone: str) -> None:
    policy = json.loads(account.client("s3").get_bucket_policy(Bucket=bucket(zone))["Policy"])
    (statement,) = [statement for statement in policy["Statement"] if statement["Sid"] == "TlsOnly"]
    assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert sorted(statement["Resource"]) == [f"arn:aws:s3:::{bucket(zone)}", f"arn:aws:s3:::{bucket(zone)}/*"]


def test_the_lease_table_is_as_the_consumer_reads_it_and_can_be_restored(account: Account) -> None:
    dynamodb = account.client("dynamodb")
    name = environment(account, "consumer")["CDC_LEASES"]
    table = dynamodb.describe_table(TableName=name)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "leaseKey", "KeyType": "HASH"}]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["SSEDescription"]["KMSMasterKeyArn"] == key_arn(account)
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def test_the_stream_is_encrypted_and_the_programs_name_it(account: Account) -> None:
    summary = account.client("kinesis").describe_stream_summary(StreamName=NAME)["StreamDescriptionSummary"]
    assert (summary["EncryptionType"], summary["KeyId"]) == ("KMS", key_arn(account))
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (1, 24)
    sources = {environment(account, program)["CDC_SOURCE"] for program in ("publisher", "consumer")}
    assert sources == {f"kinesis://{NAME}"}


def test_raw_and_quarantine_are_tables_with_projected_partitions(account: Account) -> None:
    glue = account.client("glue")
    tables = {table["Name"]: table for table in glue.get_tables(DatabaseName="lake_raw")["TableList"]}
    assert set(tables) == {"raw_usuarios", "quarantine"}
    raw, quarantine = tables["raw_usuarios"]["Parameters"], tables["quarantine"]["Parameters"]
    assert raw["storage.location.template"] == f"s3://{bucket('raw')}/raw/postgres/json/usuarios/${{day}}/"
    assert quarantine["storage.location.template"] == f"s3://{bucket('quarantine')}/quarantine/${{reason}}/${{day}}/"
    for parameters in (raw, quarantine):
        assert parameters["projection.enabled"] == "true"
        assert parameters["projection.day.type"] == "date"
        assert parameters["projection.day.format"] == "yyyy/MM/dd"
        assert parameters["projection.day.range"] == "NOW-90DAYS,NOW"
    for table in tables.values():
        (column,) = table["StorageDescriptor"]["Columns"]
        assert (column["Name"], column["Type"]) == ("line", "string")
        assert table["StorageDescriptor"]["SerdeInfo"]["Parameters"]["field.delim"] == "\x01"


def test_the_lake_is_a_database_that_grants_nothing_by_itself(account: Account) -> None:
    database = account.client("glue").get_database(Name="lake")["Database"]
    assert not database.get("CreateTableDefaultPermissions")
    assert environment(account, "compactor")["CDC_CATALOG"] == "lake"


def test_each_reader_has_a_workgroup_that_it_cannot_widen(account: Account) -> None:
    athena = account.client("athena")
    for reader in ("analyst", "cleared-analyst", "operator", "investigator"):
        group = athena.get_work_group(WorkGroup=f"{NAME}-{reader}")["WorkGroup"]["Configuration"]
        assert group["EnforceWorkGroupConfiguration"] is True
        assert group["BytesScannedCutoffPerQuery"] == 10 * 1024**3
        assert group["ResultConfiguration"]["OutputLocation"] == f"s3://{bucket('results')}/{reader}/"
        encrypted = group["ResultConfiguration"]["EncryptionConfiguration"]
        assert encrypted == {"EncryptionOption": "SSE_KMS", "KmsKey": key_arn(account)}


@pytest.mark.parametrize("program", [*SERVICES, *TASKS])
def test_containers_cannot_write_their_root_and_are_nobody(account: Account, program: str) -> None:
    container = settings(account, program)
    assert container["readonlyRootFilesystem"] is True
    assert container["user"] == "10001:10001"
    assert container["linuxParameters"]["capabilities"]["drop"] == ["ALL"]
    assert container["image"].endswith(":0.1.0")


def test_services_are_asked_whether_they_are_well_and_tasks_are_not(account: Account) -> None:
    for program in SERVICES:
        assert settings(account, program)["healthCheck"]["command"] == ["CMD", "python3", "/opt/cdc/healthy.py"]
    for task in TASKS:
        assert "healthCheck" not in settings(account, task)
        assert "CDC_HTTP_PORT" not in environment(account, task)


@pytest.mark.parametrize("program", [*SERVICES, *TASKS])
def test_no_secret_stands_in_a_task(account: Account, program: str) -> None:
    container = settings(account, program)
    assert "CDC_DATABASE" not in environment(account, program)
    secrets = {secret["name"] for secret in container.get("secrets", ())}
    assert secrets == ({"CDC_DATABASE"} if program in {"publisher", "reconcile"} else set())
    assert environment(account, program).get("CDC_PII_KEY", "secretsmanager:").startswith("secretsmanager:")


def alarms_of(account: Account) -> list[dict[str, Any]]:
    """All alarms, asked by moto's own boto3: ours asks CloudWatch in a protocol that moto does not speak yet."""
    program = (
        "import boto3, json, sys; cloudwatch = boto3.client('cloudwatch', endpoint_url=sys.argv[1], region_name=sys.argv[2], "
        "aws_access_key_id='test', aws_secret_access_key='test'); "
        "print(json.dumps(cloudwatch.describe_alarms(MaxRecords=100)['MetricAlarms'], default=str))"
    )
    command = [str(tools() / "bin" / "python"), "-c", program, account.endpoint_url, REGION]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    alarms: list[dict[str, Any]] = json.loads(done.stdout)
    return alarms


def test_every_alarm_of_the_list_is_there_and_tells_somebody(account: Account) -> None:
    listed = yaml.safe_load((ROOT / "infra" / "alarms.yaml").read_text(encoding="utf-8"))["alarms"]
    made = {alarm["AlarmName"]: alarm for alarm in alarms_of(account)}
    for stated in listed:
        if stated.get("namespace") == "AWS/Billing":
            continue  # a budget tells it in any region
        ours = [alarm for name, alarm in made.items() if name.split("/")[:2] == [NAME, stated["name"]]]
        assert ours, stated["name"]
        for alarm in ours:
            assert alarm["MetricName"] == stated["metric"]
            assert alarm["Namespace"] == stated.get("namespace", NAME)
            assert (alarm["Threshold"], alarm["Period"]) == (stated["threshold"], stated["period_seconds"])
            assert alarm["TreatMissingData"] == stated["treat_missing_data"]
            assert alarm["AlarmActions"], stated["name"]
            assert alarm["AlarmDescription"].endswith(f"#{stated['name']}")
            assert "*" not in {dimension["Value"] for dimension in alarm["Dimensions"]}


@pytest.mark.parametrize(
    "held",
    [
        "module.key.aws_kms_key.this",
        "module.stream.aws_kinesis_stream.this",
        "module.catalog.aws_glue_catalog_database.lake",
        'aws_secretsmanager_secret.this["pii-key"]',
        'aws_secretsmanager_secret.this["database"]',
    ],
)
def test_what_cannot_be_had_again_is_not_destroyed(account: Account, held: str) -> None:
    assert "prevent_destroy" in account.destroy_said
    assert held in account.destroy_said


def test_metrics_are_sent_where_the_alarms_look(account: Account) -> None:
    for program in (*SERVICES, "reconcile"):
        assert environment(account, program)["CDC_METRICS"] == "emf"
        assert environment(account, program)["CDC_METRICS_NAMESPACE"] == NAME


def test_the_proof_runs_every_night_where_those_who_work_here_sleep(account: Account) -> None:
    schedule = account.client("scheduler").get_schedule(Name=f"{NAME}-reconcile")
    assert schedule["State"] == "ENABLED"
    assert schedule["ScheduleExpression"] == "cron(30 3 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "America/Sao_Paulo"
    target = schedule["Target"]
    assert target["Arn"].endswith(f":cluster/{NAME}")
    assert target["RoleArn"].endswith(f":role/{NAME}-schedule")
    run = target["EcsParameters"]
    assert run["TaskDefinitionArn"].rsplit("/", 1)[1].startswith(f"{NAME}-reconcile:")
    assert (run["LaunchType"], run["TaskCount"]) == ("FARGATE", 1)
    assert settings(account, "reconcile")["command"] == ["reconcile", "--json", "--rows-per-second", "5000"]


def test_a_proof_that_could_not_run_is_told(account: Account) -> None:
    events = account.client("events")
    pattern = json.loads(events.describe_rule(Name=f"{NAME}-reconcile-not-run")["EventPattern"])
    assert pattern["detail"]["group"] == [f"family:{NAME}-reconcile"]
    (target,) = events.list_targets_by_rule(Rule=f"{NAME}-reconcile-not-run")["Targets"]
    assert target["Arn"].endswith(f":{NAME}-alarms")


def test_the_tasks_take_no_connection(account: Account) -> None:
    ec2 = account.client("ec2")
    groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"{NAME}-task"]}])[
        "SecurityGroups"
    ]
    assert [group["IpPermissions"] for group in groups] == [[]]
    assert ec2.describe_nat_gateways()["NatGateways"] == []
    kinds = {point["ServiceName"]: point["VpcEndpointType"] for point in ec2.describe_vpc_endpoints()["VpcEndpoints"]}
    assert set(kinds.values()) == {"Gateway"}
    assert {name.rsplit(".", 1)[1] for name in kinds} == {"s3", "dynamodb"}
