# Debezium Server on Fargate. Its offsets lie on EFS: lost, they would mean a new snapshot.
locals {
  is_debezium     = var.kind == "debezium" ? 1 : 0
  debezium_tables = join(",", [for table in var.tables : "${table.schema}.${table.name}"])
  debezium_settings = {
    DEBEZIUM_SINK_TYPE           = "kinesis"
    DEBEZIUM_SINK_KINESIS_REGION = var.account.region
    # Of a batch the sink sends refused records again behind later ones; a heartbeat must not overtake a change.
    DEBEZIUM_SINK_KINESIS_BATCH_SIZE             = "1"
    DEBEZIUM_SOURCE_CONNECTOR_CLASS              = "io.debezium.connector.postgresql.PostgresConnector"
    DEBEZIUM_SOURCE_OFFSET_STORAGE_FILE_FILENAME = "/debezium/data/offsets.dat"
    DEBEZIUM_SOURCE_OFFSET_FLUSH_INTERVAL_MS     = "1000"
    DEBEZIUM_SOURCE_DATABASE_HOSTNAME            = var.database.host
    DEBEZIUM_SOURCE_DATABASE_PORT                = tostring(var.database.port)
    DEBEZIUM_SOURCE_DATABASE_DBNAME              = var.database.name
    DEBEZIUM_SOURCE_DATABASE_SSLMODE             = "require"
    DEBEZIUM_SOURCE_TOPIC_PREFIX                 = "cdc"
    DEBEZIUM_SOURCE_PLUGIN_NAME                  = "pgoutput"
    DEBEZIUM_SOURCE_SLOT_NAME                    = var.database.slot
    DEBEZIUM_SOURCE_PUBLICATION_NAME             = var.database.slot
    DEBEZIUM_SOURCE_PUBLICATION_AUTOCREATE_MODE  = "filtered"
    DEBEZIUM_SOURCE_TABLE_INCLUDE_LIST           = local.debezium_tables
    # Truncates are skipped unless this says otherwise; numbers would be rounded to doubles.
    DEBEZIUM_SOURCE_SKIPPED_OPERATIONS    = "none"
    DEBEZIUM_SOURCE_DECIMAL_HANDLING_MODE = "string"
    # Evidence that the log was read up to now although nothing changed; it comes to one shard alone.
    DEBEZIUM_SOURCE_HEARTBEAT_INTERVAL_MS  = "5000"
    DEBEZIUM_SOURCE_HEARTBEAT_ACTION_QUERY = "SELECT pg_logical_emit_message(true, 'cdc.heartbeat', '')"
    # A composite key with its schema is longer than a partition key may be.
    DEBEZIUM_FORMAT_SCHEMAS_ENABLE     = "false"
    DEBEZIUM_FORMAT_KEY_SCHEMAS_ENABLE = "false"
    # One stream for all: Debezium would name one after each table (cdc.public.Usu_rios).
    DEBEZIUM_TRANSFORMS                   = "route"
    DEBEZIUM_TRANSFORMS_ROUTE_TYPE        = "org.apache.kafka.connect.transforms.RegexRouter"
    DEBEZIUM_TRANSFORMS_ROUTE_REGEX       = ".*"
    DEBEZIUM_TRANSFORMS_ROUTE_REPLACEMENT = var.stream.name
    QUARKUS_LOG_CONSOLE_JSON              = "false"
  }
}

data "aws_iam_policy_document" "debezium_trust" {
  count = local.is_debezium
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account.id]
    }
  }
}

data "aws_iam_policy_document" "debezium" {
  count = local.is_debezium
  statement {
    sid       = "PutToTheStream"
    actions   = ["kinesis:PutRecords", "kinesis:DescribeStream"]
    resources = [var.stream.arn]
  }
  statement {
    sid       = "Offsets"
    actions   = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
    resources = [aws_efs_file_system.offsets[0].arn]
  }
  statement {
    sid       = "EncryptTheStream"
    actions   = ["kms:GenerateDataKey"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["kinesis.${var.account.region}.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "debezium_start" {
  count = local.is_debezium
  statement {
    sid       = "SignInToTheRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
  statement {
    sid       = "PullTheImage"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = var.debezium.images_arn
  }
  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.debezium[0].arn}:*"]
  }
  statement {
    sid       = "DatabaseSecret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.database.secret_arn]
  }
  statement {
    sid       = "DatabaseSecretKey"
    actions   = ["kms:Decrypt"]
    resources = [var.key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${var.account.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "debezium" {
  for_each           = local.is_debezium == 1 ? { "" = data.aws_iam_policy_document.debezium[0].json, "-start" = data.aws_iam_policy_document.debezium_start[0].json } : {}
  name               = "${var.name}-debezium${each.key}"
  assume_role_policy = data.aws_iam_policy_document.debezium_trust[0].json
}

resource "aws_iam_role_policy" "debezium" {
  for_each = aws_iam_role.debezium
  name     = "debezium"
  role     = each.value.id
  policy   = each.key == "" ? data.aws_iam_policy_document.debezium[0].json : data.aws_iam_policy_document.debezium_start[0].json
}

resource "aws_efs_file_system" "offsets" {
  count          = local.is_debezium
  creation_token = "${var.name}-debezium-offsets"
  encrypted      = true
  kms_key_id     = var.key_arn
  tags           = { Name = "${var.name}-debezium-offsets" }
}

resource "aws_security_group" "offsets" {
  count       = local.is_debezium
  name        = "${var.name}-debezium-offsets"
  description = "NFS from the tasks to Debezium's offsets"
  vpc_id      = var.network.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "offsets" {
  count                        = local.is_debezium
  security_group_id            = aws_security_group.offsets[0].id
  description                  = "NFS from tasks"
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
  referenced_security_group_id = var.network.security_group_id
}

resource "aws_vpc_security_group_egress_rule" "offsets" {
  count                        = local.is_debezium
  security_group_id            = var.network.security_group_id
  description                  = "NFS to Debezium's offsets"
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
  referenced_security_group_id = aws_security_group.offsets[0].id
}

resource "aws_efs_mount_target" "offsets" {
  count           = local.is_debezium * length(var.network.subnet_ids)
  file_system_id  = aws_efs_file_system.offsets[0].id
  subnet_id       = var.network.subnet_ids[count.index]
  security_groups = [aws_security_group.offsets[0].id]
}

resource "aws_efs_access_point" "offsets" {
  count          = local.is_debezium
  file_system_id = aws_efs_file_system.offsets[0].id
  posix_user {
    uid = 185
    gid = 185
  }
  root_directory {
    path = "/debezium"
    creation_info {
      owner_uid   = 185
      owner_gid   = 185
      permissions = "700"
    }
  }
}

resource "aws_cloudwatch_log_group" "debezium" {
  #checkov:skip=CKV_AWS_338:logs hold no rows and are read for days, not for a year; their storage is charged for
  count             = local.is_debezium
  name              = "/${var.name}/debezium"
  retention_in_days = var.debezium.log_kept_days
  kms_key_id        = var.key_arn
}

resource "aws_ecs_task_definition" "debezium" {
  #checkov:skip=CKV_AWS_336:the image writes below its own folder, and is not ours; what must last lies on EFS
  count                    = local.is_debezium
  family                   = "${var.name}-debezium"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 512
  memory                   = 1024
  task_role_arn            = aws_iam_role.debezium[""].arn
  execution_role_arn       = aws_iam_role.debezium["-start"].arn

  runtime_platform {
    cpu_architecture        = "ARM64"
    operating_system_family = "LINUX"
  }

  volume {
    name = "offsets"
    efs_volume_configuration {
      file_system_id     = aws_efs_file_system.offsets[0].id
      transit_encryption = "ENABLED"
      authorization_config {
        access_point_id = aws_efs_access_point.offsets[0].id
        iam             = "ENABLED"
      }
    }
  }

  container_definitions = jsonencode([{
    name        = "debezium"
    image       = var.debezium.image
    essential   = true
    stopTimeout = 60
    environment = [for variable, value in local.debezium_settings : { name = variable, value = value }]
    secrets = [
      { name = "DEBEZIUM_SOURCE_DATABASE_USER", valueFrom = "${var.database.secret_arn}:username::" },
      { name = "DEBEZIUM_SOURCE_DATABASE_PASSWORD", valueFrom = "${var.database.secret_arn}:password::" },
    ]
    mountPoints = [{ sourceVolume = "offsets", containerPath = "/debezium/data", readOnly = false }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.debezium[0].name
        awslogs-region        = var.account.region
        awslogs-stream-prefix = "task"
      }
    }
  }])
}

resource "aws_ecs_service" "debezium" {
  #checkov:skip=CKV_AWS_333:a public address without inbound rules instead of a NAT gateway that costs ten times as much (docs/adr/0025)
  count                              = local.is_debezium
  name                               = "debezium"
  cluster                            = var.debezium.cluster
  task_definition                    = aws_ecs_task_definition.debezium[0].arn
  desired_count                      = 1
  launch_type                        = "FARGATE"
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100

  network_configuration {
    subnets          = var.network.subnet_ids
    security_groups  = [var.network.security_group_id]
    assign_public_ip = true
  }

  depends_on = [aws_efs_mount_target.offsets]
}
