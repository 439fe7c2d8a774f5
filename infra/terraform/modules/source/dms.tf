# AWS DMS with the settings that docs/dms.md asks for: each one that is off makes records ambiguous.
locals {
  is_dms = var.kind == "dms" ? 1 : 0

  dms_table_mappings = {
    rules = concat(
      [for index, table in var.tables : {
        rule-type      = "selection"
        rule-id        = tostring(index + 1)
        rule-name      = "select-${index + 1}"
        object-locator = { schema-name = table.schema, table-name = table.name }
        rule-action    = "include"
        filters        = []
      }],
      # Order comes from positions; the key only spreads the load. It is readable in the partition key: not for tables
      # whose key is personal.
      [for index, table in var.tables : {
        rule-type          = "object-mapping"
        rule-id            = tostring(index + 1001)
        rule-name          = "map-${index + 1}"
        rule-action        = "map-record-to-record"
        object-locator     = { schema-name = table.schema, table-name = table.name }
        mapping-parameters = { partition-key-type = "primary-key" }
      }],
    )
  }

  dms_task_settings = {
    TargetMetadata = {
      # With Kinesis it may lose data (AWS's user guide).
      BatchApplyEnabled  = false
      SupportLobs        = true
      FullLobMode        = false
      LimitedSizeLobMode = true
      LobMaxSize         = var.dms.lob_max_kb
    }
    FullLoadSettings = { TargetTablePrepMode = "DO_NOTHING" }
    # Without it a primary-key change looks like an update of the new key, and the old row stays.
    BeforeImageSettings = { EnableBeforeImage = true, FieldName = "before-image", ColumnFilter = "pk-only" }
    ChangeProcessingDdlHandlingPolicy = {
      HandleSourceTableDropped   = true
      HandleSourceTableTruncated = true
      HandleSourceTableAltered   = true
    }
    ErrorBehavior = {
      # Nothing dropped: a task that cannot write a record stops, and the alarm for missing evidence says so.
      DataErrorPolicy           = "STOP_TASK"
      DataTruncationErrorPolicy = "STOP_TASK"
      TableErrorPolicy          = "STOP_TASK"
      ApplyErrorInsertPolicy    = "STOP_TASK"
      ApplyErrorUpdatePolicy    = "STOP_TASK"
      ApplyErrorDeletePolicy    = "STOP_TASK"
      FullLoadIgnoreConflicts   = false
    }
    Logging = { EnableLogging = true }
  }
}

data "aws_iam_policy_document" "dms_trust" {
  count = local.is_dms
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["dms.amazonaws.com", "dms.${var.account.region}.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account.id]
    }
  }
}

data "aws_iam_policy_document" "dms" {
  count = local.is_dms
  statement {
    sid       = "PutToTheStream"
    actions   = ["kinesis:PutRecord", "kinesis:PutRecords", "kinesis:DescribeStream"]
    resources = [var.stream.arn]
  }
  statement {
    sid       = "DatabaseSecret"
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    resources = [var.database.secret_arn]
  }
  statement {
    sid       = "Key"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [for service in ["kinesis", "secretsmanager"] : "${service}.${var.account.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "dms" {
  count              = local.is_dms
  name               = "${var.name}-dms"
  assume_role_policy = data.aws_iam_policy_document.dms_trust[0].json
}

resource "aws_iam_role_policy" "dms" {
  count  = local.is_dms
  name   = "dms"
  role   = aws_iam_role.dms[0].id
  policy = data.aws_iam_policy_document.dms[0].json
}

# AWS wants this role under this very name, once an account.
data "aws_iam_policy_document" "dms_vpc_trust" {
  count = local.is_dms
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["dms.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "dms_vpc" {
  count              = local.is_dms == 1 && !var.dms.is_vpc_role_made ? 1 : 0
  name               = "dms-vpc-role"
  assume_role_policy = data.aws_iam_policy_document.dms_vpc_trust[0].json
}

resource "aws_iam_role_policy_attachment" "dms_vpc" {
  count      = local.is_dms == 1 && !var.dms.is_vpc_role_made ? 1 : 0
  role       = aws_iam_role.dms_vpc[0].name
  policy_arn = "arn:${var.account.partition}:iam::aws:policy/service-role/AmazonDMSVPCManagementRole"
}

resource "aws_dms_replication_subnet_group" "this" {
  count                                = local.is_dms
  replication_subnet_group_id          = var.name
  replication_subnet_group_description = "Replication of ${var.name}"
  subnet_ids                           = var.network.subnet_ids
  depends_on                           = [aws_iam_role_policy_attachment.dms_vpc]
}

resource "aws_dms_replication_instance" "this" {
  #checkov:skip=CKV_AWS_89:its security group has no inbound rule; without a public address it would need a NAT gateway or endpoints (docs/adr/0025)
  count                        = local.is_dms
  replication_instance_id      = var.name
  replication_instance_class   = var.dms.instance_class
  allocated_storage            = 50
  multi_az                     = false
  publicly_accessible          = true
  auto_minor_version_upgrade   = true
  kms_key_arn                  = var.key_arn
  replication_subnet_group_id  = aws_dms_replication_subnet_group.this[0].id
  vpc_security_group_ids       = [var.network.security_group_id]
  preferred_maintenance_window = "sun:06:00-sun:07:00"
}

resource "aws_dms_endpoint" "source" {
  #checkov:skip=CKV2_AWS_49:verify-full needs the database's own certificate, which is imported by hand (docs/aws.md); TLS is required
  count                           = local.is_dms
  endpoint_id                     = "${var.name}-source"
  endpoint_type                   = "source"
  kms_key_arn                     = var.key_arn
  engine_name                     = "postgres"
  database_name                   = var.database.name
  secrets_manager_arn             = var.database.secret_arn
  secrets_manager_access_role_arn = aws_iam_role.dms[0].arn
  ssl_mode                        = "require"

  postgres_settings {
    # Replica identity FULL is read by test_decoding only.
    plugin_name                  = var.dms.has_full_images ? "test_decoding" : "pglogical"
    slot_name                    = var.database.slot
    heartbeat_enable             = true
    capture_ddls                 = true
    fail_tasks_on_lob_truncation = true
  }
}

resource "aws_dms_endpoint" "target" {
  #checkov:skip=CKV2_AWS_49:DMS speaks to Kinesis over TLS and takes no ssl_mode for it
  count         = local.is_dms
  endpoint_id   = "${var.name}-target"
  endpoint_type = "target"
  kms_key_arn   = var.key_arn
  engine_name   = "kinesis"

  kinesis_settings {
    stream_arn                     = var.stream.arn
    service_access_role_arn        = aws_iam_role.dms[0].arn
    message_format                 = "json-unformatted"
    include_transaction_details    = true
    include_null_and_empty         = true
    include_control_details        = true
    include_table_alter_operations = true
    include_partition_value        = true
    partition_include_schema_table = false
    use_large_integer_value        = true # otherwise a large bigint comes in scientific notation, digits lost
  }
}

resource "aws_dms_replication_task" "this" {
  count                     = local.is_dms
  replication_task_id       = var.name
  migration_type            = "full-load-and-cdc"
  replication_instance_arn  = aws_dms_replication_instance.this[0].replication_instance_arn
  source_endpoint_arn       = aws_dms_endpoint.source[0].endpoint_arn
  target_endpoint_arn       = aws_dms_endpoint.target[0].endpoint_arn
  table_mappings            = jsonencode(local.dms_table_mappings)
  replication_task_settings = jsonencode(local.dms_task_settings)
  # Started by a person, once: a restart instead of a resume loads all anew (docs/epochs.md).
  start_replication_task = false

  lifecycle {
    ignore_changes = [replication_task_settings] # DMS gives back more than it was told; change them here and replace the task
  }
}
