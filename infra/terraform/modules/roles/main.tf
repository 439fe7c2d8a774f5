# A role a duty. What each may and may not is listed call by call in tests/infra/iam_calls.yaml, which the tests ask a simulator of
# IAM about; docs/aws.md has it as a table.
locals {
  account  = var.account
  arn      = "arn:${local.account.partition}"
  services = ["publisher", "consumer", "compactor"]
  tasks    = ["tool", "reconcile", "rebuild"] # `cdc`, run once and over: tasks.tf
  programs = {
    publisher = data.aws_iam_policy_document.publisher.json
    consumer  = data.aws_iam_policy_document.consumer.json
    compactor = data.aws_iam_policy_document.compactor.json
    tool      = data.aws_iam_policy_document.tool.json
    reconcile = data.aws_iam_policy_document.reconcile.json
    rebuild   = data.aws_iam_policy_document.rebuild.json
  }
  # Those whose starter hands them how the database is reached.
  handed    = { publisher = var.secrets.database, reconcile = var.secrets.comparison }
  glue      = "${local.arn}:glue:${local.account.region}:${local.account.id}"
  lake_glue = ["${local.glue}:catalog", "${local.glue}:database/${var.databases.lake}", "${local.glue}:table/${var.databases.lake}/*"]
  via = {
    s3       = "s3.${local.account.region}.amazonaws.com"
    kinesis  = "kinesis.${local.account.region}.amazonaws.com"
    dynamodb = "dynamodb.${local.account.region}.amazonaws.com"
    secrets  = "secretsmanager.${local.account.region}.amazonaws.com"
  }
}

data "aws_iam_policy_document" "tasks_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account.id]
    }
  }
}

# --- the publisher: database → stream

data "aws_iam_policy_document" "publisher" {
  statement {
    sid       = "PutToTheStream"
    actions   = ["kinesis:PutRecords", "kinesis:ListShards"]
    resources = [var.stream_arn]
  }
  statement {
    sid       = "EncryptTheStream"
    actions   = ["kms:GenerateDataKey"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.kinesis]
    }
  }
}

# --- the consumer: stream → raw; it reads raw to go on from it, and sees nothing of the lake

data "aws_iam_policy_document" "consumer" {
  statement {
    sid = "ReadTheStream"
    actions = [
      "kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords",
    ]
    resources = [var.stream_arn]
  }
  statement {
    sid = "Leases"
    actions = [
      "dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem",
    ]
    resources = [var.leases_arn]
  }
  statement {
    sid       = "ReadRaw"
    actions   = ["s3:GetObject"]
    resources = ["${var.buckets.raw}/raw/*", "${var.buckets.quarantine}/quarantine/*"]
  }
  # All that cdc/raw.py names; not _epochs, which decide what the compactor takes for the same database.
  statement {
    sid     = "WriteRaw"
    actions = ["s3:PutObject"]
    resources = concat(
      [for kind in ["postgres", "_batches", "_schemas", "_tips"] : "${var.buckets.raw}/raw/${kind}/*"],
      ["${var.buckets.quarantine}/quarantine/*"],
    )
  }
  statement {
    sid       = "ListRaw"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.raw, var.buckets.quarantine]
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

# --- what every program needs that makes tokens of the lake's columns: the masking key, and the key that it and all files are
# encrypted with. A statement of the same name in a document that takes this one up would silently stand in its place.

data "aws_iam_policy_document" "masks" {
  statement {
    sid       = "MaskingKey"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.secrets.pii_key]
  }
  statement {
    sid       = "KeyOfFilesAndSecrets"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.s3, local.via.secrets]
    }
  }
}

# --- the compactor: raw → lake; it deletes files of the lake, which maintenance is, and nothing of raw

data "aws_iam_policy_document" "compactor" {
  source_policy_documents = [data.aws_iam_policy_document.masks.json]

  statement {
    sid       = "ReadRaw"
    actions   = ["s3:GetObject"]
    resources = ["${var.buckets.raw}/raw/*"]
  }
  statement {
    sid       = "RecordEpochs"
    actions   = ["s3:PutObject"]
    resources = ["${var.buckets.raw}/raw/_epochs/*"]
  }
  statement {
    sid       = "SetAside"
    actions   = ["s3:PutObject", "s3:GetObject"]
    resources = ["${var.buckets.quarantine}/quarantine/*"]
  }
  statement {
    sid       = "WriteTheLake"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${var.buckets.lake}/warehouse/*"]
  }
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.raw, var.buckets.quarantine, var.buckets.lake]
  }
  statement {
    sid       = "Catalog"
    actions   = ["glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:CreateTable", "glue:UpdateTable"]
    resources = local.lake_glue
  }
}

resource "aws_iam_role" "program" {
  for_each           = local.programs
  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.tasks_trust.json
}

resource "aws_iam_role_policy" "program" {
  for_each = local.programs
  name     = each.key
  role     = aws_iam_role.program[each.key].id
  policy   = each.value
}

# --- starting a task: its image, its log, and for those who reach the database its secret, which no other starter can read

data "aws_iam_policy_document" "start" {
  for_each = toset(concat(local.services, local.tasks))
  statement {
    sid       = "SignInToTheRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
  statement {
    sid       = "PullTheImage"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = var.images_arn
  }
  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.arn}:logs:${local.account.region}:${local.account.id}:log-group:/${var.name}/${each.key}:*"]
  }
  dynamic "statement" {
    for_each = [for program, arn in local.handed : arn if program == each.key]
    content {
      sid       = "DatabaseSecret"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [statement.value]
    }
  }
  dynamic "statement" {
    for_each = [for program, arn in local.handed : var.key_arn if program == each.key]
    content {
      sid       = "DatabaseSecretKey"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]
      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = [local.via.secrets]
      }
    }
  }
}

resource "aws_iam_role" "start" {
  for_each           = toset(concat(local.services, local.tasks))
  name               = "${var.name}-${each.key}-start"
  assume_role_policy = data.aws_iam_policy_document.tasks_trust.json
}

resource "aws_iam_role_policy" "start" {
  for_each = toset(concat(local.services, local.tasks))
  name     = "start"
  role     = aws_iam_role.start[each.key].id
  policy   = data.aws_iam_policy_document.start[each.key].json
}

# --- Lake Formation: hands the lake's files to those who query, under its own grants

data "aws_iam_policy_document" "lake_access_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lakeformation.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account.id]
    }
  }
}

data "aws_iam_policy_document" "lake_access" {
  statement {
    sid       = "ReadTheLake"
    actions   = ["s3:GetObject"]
    resources = ["${var.buckets.lake}/warehouse/*"]
  }
  statement {
    sid       = "ListTheLake"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.lake]
  }
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:aws:s3:arn"
      values   = [var.buckets.lake]
    }
  }
}

resource "aws_iam_role" "lake_access" {
  name               = "${var.name}-lake-access"
  assume_role_policy = data.aws_iam_policy_document.lake_access_trust.json
}

resource "aws_iam_role_policy" "lake_access" {
  name   = "lake-access"
  role   = aws_iam_role.lake_access.id
  policy = data.aws_iam_policy_document.lake_access.json
}
