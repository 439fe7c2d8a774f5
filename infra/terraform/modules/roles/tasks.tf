# Tasks that run once: `cdc` with the rights that its commands need, and no person has. Operators may start them, which CloudTrail
# records.

# --- tool: status, epoch and replay. It reads records in clear and tells none of them; it deletes nothing of raw and sees no row of the lake.
data "aws_iam_policy_document" "tool" {
  statement {
    sid     = "Read"
    actions = ["s3:GetObject"]
    resources = [
      "${var.buckets.raw}/raw/*", "${var.buckets.quarantine}/quarantine/*", local.table_metadata,
    ]
  }
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.raw, var.buckets.quarantine, var.buckets.lake]
  }
  statement {
    sid       = "RecordEpochs"
    actions   = ["s3:PutObject"]
    resources = ["${var.buckets.raw}/raw/_epochs/*"]
  }
  statement {
    sid       = "MoveWhatWasPutBack"
    actions   = ["s3:PutObject", "s3:DeleteObject"]
    resources = ["${var.buckets.quarantine}/quarantine/*"]
  }
  statement {
    sid       = "PutBack"
    actions   = ["kinesis:PutRecords", "kinesis:ListShards", "kinesis:DescribeStreamSummary"]
    resources = [var.stream_arn]
  }
  statement {
    sid       = "SeeTheCatalog"
    actions   = ["glue:GetDatabase", "glue:GetTable", "glue:GetTables"]
    resources = local.lake_glue
  }
  statement {
    sid       = "SeeTheLeases"
    actions   = ["dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:GetItem"]
    resources = [var.leases_arn]
  }
  statement {
    sid       = "Key"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.s3, local.via.kinesis, local.via.dynamodb]
    }
  }
}

# --- reconcile: reads the lake, and states on a table what came of it. No raw, no stream; the database by what its starter hands it.
data "aws_iam_policy_document" "reconcile" {
  source_policy_documents = [data.aws_iam_policy_document.masks.json]

  statement {
    sid       = "ReadTheLake"
    actions   = ["s3:GetObject"]
    resources = ["${var.buckets.lake}/warehouse/*"]
  }
  # Without it S3 would call a file that maintenance removed meanwhile forbidden, not gone.
  statement {
    sid       = "ListTheLake"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.lake]
  }
  # A property is stated by a new metadata file, and by naming it in the catalog.
  statement {
    sid       = "StateTheOutcome"
    actions   = ["s3:PutObject"]
    resources = [local.table_metadata]
  }
  statement {
    sid       = "Catalog"
    actions   = ["glue:GetDatabase", "glue:GetTable", "glue:UpdateTable"]
    resources = local.lake_glue
  }
}

# --- rebuild: raw → fresh tables, and their names given to them; the only role that may take a table's name away.
data "aws_iam_policy_document" "rebuild" {
  source_policy_documents = [data.aws_iam_policy_document.masks.json]

  statement {
    sid       = "ReadRaw"
    actions   = ["s3:GetObject"]
    resources = ["${var.buckets.raw}/raw/*"]
  }
  statement {
    sid       = "WriteTheLake"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${var.buckets.lake}/warehouse/*"]
  }
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.raw, var.buckets.lake]
  }
  statement {
    sid       = "Catalog"
    actions   = ["glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:CreateTable", "glue:UpdateTable", "glue:DeleteTable"]
    resources = local.lake_glue
  }
}

locals {
  # The text of a table's metadata alone: its lists of files hold the least and the greatest value of columns.
  table_metadata = "${var.buckets.lake}/warehouse/*/metadata/*.metadata.json"
  ecs            = "${local.arn}:ecs:${local.account.region}:${local.account.id}"
  cluster_arn    = "${local.ecs}:cluster/${var.name}"
  task_roles = {
    for task in local.tasks : task => [aws_iam_role.program[task].arn, aws_iam_role.start[task].arn]
  }
}

# --- the schedule of the proof: it starts this one task, and hands it its two roles

data "aws_iam_policy_document" "schedule_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account.id]
    }
  }
}

data "aws_iam_policy_document" "schedule" {
  statement {
    sid       = "RunTheProof"
    actions   = ["ecs:RunTask"]
    resources = ["${local.ecs}:task-definition/${var.name}-reconcile:*"]
    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [local.cluster_arn]
    }
  }
  # The task gets its definition's tags, by which the budget counts it.
  statement {
    sid       = "TagTheProof"
    actions   = ["ecs:TagResource"]
    resources = ["${local.ecs}:task/${var.name}/*"]
    condition {
      test     = "StringEquals"
      variable = "ecs:CreateAction"
      values   = ["RunTask"]
    }
  }
  statement {
    sid       = "HandItsRoles"
    actions   = ["iam:PassRole"]
    resources = local.task_roles["reconcile"]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "schedule" {
  name               = "${var.name}-schedule"
  assume_role_policy = data.aws_iam_policy_document.schedule_trust.json
}

resource "aws_iam_role_policy" "schedule" {
  name   = "schedule"
  role   = aws_iam_role.schedule.id
  policy = data.aws_iam_policy_document.schedule.json
}
