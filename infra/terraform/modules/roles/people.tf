# Those who query, and those who operate.

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

# Readers have no right to a file of the lake: Lake Formation hands out what its grants allow, column by column. Raw is denied outright, so
# that no further policy, attached in haste, opens it.
data "aws_iam_policy_document" "reader" {
  for_each = var.readers
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
    sid       = "List"
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
    resources = [var.stream_arn, var.secrets.pii_key, var.secrets.database]
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

# The operator's tool `cdc`: looks at everything, puts records back, records epochs, moves what was put back aside in the
# quarantine. It deletes nothing of raw and writes nothing to the lake: the compactor is its only writer.
data "aws_iam_policy_document" "operator" {
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = ["${var.buckets.raw}/raw/*", "${var.buckets.quarantine}/quarantine/*", "${var.buckets.lake}/warehouse/*"]
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
    actions   = ["glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:GetPartitions"]
    resources = concat(local.lake_glue, ["${local.glue}:database/${var.databases.raw}", "${local.glue}:table/${var.databases.raw}/*"])
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

resource "aws_iam_role" "operator" {
  name               = "${var.name}-operator"
  assume_role_policy = data.aws_iam_policy_document.people_trust["operator"].json
}

resource "aws_iam_role_policy" "operator" {
  name   = "operator"
  role   = aws_iam_role.operator.id
  policy = data.aws_iam_policy_document.operator.json
}
