# infra/alarms.yaml says what is watched; here it becomes CloudWatch alarms, one for each table, stream or service that it stands for.
locals {
  # What AWS charges is told in one region only; the budget below watches it in any.
  stated = { for alarm in var.alarms : alarm.name => alarm if try(alarm.namespace, "") != "AWS/Billing" }

  # Each dimension's values: those stated, or all that `*` stands for. At most two dimensions have a `*`.
  each_of = {
    for name, alarm in local.stated : name => [
      for dimension, value in alarm.dimensions : [
        for one in(value == "*" ? lookup(var.values, dimension, []) : [value]) : { (dimension) = one }
      ]
    ]
  }
  series = merge([
    for name, dimensions in local.each_of : {
      # setproduct wants two lists at least.
      for set in setproduct([{}], [{}], dimensions...) :
      join("/", concat([name], flatten([
        for pair in set : [for dimension, value in pair : value if local.stated[name].dimensions[dimension] == "*"]
        ]))) => {
        alarm      = local.stated[name]
        dimensions = merge(set...)
      }
    }
  ]...)
  # Of a source that does not run, and of programs that are not here, nothing is watched.
  watched = {
    for name, series in local.series : name => series
    if contains(concat(var.values["service"], var.services_run_once, [""]), lookup(series.dimensions, "service", ""))
  }
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.key_arn
}

data "aws_iam_policy_document" "topic" {
  statement {
    sid       = "Tell"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]
    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
  # A topic's policy with a condition is refused to EventBridge, which sends nothing to compare.
  statement {
    sid       = "TellOfEvents"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.topic.json
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = toset(var.emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "promise" {
  for_each            = local.watched
  alarm_name          = "${var.name}/${each.key}"
  alarm_description   = "${each.value.alarm.severity}: ${each.value.alarm.summary} ${var.runbook_url}#${each.value.alarm.name}"
  namespace           = try(each.value.alarm.namespace, var.name)
  metric_name         = each.value.alarm.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.alarm.statistic
  comparison_operator = each.value.alarm.comparison
  threshold           = lookup(var.thresholds, each.value.alarm.name, each.value.alarm.threshold)
  period              = each.value.alarm.period_seconds
  evaluation_periods  = each.value.alarm.evaluation_periods
  treat_missing_data  = each.value.alarm.treat_missing_data
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# Only our publisher tells how much log its slot holds back; of another producer's the database has to.
resource "aws_cloudwatch_metric_alarm" "slot" {
  count               = var.slot == null ? 0 : 1
  alarm_name          = "${var.name}/slot-growing/${var.slot}"
  alarm_description   = "page: A slot holds back more of the source's log than it should. ${var.runbook_url}#slot-growing"
  namespace           = "AWS/RDS"
  metric_name         = "OldestReplicationSlotLag"
  dimensions          = { DBInstanceIdentifier = var.slot }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 5368709120
  period              = 300
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# One chart for each alarm, with its threshold: what is watched is what is seen.
locals {
  charted = [for name in sort(keys(local.watched)) : merge(local.watched[name], { name = name })]
}

resource "aws_cloudwatch_dashboard" "this" {
  count          = var.is_dashboard_made ? 1 : 0
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [
      for index, chart in local.charted : {
        type   = "metric"
        x      = 8 * (index % 3)
        y      = 6 * floor(index / 3)
        width  = 8
        height = 6
        properties = {
          title  = chart.name
          region = var.region
          stat   = chart.alarm.statistic
          period = chart.alarm.period_seconds
          view   = "timeSeries"
          metrics = [concat(
            [try(chart.alarm.namespace, var.name), chart.alarm.metric],
            flatten([for dimension, value in chart.dimensions : [dimension, value]]),
          )]
          annotations = { horizontal = [{ label = "alarm", value = lookup(var.thresholds, chart.alarm.name, chart.alarm.threshold) }] }
        }
      }
    ]
  })
}

resource "aws_budgets_budget" "month" {
  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget.dollars_max)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:environment$%s", var.budget.environment)]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }
    content {
      notification_type          = notification.key
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_sns_topic_arns  = [aws_sns_topic.alarms.arn]
      subscriber_email_addresses = []
    }
  }
}

output "topic_arn" {
  value = aws_sns_topic.alarms.arn
}

output "alarm_names" {
  value = sort(concat(keys(local.watched), [for instance in compact([var.slot]) : "slot-growing/${instance}"]))
}

output "thresholds" {
  description = "The threshold of each alarm of the list, by its name."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.promise : name => alarm.threshold }
}
