# Who may look at single records, personal data in clear: nobody, unless named. Only with a second factor, for an hour, and through Athena alone,
# so that what was asked stands in the workgroup's history and in CloudTrail.
data "aws_iam_policy_document" "investigator_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = var.investigators
    }
    condition {
      test     = "Bool"
      variable = "aws:MultiFactorAuthPresent"
      values   = ["true"]
    }
  }
}

data "aws_iam_policy_document" "investigator" {
  source_policy_documents = [data.aws_iam_policy_document.query["investigator"].json, data.aws_iam_policy_document.never_by_hand.json]
  statement {
    sid       = "SeeTheCatalogOfRaw"
    actions   = ["glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables", "glue:GetPartitions"]
    resources = ["${local.glue}:database/${var.databases.raw}", "${local.glue}:table/${var.databases.raw}/*"]
  }
  statement {
    sid       = "ReadRecordsThroughAthena"
    actions   = ["s3:GetObject"]
    resources = ["${var.buckets.raw}/raw/postgres/*", "${var.buckets.quarantine}/quarantine/*"]
    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "aws:CalledVia"
      values   = ["athena.amazonaws.com"]
    }
  }
  statement {
    sid       = "ListThroughAthena"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [var.buckets.raw, var.buckets.quarantine]
    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "aws:CalledVia"
      values   = ["athena.amazonaws.com"]
    }
  }
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:aws:s3:arn"
      values   = [var.buckets.raw, var.buckets.quarantine]
    }
  }
  statement {
    sid       = "NeverTheStreamOrSecrets"
    effect    = "Deny"
    actions   = ["kinesis:*", "secretsmanager:*"]
    resources = distinct(concat([var.stream_arn], values(var.secrets)))
  }
}

resource "aws_iam_role" "investigator" {
  count                = length(var.investigators) > 0 ? 1 : 0
  name                 = "${var.name}-investigator"
  assume_role_policy   = data.aws_iam_policy_document.investigator_trust.json
  max_session_duration = 3600
}

resource "aws_iam_role_policy" "investigator" {
  count  = length(aws_iam_role.investigator)
  name   = "investigator"
  role   = aws_iam_role.investigator[0].id
  policy = data.aws_iam_policy_document.investigator.json
}
