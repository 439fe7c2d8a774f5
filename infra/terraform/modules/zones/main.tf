# The buckets: raw (personal data in clear), quarantine (the same), lake (masked), results (of queries).
#
# What expires is named by prefix, so that nothing expires by being forgotten here: below raw/, `_schemas` and `_epochs` are read for as long
# as raw holds anything (docs/raw-format.md), and `_tips` are one object a shard.
locals {
  expiring = {
    raw = {
      # A batch record goes a day before its objects: an object that no batch record names is never read, a batch record
      # whose object is gone would stop a rebuild.
      objects       = { prefix = "raw/postgres/", days = var.kept_days.raw }
      batch-records = { prefix = "raw/_batches/", days = var.kept_days.raw - 1 }
    }
    quarantine = {
      all = { prefix = "quarantine/", days = var.kept_days.quarantine }
    }
    lake = {}
    results = {
      all = { prefix = "", days = var.kept_days.results }
    }
  }
  # Tips alone are written over.
  unchanging = {
    raw        = ["raw/postgres/", "raw/_batches/", "raw/_epochs/", "raw/_schemas/"]
    quarantine = ["quarantine/"]
  }
}

resource "aws_s3_bucket" "zone" {
  #checkov:skip=CKV_AWS_18:access logs would name every object once more; CloudTrail's data events are the audit where one is asked for
  #checkov:skip=CKV_AWS_144:a copy in another region is another place of personal data; the source can be read anew
  #checkov:skip=CKV2_AWS_62:nothing listens to events: what is new is one listing (docs/raw-format.md)
  for_each      = var.names
  bucket        = each.value
  force_destroy = var.is_force_destroyed
}

resource "aws_s3_bucket_ownership_controls" "zone" {
  for_each = aws_s3_bucket.zone
  bucket   = each.value.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "zone" {
  for_each                = aws_s3_bucket.zone
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "zone" {
  for_each = aws_s3_bucket.zone
  bucket   = each.value.id
  versioning_configuration {
    status = "Enabled"
  }
}

# With bucket keys S3 asks KMS once in a while instead of for every object; the encryption context is then the bucket's ARN.
resource "aws_s3_bucket_server_side_encryption_configuration" "zone" {
  for_each = aws_s3_bucket.zone
  bucket   = each.value.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "zone" {
  for_each   = aws_s3_bucket.zone
  bucket     = each.value.id
  depends_on = [aws_s3_bucket_versioning.zone]

  # Without it what is deleted, an erased person's rows too, would stay as a noncurrent version for ever.
  rule {
    id     = "noncurrent"
    status = "Enabled"
    filter {
      prefix = ""
    }
    noncurrent_version_expiration {
      noncurrent_days = var.kept_days.noncurrent
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  rule {
    id     = "delete-markers"
    status = "Enabled"
    filter {
      prefix = ""
    }
    expiration {
      expired_object_delete_marker = true
    }
  }

  dynamic "rule" {
    for_each = local.expiring[each.key]
    content {
      id     = rule.key
      status = "Enabled"
      filter {
        prefix = rule.value.prefix
      }
      expiration {
        days = rule.value.days
      }
    }
  }
}

data "aws_iam_policy_document" "zone" {
  for_each = aws_s3_bucket.zone
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [each.value.arn, "${each.value.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
  # Raw and quarantine never change. The programs write with If-None-Match; here nobody can write without it, whatever role is theirs.
  dynamic "statement" {
    for_each = { for zone, prefixes in local.unchanging : zone => prefixes if zone == each.key }
    content {
      sid       = "NeverChanges"
      effect    = "Deny"
      actions   = ["s3:PutObject"]
      resources = [for prefix in statement.value : "${each.value.arn}/${prefix}*"]
      principals {
        type        = "*"
        identifiers = ["*"]
      }
      condition {
        test     = "Null"
        variable = "s3:if-none-match"
        values   = ["true"]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "zone" {
  for_each   = aws_s3_bucket.zone
  bucket     = each.value.id
  policy     = data.aws_iam_policy_document.zone[each.key].json
  depends_on = [aws_s3_bucket_public_access_block.zone]
}
