# Those who query. Who operates is in operator.tf, who may look at single records in investigator.tf.

data "aws_iam_policy_document" "people_trust" {
  for_each = merge({ operator = var.operators }, { for name, reader in var.readers : name => reader.principals })
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = length(each.value) > 0 ? each.value : ["${local.arn}:iam::${local.account.id}:root"]
    }
  }
}

# What whoever queries needs, in a workgroup of their own. None has a right to a file of the lake: Lake Formation hands out what its grants
# allow, column by column. Documents are made of this one: a statement of theirs with a sid of these would take its place.
data "aws_iam_policy_document" "query" {
  for_each = toset(concat(["operator", "investigator"], keys(var.readers)))
  statement {
    sid = "Query"
    actions = [
      "athena:StartQueryExecution", "athena:StopQueryExecution", "athena:GetQueryExecution", "athena:GetQueryResults",
      "athena:GetQueryResultsStream", "athena:BatchGetQueryExecution", "athena:ListQueryExecutions", "athena:GetWorkGroup",
      "athena:ListNamedQueries", "athena:GetNamedQuery",
    ]
    resources = ["${local.arn}:athena:${local.account.region}:${local.account.id}:workgroup/${var.name}-${each.key}"]
  }
  # What the console lists; Lake Formation leaves out what is not granted.
  statement {
    sid       = "SeeWhatToQuery"
    actions   = ["athena:GetDataCatalog", "athena:GetDatabase", "athena:ListDatabases", "athena:GetTableMetadata", "athena:ListTableMetadata"]
    resources = ["${local.arn}:athena:${local.account.region}:${local.account.id}:datacatalog/AwsDataCatalog"]
  }
  statement {
    sid       = "SeeTheCatalog"
    actions   = ["glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables", "glue:GetPartitions"]
    resources = local.lake_glue
  }
  statement {
    #checkov:skip=CKV_AWS_356:GetDataAccess takes no resource; the grants of Lake Formation decide
    sid       = "ReadAsGranted"
    actions   = ["lakeformation:GetDataAccess"]
    resources = ["*"]
  }
  # Each role its own results: what one may see, another may not.
  statement {
    sid       = "Results"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = ["${var.buckets.results}/${each.key}/*"]
  }
  statement {
    sid       = "ResultsBucket"
    actions   = ["s3:GetBucketLocation"]
    resources = [var.buckets.results]
  }
  statement {
    sid       = "ListResults"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.results]
    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${each.key}/*"]
    }
  }
  statement {
    sid       = "ResultsKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:aws:s3:arn"
      values   = [var.buckets.results]
    }
  }
}

# For those who look after the service: denied outright, so that no further policy, attached in haste, allows it.
data "aws_iam_policy_document" "never_by_hand" {
  statement {
    sid       = "NeverByHand"
    effect    = "Deny"
    actions   = ["s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"]
    resources = [for arn in [var.buckets.raw, var.buckets.quarantine, var.buckets.lake] : "${arn}/*"]
  }
}

# Raw is denied outright, so that no further policy, attached in haste, opens it.
data "aws_iam_policy_document" "reader" {
  for_each                = var.readers
  source_policy_documents = [data.aws_iam_policy_document.query[each.key].json]
  statement {
    sid     = "NeverRaw"
    effect  = "Deny"
    actions = ["s3:*"]
    resources = flatten([
      for arn in [var.buckets.raw, var.buckets.quarantine] : [arn, "${arn}/*"]
    ])
  }
  statement {
    sid       = "NeverTheCatalogOfRaw"
    effect    = "Deny"
    actions   = ["glue:*"]
    resources = ["${local.glue}:database/${var.databases.raw}", "${local.glue}:table/${var.databases.raw}/*"]
  }
  statement {
    sid       = "NeverTheStreamOrSecrets"
    effect    = "Deny"
    actions   = ["kinesis:*", "secretsmanager:*"]
    resources = distinct(concat([var.stream_arn], values(var.secrets)))
  }
}

resource "aws_iam_role" "reader" {
  for_each           = var.readers
  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.people_trust[each.key].json
}

resource "aws_iam_role_policy" "reader" {
  for_each = var.readers
  name     = "reader"
  role     = aws_iam_role.reader[each.key].id
  policy   = data.aws_iam_policy_document.reader[each.key].json
}
