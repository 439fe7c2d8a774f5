"""Each role may do what its duty needs, and no more: every call of iam_calls.yaml, asked of a simulator of IAM.

The policies are those that were applied: of the role, of the bucket, of the key.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.checkers import ROOT
from tests.infra.terraform_tools import ACCOUNT, REGION, Account, tools

NAME = "usuarios-cdc-production"
HERE = Path(__file__).parent
LISTED: Mapping[str, Mapping[str, list[str]]] = yaml.safe_load((HERE / "iam_calls.yaml").read_text(encoding="utf-8"))
CALLS = [
    (role, verdict, line) for role, its in LISTED.items() for verdict in ("may", "may_not") for line in its[verdict]
]

# The simulator knows no key that has a name in it; here one of the same kind (a text of requests to KMS, compared as it is) takes its place, in
# policies and calls alike.
STAND_IN = {"kms:EncryptionContext:aws:s3:arn": "kms:RequestAlias"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def simulate(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    node = shutil.which("node")
    assert node, "tools() skips the test where there is no node"
    done = subprocess.run(
        [node, str(HERE / "iam_simulate.mjs"), str(tools())],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def names(account: Account) -> dict[str, str]:
    secrets = {entry["Name"]: entry["ARN"] for entry in account.client("secretsmanager").list_secrets()["SecretList"]}
    here = f"{REGION}:{ACCOUNT}"
    return {
        **{zone: f"arn:aws:s3:::{NAME}-{zone}-{ACCOUNT}" for zone in ("raw", "quarantine", "lake", "results")},
        "stream": f"arn:aws:kinesis:{here}:stream/{NAME}",
        "other_stream": f"arn:aws:kinesis:{here}:stream/another",
        "leases": f"arn:aws:dynamodb:{here}:table/{NAME}-leases",
        "key": account.client("kms").describe_key(KeyId=f"alias/{NAME}")["KeyMetadata"]["Arn"],
        "pii_key": secrets[f"{NAME}/pii-key"],
        "database": secrets[f"{NAME}/database"],
        "glue": f"arn:aws:glue:{here}",
        "athena": f"arn:aws:athena:{here}",
        "logs": f"arn:aws:logs:{here}",
        "cloudwatch": f"arn:aws:cloudwatch:{here}",
        "scheduler": f"arn:aws:scheduler:{here}",
        "ecs": f"arn:aws:ecs:{here}",
        "cluster": f"arn:aws:ecs:{here}:cluster/{NAME}",
        "iam": f"arn:aws:iam::{ACCOUNT}",
        "region": REGION,
    }


@functools.cache
def role_policy(account: Account, role: str) -> dict[str, Any]:
    """All inline policies of a role as one; attached ones it must not have."""
    iam = account.client("iam")
    name = f"{NAME}-{role}"
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    statements: list[dict[str, Any]] = []
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        statements += iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]["Statement"]
    return {"Version": "2012-10-17", "Statement": statements}


@functools.cache
def resource_policy(account: Account, resource: str, key: str) -> dict[str, Any] | None:
    if resource.startswith("arn:aws:s3:::"):
        bucket = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        return json.loads(account.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])  # type: ignore[no-any-return]
    if resource == key:
        return json.loads(account.client("kms").get_key_policy(KeyId=key, PolicyName="default")["Policy"])  # type: ignore[no-any-return]
    return None


def with_stand_in(policy: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(policy)
    for key, other in STAND_IN.items():
        assert other not in text
        text = text.replace(f'"{key}"', f'"{other}"')
    replaced: dict[str, Any] = json.loads(text)
    return replaced


def call(account: Account, role: str, line: str, known: Mapping[str, str]) -> dict[str, Any]:
    action, resource, *stated = line.format(**known).split(" ")
    context = dict(pair.split("=", 1) for pair in stated)
    return {
        "action": action,
        "resource": resource,
        "account": ACCOUNT,
        "principal": f"arn:aws:iam::{ACCOUNT}:role/{NAME}-{role}",
        "context": {"aws:SecureTransport": "true", **{STAND_IN.get(key, key): value for key, value in context.items()}},
        "identityPolicy": with_stand_in(role_policy(account, role)),
        "resourcePolicy": resource_policy(account, resource, known["key"]),
    }


@pytest.fixture(scope="module")
def verdicts(account: Account) -> dict[tuple[str, str, str], dict[str, Any]]:
    known = names(account)
    answers = simulate([call(account, role, line, known) for role, _, line in CALLS])
    return dict(zip(CALLS, answers, strict=True))


@pytest.mark.parametrize(("role", "verdict", "line"), CALLS)
def test_a_role_may_do_its_duty_and_no_more(
    role: str, verdict: str, line: str, verdicts: dict[tuple[str, str, str], dict[str, Any]]
) -> None:
    answer = verdicts[role, verdict, line]
    assert "errors" not in answer, answer
    assert (answer["result"] == "Allowed") is (verdict == "may"), answer


def test_the_simulator_tells_allowed_from_denied() -> None:
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
    deny = {**allow, "Effect": "Deny"}
    asked: dict[str, Any] = {
        "action": "s3:GetObject",
        "resource": "arn:aws:s3:::b/k",
        "account": ACCOUNT,
        "principal": f"arn:aws:iam::{ACCOUNT}:role/r",
        "context": {},
        "resourcePolicy": None,
    }
    policies = [[allow], [], [allow, deny], [{**allow, "Condition": {"StringEquals": {"aws:SourceAccount": "1"}}}]]
    answers = simulate([{**asked, "identityPolicy": {"Version": "2012-10-17", "Statement": each}} for each in policies])
    assert [answer.get("result") for answer in answers] == [
        "Allowed",
        "ImplicitlyDenied",
        "ExplicitlyDenied",
        "ImplicitlyDenied",
    ]


def test_a_context_that_the_simulator_does_not_know_is_no_answer() -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}]}
    (answer,) = simulate(
        [
            {
                "action": "kms:Decrypt",
                "resource": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/k",
                "account": ACCOUNT,
                "principal": f"arn:aws:iam::{ACCOUNT}:role/r",
                "context": {"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::b"},
                "identityPolicy": policy,
                "resourcePolicy": None,
            }
        ]
    )
    assert "errors" in answer


def test_every_role_is_listed(account: Account) -> None:
    roles = {role["RoleName"] for role in account.client("iam").list_roles()["Roles"]}
    assert {f"{NAME}-{role}" for role in LISTED} == {role for role in roles if role.startswith(NAME)}


# Of these AWS knows no resource, or on Fargate none but the cluster of a condition.
OF_NO_RESOURCE = {
    "lakeformation:GetDataAccess", "logs:DescribeLogGroups", "logs:StopQuery", "cloudwatch:GetMetricData",
    "cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics", "cloudwatch:ListDashboards", "ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions",
    "ecs:ListServices", "ecs:ListTasks", "scheduler:ListSchedules", "cloudtrail:LookupEvents", "ce:GetCostAndUsage", "ce:GetTags",
    "ecr:GetAuthorizationToken",
}  # fmt: skip


@pytest.mark.parametrize("role", LISTED)
def test_no_statement_allows_everything(account: Account, role: str) -> None:
    for statement in role_policy(account, role)["Statement"]:
        if statement["Effect"] == "Allow":
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            assert not [action for action in actions if "*" in action]
            assert statement["Resource"] != "*" or OF_NO_RESOURCE.issuperset(actions)


@pytest.mark.parametrize("role", LISTED)
def test_a_policy_is_no_longer_than_aws_takes(account: Account, role: str) -> None:
    # IAM's quota of all inline policies of a role, blanks not counted.
    assert len(json.dumps(role_policy(account, role), separators=(",", ":"))) <= 10_240


def test_records_in_clear_want_a_second_factor(account: Account) -> None:
    trust = account.client("iam").get_role(RoleName=f"{NAME}-investigator")["Role"]
    (statement,) = trust["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:user/privacy"}
    assert statement["Condition"] == {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    assert trust["MaxSessionDuration"] == 3600


def test_the_table_in_the_docs_has_every_role() -> None:
    text = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
    assert [role for role in LISTED if f"| `{role}`" not in text] == []
