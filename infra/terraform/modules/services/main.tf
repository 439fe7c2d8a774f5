# The programs on Fargate, and tasks that run once. Each program can be killed at any moment (docs/architecture.md), which is why spare
# capacity will do for those that hold nothing back at the source.
locals {
  http_port = 8080
  # A task runs its command, and nobody asks whether it is well.
  defined = merge(
    { for name, its in var.programs : name => merge(its, { command = ["run"], is_asked = true }) },
    { for name, its in var.tasks : name => merge(its, { is_asked = false }) },
  )
}

resource "aws_ecs_cluster" "this" {
  #checkov:skip=CKV_AWS_65:Container Insights charge for metrics that the programs send themselves
  name = var.name
  setting {
    name  = "containerInsights"
    value = "disabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_cloudwatch_log_group" "program" {
  #checkov:skip=CKV_AWS_338:logs hold no rows and are read for days, not for a year; their storage is charged for
  for_each          = local.defined
  name              = "/${var.name}/${each.key}"
  retention_in_days = var.log_kept_days
  kms_key_id        = var.key_arn
}

resource "aws_ecs_task_definition" "program" {
  for_each                 = local.defined
  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory
  task_role_arn            = each.value.task_role_arn
  execution_role_arn       = each.value.start_role_arn

  runtime_platform {
    cpu_architecture        = "ARM64"
    operating_system_family = "LINUX"
  }

  container_definitions = jsonencode([merge({
    name                   = each.key
    image                  = each.value.image
    command                = each.value.command
    essential              = true
    user                   = "10001:10001"
    readonlyRootFilesystem = true
    linuxParameters        = { initProcessEnabled = true, capabilities = { drop = ["ALL"], add = [] } }
    stopTimeout            = 90
    environment = [
      for variable, value in merge({
        AWS_REGION                 = var.region
        AWS_DEFAULT_REGION         = var.region
        CDC_METRICS                = "emf"
        CDC_METRICS_NAMESPACE      = var.name
        PYTHONUNBUFFERED           = "1"
        AWS_RETRY_MODE             = "standard"
        AWS_STS_REGIONAL_ENDPOINTS = "regional"
        }, {
        for key, value in { CDC_HTTP_HOST = "127.0.0.1", CDC_HTTP_PORT = tostring(local.http_port) } : key => value if each.value.is_asked
      }, each.value.environment) : { name = variable, value = value }
    ]
    secrets = [for variable, arn in each.value.secrets : { name = variable, valueFrom = arn }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.program[each.key].name
        awslogs-region        = var.region
        awslogs-stream-prefix = "task"
        # A log that cannot be delivered must not hold up the program.
        mode            = "non-blocking"
        max-buffer-size = "4m"
      }
    }
    },
    {
      for key, value in {
        healthCheck = {
          command     = ["CMD", "python3", "/opt/cdc/healthy.py"]
          interval    = 15
          timeout     = 5
          retries     = 4
          startPeriod = 120
        }
      } : key => value if each.value.is_asked
    },
  )])
}

resource "aws_ecs_service" "program" {
  #checkov:skip=CKV_AWS_333:a public address without inbound rules instead of a NAT gateway that costs ten times as much (docs/adr/0025)
  for_each        = var.programs
  name            = each.key
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.program[each.key].arn
  desired_count   = 1
  propagate_tags  = "TASK_DEFINITION" # the budget counts by tag

  # Of a single program there are never two at a time: the old one is stopped before the new one starts.
  deployment_minimum_healthy_percent = each.value.is_single ? 0 : 100
  deployment_maximum_percent         = each.value.is_single ? 100 : 200

  capacity_provider_strategy {
    capacity_provider = each.value.is_spot ? "FARGATE_SPOT" : "FARGATE"
    weight            = 1
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.network.subnet_ids
    security_groups  = [var.network.security_group_id]
    assign_public_ip = true
  }

  lifecycle {
    ignore_changes = [desired_count] # the consumer's is scaled; an operator may set the others to 0
  }

  depends_on = [aws_ecs_cluster_capacity_providers.this]
}

# A service whose new task never becomes healthy is rolled back; somebody should know.
locals {
  told_of = concat([for service in aws_ecs_service.program : service.id], var.other_services)
}

resource "aws_cloudwatch_event_rule" "deployment_failed" {
  name        = "${var.name}-deployment-failed"
  description = "A deployment of a service failed or a task could not be placed"
  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Deployment State Change", "ECS Service Action"]
    resources   = local.told_of
    detail      = { eventType = ["ERROR"] }
  })
}

resource "aws_cloudwatch_event_target" "deployment_failed" {
  rule = aws_cloudwatch_event_rule.deployment_failed.name
  arn  = var.alarm_topic_arn
}
