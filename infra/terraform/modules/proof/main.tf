# The nightly proof: a schedule that runs `cdc reconcile` as a task. What it finds it states on the tables and tells CloudWatch; a task that
# ended otherwise is told here.
variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "cron" {
  description = "When, as EventBridge Scheduler writes it."
  type        = string
}

variable "time_zone" {
  description = "The time zone that the cron expression is meant in."
  type        = string
}

variable "cluster_arn" {
  description = "The cluster that the task runs in."
  type        = string
}

variable "definition_arn" {
  description = "The task's definition."
  type        = string
}

variable "role_arn" {
  description = "The role that starts it."
  type        = string
}

variable "network" {
  description = "Where the task runs."
  type        = object({ subnet_ids = list(string), security_group_id = string })
}

variable "alarm_topic_arn" {
  description = "Where is told that it could not run."
  type        = string
}

resource "aws_scheduler_schedule" "proof" {
  #checkov:skip=CKV_AWS_297:a schedule holds names and no record; a key of ours would be one more way for the proof not to run
  name                         = "${var.name}-reconcile"
  description                  = "Compares every row of the source with the lake"
  schedule_expression          = var.cron
  schedule_expression_timezone = var.time_zone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = var.cluster_arn
    role_arn = var.role_arn

    ecs_parameters {
      task_definition_arn = var.definition_arn
      launch_type         = "FARGATE"
      task_count          = 1
      propagate_tags      = "TASK_DEFINITION"
      network_configuration {
        subnets          = var.network.subnet_ids
        security_groups  = [var.network.security_group_id]
        assign_public_ip = true
      }
    }

    # A night without room for the task, or without ECS, is tried again for an hour; then the next night.
    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 10
    }
  }
}

# 0 is equal. Anything else is told, 1 as well: a run that found differences tells it itself, one of a broken image ends with 1 and tells
# nothing. Wrong settings end with 2, killed for memory is 137; without image or secret it never starts.
resource "aws_cloudwatch_event_rule" "not_run" {
  name        = "${var.name}-reconcile-not-run"
  description = "The nightly proof did not end as one"
  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail = {
      clusterArn = [var.cluster_arn]
      group      = ["family:${var.name}-reconcile"]
      lastStatus = ["STOPPED"]
      "$or" = [
        { containers = { exitCode = [{ "anything-but" = [0] }] } },
        { stopCode = ["TaskFailedToStart"] },
      ]
    }
  })
}

resource "aws_cloudwatch_event_target" "not_run" {
  rule = aws_cloudwatch_event_rule.not_run.name
  arn  = var.alarm_topic_arn
}

output "schedule" {
  value = aws_scheduler_schedule.proof.name
}
