# Who operates, who may look at single records, and the nightly proof.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

variables {
  environment   = "production"
  region        = "us-east-1"
  lake_database = "lake"
  image_tag     = "0.1.0"
}

run "without_a_schedule_nobody_waits_for_a_proof" {
  command = plan
  variables {
    reconcile_schedule = null
  }
  assert {
    condition     = length(module.proof) == 0 && length([for alarm in output.alarms : alarm if startswith(alarm, "proof-old/")]) == 0
    error_message = "the alarm follows the schedule"
  }
}

run "a_schedule_is_as_the_scheduler_writes_it" {
  command = plan
  variables {
    reconcile_schedule = "30 3 * * *"
  }
  expect_failures = [var.reconcile_schedule]
}

run "dms_cannot_be_compared_with" {
  command = plan
  variables {
    source_kind     = "dms"
    source_database = { name = "app" }
  }
  assert {
    condition     = length(module.proof) == 0 && length([for alarm in output.alarms : alarm if startswith(alarm, "proof-old/")]) == 0
    error_message = "what sends no heartbeats cannot be proven, and nobody is told so every week"
  }
  assert {
    condition     = !contains(keys(output.secrets), "comparison")
    error_message = "a secret that nobody reads costs"
  }
}

run "a_replica_has_a_secret_of_its_own" {
  command = plan
  override_resource {
    target          = aws_secretsmanager_secret.comparison
    values          = { arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:replica" }
    override_during = plan
  }
  variables {
    reconcile = { has_own_secret = true }
  }
  assert {
    condition     = contains(keys(output.secrets), "comparison") && local.tasks.reconcile.secrets.CDC_DATABASE == "arn:aws:secretsmanager:us-east-1:123456789012:secret:replica"
    error_message = "the task is handed the replica's DSN"
  }
}

run "the_publishers_dsn_will_do" {
  command = plan
  override_resource {
    target          = aws_secretsmanager_secret.this
    values          = { arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:d" }
    override_during = plan
  }
  assert {
    condition     = !contains(keys(output.secrets), "comparison") && local.tasks.reconcile.secrets.CDC_DATABASE == "arn:aws:secretsmanager:us-east-1:123456789012:secret:d"
    error_message = "a second secret costs, and is made where it is asked for"
  }
  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.this : secret.recovery_window_in_days == 30])
    error_message = "what is protected can be had again for a month"
  }
}

run "what_is_not_protected_leaves_its_names_free" {
  command = plan
  variables {
    is_protected = false
    reconcile    = { has_own_secret = true }
  }
  assert {
    condition = alltrue([
      for secret in concat(values(aws_secretsmanager_secret.this), aws_secretsmanager_secret.comparison) : secret.recovery_window_in_days == 0
    ])
    error_message = "an environment that went can be made again at once"
  }
}

run "debeziums_secret_is_no_dsn" {
  command = plan
  variables {
    source_kind     = "debezium"
    source_database = { name = "app" }
  }
  assert {
    condition     = contains(keys(output.secrets), "comparison") && length(module.proof) == 1
    error_message = "the comparison has a DSN of its own"
  }
}

run "proof" {
  command = plan
  module {
    source = "./modules/proof"
  }
  variables {
    name            = "usuarios-cdc-x"
    cron            = "cron(30 3 * * ? *)"
    time_zone       = "America/Sao_Paulo"
    cluster_arn     = "arn:aws:ecs:us-east-1:123456789012:cluster/c"
    definition_arn  = "arn:aws:ecs:us-east-1:123456789012:task-definition/usuarios-cdc-x-reconcile:1"
    role_arn        = "arn:aws:iam::123456789012:role/s"
    network         = { subnet_ids = ["subnet-1"], security_group_id = "sg-1" }
    alarm_topic_arn = "arn:aws:sns:us-east-1:123456789012:t"
  }
  assert {
    condition     = aws_scheduler_schedule.proof.schedule_expression_timezone == "America/Sao_Paulo" && aws_scheduler_schedule.proof.target[0].ecs_parameters[0].task_definition_arn == var.definition_arn
    error_message = "the proof runs at the hour of those who work there"
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.not_run.event_pattern).detail["$or"][0].containers.exitCode[0]["anything-but"] == [0]
    error_message = "a run that is no proof is told, whatever it ended with"
  }
}

run "a_reader_is_not_called_operator" {
  command = plan
  variables {
    readers = { operator = {} }
  }
  expect_failures = [var.readers]
}

run "investigators_are_asked_for_a_second_factor" {
  command = plan
  module {
    source = "./modules/roles"
  }
  variables {
    name          = "usuarios-cdc-x"
    account       = { partition = "aws", region = "us-east-1", id = "123456789012" }
    buckets       = { raw = "arn:aws:s3:::r", quarantine = "arn:aws:s3:::q", lake = "arn:aws:s3:::l", results = "arn:aws:s3:::s" }
    stream_arn    = "arn:aws:kinesis:us-east-1:123456789012:stream/s"
    leases_arn    = "arn:aws:dynamodb:us-east-1:123456789012:table/l"
    key_arn       = "arn:aws:kms:us-east-1:123456789012:key/k"
    databases     = { lake = "lake", raw = "lake_raw" }
    secrets       = { pii_key = "arn:aws:secretsmanager:us-east-1:123456789012:secret:p", database = "arn:aws:secretsmanager:us-east-1:123456789012:secret:d", comparison = "arn:aws:secretsmanager:us-east-1:123456789012:secret:d" }
    images_arn    = []
    readers       = { analyst = { principals = [] } }
    operators     = []
    investigators = ["arn:aws:iam::123456789012:user/privacy"]
  }
  assert {
    condition     = length(aws_iam_role.investigator) == 1 && aws_iam_role.investigator[0].max_session_duration == 3600
    error_message = "the role is made where somebody is named, for an hour at a time"
  }
  assert {
    condition = [
      for statement in data.aws_iam_policy_document.investigator_trust.statement : [
        for condition in statement.condition : "${condition.variable}=${join("", condition.values)}"
      ]
    ] == [["aws:MultiFactorAuthPresent=true"]]
    error_message = "nobody takes it without a second factor"
  }
  assert {
    condition = alltrue([
      for document in [
        data.aws_iam_policy_document.operator, data.aws_iam_policy_document.investigator, data.aws_iam_policy_document.reader["analyst"],
      ] : length(setintersection(document.statement[*].sid, data.aws_iam_policy_document.query["operator"].statement[*].sid)) == 0
    ])
    error_message = "a statement takes the place of one of the same sid in the document that it is made of"
  }
}
