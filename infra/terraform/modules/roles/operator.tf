# Who operates: looks at logs, metrics and the state of everything, queries what readers without clearance may, starts, stops and scales the
# services, and runs the tasks of tasks.tf. No record in clear, no secret, nothing written by hand; docs/runbook.md is what it is made for.
data "aws_iam_policy_document" "operator" {
  source_policy_documents = [data.aws_iam_policy_document.query["operator"].json, data.aws_iam_policy_document.never_by_hand.json]

  # `cdc status` from anywhere: which batches there are, and how far tables are merged.
  statement {
    sid     = "ReadHowFarItIs"
    actions = ["s3:GetObject"]
    resources = concat(
      [for kind in ["_batches", "_tips", "_epochs"] : "${var.buckets.raw}/raw/${kind}/*"],
      [local.table_metadata],
    )
  }
  statement {
    sid       = "ListBuckets"
    actions   = ["s3:ListBucket", "s3:ListBucketVersions"]
    resources = [var.buckets.raw, var.buckets.quarantine, var.buckets.lake]
  }
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:aws:s3:arn"
      values   = [var.buckets.raw, var.buckets.lake]
    }
  }
  statement {
    sid       = "LeasesKey"
    actions   = ["kms:Decrypt"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.dynamodb]
    }
  }
  statement {
    sid       = "SeeTheLeases"
    actions   = ["dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:GetItem"]
    resources = [var.leases_arn]
  }
  statement {
    sid       = "SeeTheStream"
    actions   = ["kinesis:DescribeStreamSummary", "kinesis:ListShards"]
    resources = [var.stream_arn]
  }

  # Logs, metrics, and who did what.
  statement {
    sid = "ReadLogs"
    actions = [
      "logs:StartQuery", "logs:GetQueryResults", "logs:FilterLogEvents", "logs:GetLogEvents", "logs:DescribeLogStreams",
    ]
    resources = ["${local.arn}:logs:${local.account.region}:${local.account.id}:log-group:/${var.name}/*"]
  }
  statement {
    #checkov:skip=CKV_AWS_356:AWS knows no resource for these, and none of them tells of a record
    sid = "LookAround"
    actions = [
      "logs:DescribeLogGroups", "logs:StopQuery",
      "cloudwatch:GetMetricData", "cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics", "cloudwatch:ListDashboards",
      "ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions", "scheduler:ListSchedules", "cloudtrail:LookupEvents", "ce:GetCostAndUsage", "ce:GetTags",
    ]
    resources = ["*"]
  }
  statement {
    sid     = "SeeAlarms"
    actions = ["cloudwatch:DescribeAlarms", "cloudwatch:DescribeAlarmHistory", "cloudwatch:GetDashboard"]
    resources = [
      "${local.arn}:cloudwatch:${local.account.region}:${local.account.id}:alarm:*",
      "${local.arn}:cloudwatch::${local.account.id}:dashboard/${var.name}",
    ]
  }
  statement {
    sid       = "SeeTheSchedule"
    actions   = ["scheduler:GetSchedule"]
    resources = ["${local.arn}:scheduler:${local.account.region}:${local.account.id}:schedule/default/${var.name}-reconcile"]
  }

  # The services: looked at, started, stopped, scaled, and taken back to an older definition of their own.
  statement {
    sid       = "SeeServicesAndTasks"
    actions   = ["ecs:DescribeServices", "ecs:DescribeTasks"]
    resources = ["${local.ecs}:service/${var.name}/*", "${local.ecs}:task/${var.name}/*"]
  }
  statement {
    #checkov:skip=CKV_AWS_356:on Fargate there is nothing to name but the cluster, which the condition does
    sid       = "ListServicesAndTasks"
    actions   = ["ecs:ListServices", "ecs:ListTasks"]
    resources = ["*"]
    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [local.cluster_arn]
    }
  }
  dynamic "statement" {
    for_each = toset(concat(local.services, ["debezium"]))
    content {
      sid       = "Scale${title(statement.key)}"
      actions   = ["ecs:UpdateService"]
      resources = ["${local.ecs}:service/${var.name}/${statement.key}"]
      condition {
        test     = "ArnLikeIfExists"
        variable = "ecs:task-definition"
        values   = ["${local.ecs}:task-definition/${var.name}-${statement.key}:*"]
      }
      condition {
        test     = "StringNotEquals"
        variable = "ecs:enable-execute-command"
        values   = ["true"]
      }
    }
  }
  statement {
    sid       = "StopTasks"
    actions   = ["ecs:StopTask"]
    resources = ["${local.ecs}:task/${var.name}/*"]
  }

  # Never a second compactor or publisher: of these no task may be run beside the service's.
  statement {
    sid       = "RunTasks"
    actions   = ["ecs:RunTask"]
    resources = [for task in local.tasks : "${local.ecs}:task-definition/${var.name}-${task}:*"]
    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [local.cluster_arn]
    }
    condition {
      test     = "StringNotEquals"
      variable = "ecs:enable-execute-command"
      values   = ["true"]
    }
  }
  statement {
    sid       = "HandTheirRoles"
    actions   = ["iam:PassRole"]
    resources = flatten(values(local.task_roles))
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }

  # Denied outright, so that no further policy, attached in haste, allows it.
  statement {
    sid     = "NeverRecords"
    effect  = "Deny"
    actions = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = [
      "${var.buckets.raw}/raw/postgres/*", "${var.buckets.quarantine}/*", "${var.buckets.lake}/*.parquet", "${var.buckets.lake}/*.avro",
    ]
  }
  statement {
    sid       = "NeverTheStreamOrSecrets"
    effect    = "Deny"
    actions   = ["kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:PutRecord", "kinesis:PutRecords", "secretsmanager:GetSecretValue"]
    resources = distinct(concat([var.stream_arn], values(var.secrets)))
  }
}

resource "aws_iam_role" "operator" {
  name               = "${var.name}-operator"
  assume_role_policy = data.aws_iam_policy_document.people_trust["operator"].json
}

resource "aws_iam_role_policy" "operator" {
  name   = "operator"
  role   = aws_iam_role.operator.id
  policy = data.aws_iam_policy_document.operator.json
}
