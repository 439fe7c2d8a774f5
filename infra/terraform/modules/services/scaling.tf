# Consumers follow how far reading is behind: the age of the last record read, over all shards. Workers share shards by their leases, so one
# more or less needs nothing but to be started or stopped.
locals {
  scaling = {
    out = { comparison = "GreaterThanThreshold", threshold_milliseconds = 60000, periods = 3, step = 1, rest_seconds = 120 }
    in  = { comparison = "LessThanThreshold", threshold_milliseconds = 5000, periods = 15, step = -1, rest_seconds = 600 }
  }
}

resource "aws_appautoscaling_target" "consumer" {
  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.program["consumer"].name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = 1
  max_capacity       = var.consumers_max
}

resource "aws_appautoscaling_policy" "consumer" {
  for_each           = local.scaling
  name               = "${var.name}-consumer-${each.key}"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.consumer.service_namespace
  resource_id        = aws_appautoscaling_target.consumer.resource_id
  scalable_dimension = aws_appautoscaling_target.consumer.scalable_dimension

  step_scaling_policy_configuration {
    adjustment_type = "ChangeInCapacity"
    cooldown        = each.value.rest_seconds
    step_adjustment {
      scaling_adjustment          = each.value.step
      metric_interval_lower_bound = each.key == "out" ? 0 : null
      metric_interval_upper_bound = each.key == "in" ? 0 : null
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "scaling" {
  for_each            = local.scaling
  alarm_name          = "${var.name}-consumer-${each.key}"
  alarm_description   = "Scales the consumer ${each.key}; no alarm for people"
  namespace           = "AWS/Kinesis"
  metric_name         = "GetRecords.IteratorAgeMilliseconds"
  dimensions          = { StreamName = var.stream_name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold_milliseconds
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.consumer[each.key].arn]
}
