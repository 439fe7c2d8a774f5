# The modules one by one, and the choices that variables offer.
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

run "zones" {
  # Mocked: what the provider works out itself is known only after an apply.
  command = apply
  module {
    source = "./modules/zones"
  }
  variables {
    names              = { raw = "r", quarantine = "q", lake = "l", results = "s" }
    key_arn            = "arn:aws:kms:us-east-1:123456789012:key/k"
    kept_days          = { raw = 90, quarantine = 90, results = 7, noncurrent = 7 }
    is_force_destroyed = false
  }

  assert {
    condition     = alltrue([for zone in aws_s3_bucket_versioning.zone : zone.versioning_configuration[0].status == "Enabled"])
    error_message = "every bucket is versioned"
  }
  assert {
    condition = alltrue([
      for zone in aws_s3_bucket_server_side_encryption_configuration.zone :
      alltrue([for rule in zone.rule : rule.bucket_key_enabled && rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"])
    ])
    error_message = "every bucket is encrypted with KMS and bucket keys"
  }
  assert {
    condition = alltrue([
      for zone in aws_s3_bucket_public_access_block.zone :
      zone.block_public_acls && zone.block_public_policy && zone.ignore_public_acls && zone.restrict_public_buckets
    ])
    error_message = "public access is blocked, in all four ways"
  }
  assert {
    condition = alltrue([
      for zone in aws_s3_bucket_lifecycle_configuration.zone :
      anytrue([for rule in zone.rule : length(rule.noncurrent_version_expiration) > 0 && rule.filter[0].prefix == ""])
    ])
    error_message = "noncurrent versions expire in every bucket, or an erasure would never be complete"
  }
  assert {
    condition = alltrue([
      for kept in ["raw/_schemas/s/1.json", "raw/_epochs/usuarios/00001-start.json", "raw/_tips/s/shard.json"] :
      !anytrue([
        for rule in aws_s3_bucket_lifecycle_configuration.zone["raw"].rule :
        startswith(kept, rule.filter[0].prefix) && anytrue([for expiration in rule.expiration : coalesce(expiration.days, 0) > 0])
      ])
    ])
    error_message = "_schemas, _epochs and _tips never expire"
  }
  assert {
    condition = one([
      for rule in aws_s3_bucket_lifecycle_configuration.zone["raw"].rule : rule.expiration[0].days if rule.filter[0].prefix == "raw/postgres/"
    ]) == 90
    error_message = "raw is kept for 90 days"
  }
  assert {
    condition = one([
      for rule in aws_s3_bucket_lifecycle_configuration.zone["raw"].rule : rule.expiration[0].days if rule.filter[0].prefix == "raw/_batches/"
    ]) == 89
    error_message = "a batch record goes before the objects that it names"
  }
  assert {
    condition = !anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.zone["lake"].rule : anytrue([for expiration in rule.expiration : coalesce(expiration.days, 0) > 0])
    ])
    error_message = "nothing that the lake's tables name expires by itself"
  }
}

run "leases" {
  command = plan
  module {
    source = "./modules/leases"
  }
  variables {
    name         = "leases"
    key_arn      = "arn:aws:kms:us-east-1:123456789012:key/k"
    is_protected = true
  }
  assert {
    condition     = aws_dynamodb_table.leases.point_in_time_recovery[0].enabled && aws_dynamodb_table.leases.deletion_protection_enabled
    error_message = "the lease table can be restored to any point in time, and not be deleted by mistake"
  }
  assert {
    condition     = aws_dynamodb_table.leases.billing_mode == "PAY_PER_REQUEST" && aws_dynamodb_table.leases.hash_key == "leaseKey"
    error_message = "the lease table is as the consumer would make it"
  }
}

run "stream" {
  command = plan
  module {
    source = "./modules/stream"
  }
  variables {
    name            = "usuarios"
    key_arn         = "arn:aws:kms:us-east-1:123456789012:key/k"
    mode            = "PROVISIONED"
    shards          = 1
    retention_hours = 24
  }
  assert {
    condition     = aws_kinesis_stream.this.encryption_type == "KMS" && aws_kinesis_stream.this.kms_key_id == var.key_arn
    error_message = "the stream is encrypted with our key"
  }
}

run "on_demand_has_no_shards" {
  command = plan
  module {
    source = "./modules/stream"
  }
  variables {
    name            = "usuarios"
    key_arn         = "arn:aws:kms:us-east-1:123456789012:key/k"
    mode            = "ON_DEMAND"
    shards          = 1
    retention_hours = 24
  }
  assert {
    condition     = aws_kinesis_stream.this.stream_mode_details[0].stream_mode == "ON_DEMAND"
    error_message = "the mode is handed on"
  }
}

run "retention_is_checked" {
  command = plan
  module {
    source = "./modules/stream"
  }
  variables {
    name            = "usuarios"
    key_arn         = "arn:aws:kms:us-east-1:123456789012:key/k"
    mode            = "PROVISIONED"
    shards          = 1
    retention_hours = 1
  }
  expect_failures = [var.retention_hours]
}

run "raw_tables" {
  command = plan
  # The table has not got the contract's newest column yet.
  override_data {
    target = data.aws_glue_catalog_table.rows
    values = {
      storage_descriptor = [{
        columns = [for name in ["id", "email", "cpf", "cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at", "cdc_op", "cdc_unchanged"] : { name = name }]
      }]
    }
  }
  module {
    source = "./modules/catalog"
  }
  variables {
    name                 = "usuarios-cdc-x"
    databases            = { lake = "lake", raw = "lake_raw" }
    tables               = { usuarios = { open_columns = ["id", "email", "new"] } }
    buckets              = { raw = "r", quarantine = "q", lake = "l", results = "s" }
    lake_arn             = "arn:aws:s3:::l"
    kept_days            = { raw = 90, quarantine = 30 }
    key_arn              = "arn:aws:kms:us-east-1:123456789012:key/k"
    roles                = { compactor = "arn:aws:iam::123456789012:role/c", lake_access = "arn:aws:iam::123456789012:role/l", tasks = { tool = "arn:aws:iam::123456789012:role/t", reconcile = "arn:aws:iam::123456789012:role/p", rebuild = "arn:aws:iam::123456789012:role/n" }, readers = { analyst = "arn:aws:iam::123456789012:role/a", cleared-analyst = "arn:aws:iam::123456789012:role/b", operator = "arn:aws:iam::123456789012:role/o" } }
    other_readers        = { redshift = "arn:aws:iam::123456789012:role/r" }
    readers              = { analyst = { is_cleared = false, query_bytes_max = 10737418240 }, cleared-analyst = { is_cleared = true, query_bytes_max = 10737418240 } }
    are_lake_tables_made = true
  }
  assert {
    condition     = aws_glue_catalog_table.raw["usuarios"].parameters["storage.location.template"] == "s3://r/raw/postgres/json/usuarios/$${day}/"
    error_message = "raw's partitions lie where docs/raw-format.md says"
  }
  assert {
    condition     = aws_glue_catalog_table.quarantine.parameters["storage.location.template"] == "s3://q/quarantine/$${reason}/$${day}/"
    error_message = "the quarantine's partitions lie where docs/raw-format.md says"
  }
  assert {
    condition     = aws_glue_catalog_table.quarantine.parameters["projection.day.range"] == "NOW-30DAYS,NOW"
    error_message = "days that expired are not looked for"
  }
  assert {
    condition     = toset(aws_lakeformation_permissions.reader_columns["analyst/usuarios"].table_with_columns[0].column_names) == toset(["id", "email", "cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at"])
    error_message = "analysts see the columns that are named for them, and no other"
  }
  assert {
    condition     = toset(aws_lakeformation_permissions.reader_columns["analyst/usuarios_history"].table_with_columns[0].column_names) == toset(["id", "email", "cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at", "cdc_op", "cdc_unchanged"])
    error_message = "in the history neither"
  }
  assert {
    condition     = toset(aws_lakeformation_permissions.reader_columns["redshift/usuarios"].table_with_columns[0].column_names) == toset(aws_lakeformation_permissions.reader_columns["analyst/usuarios"].table_with_columns[0].column_names)
    error_message = "Redshift sees what analysts see"
  }
  assert {
    condition = toset(values(aws_lakeformation_permissions.task_location)[*].principal) == toset([
      for task, permission in aws_lakeformation_permissions.task_tables : permission.principal if contains(permission.permissions, "ALTER")
    ])
    error_message = "whoever changes a table needs its place too"
  }
  assert {
    condition     = aws_lakeformation_permissions.operator_tables.permissions == toset(["DESCRIBE"])
    error_message = "operators see how far a table is, and of its rows no more than analysts"
  }
  assert {
    condition     = length(aws_lakeformation_permissions.raw_tables) == 0 && !contains(keys(aws_athena_workgroup.reader), "investigator")
    error_message = "without an investigator nobody reads raw"
  }
  assert {
    condition     = [for task, its in aws_lakeformation_permissions.task_tables : task if contains(its.permissions, "DROP")] == ["rebuild"]
    error_message = "only a rebuild takes a table's name away"
  }
  assert {
    condition     = aws_lakeformation_permissions.reader_columns["cleared-analyst/usuarios"].table_with_columns[0].wildcard == true
    error_message = "cleared analysts see all columns"
  }
  assert {
    condition     = alltrue([for group in aws_athena_workgroup.reader : group.configuration[0].enforce_workgroup_configuration])
    error_message = "nobody chooses where results lie, or how much is scanned"
  }
}

run "no_grants_before_the_tables" {
  command = plan
  module {
    source = "./modules/catalog"
  }
  variables {
    name                 = "usuarios-cdc-x"
    databases            = { lake = "lake", raw = "lake_raw" }
    tables               = { usuarios = { open_columns = ["id"] } }
    buckets              = { raw = "r", quarantine = "q", lake = "l", results = "s" }
    lake_arn             = "arn:aws:s3:::l"
    kept_days            = { raw = 90, quarantine = 30 }
    key_arn              = "arn:aws:kms:us-east-1:123456789012:key/k"
    roles                = { compactor = "arn:aws:iam::123456789012:role/c", lake_access = "arn:aws:iam::123456789012:role/l", tasks = { tool = "arn:aws:iam::123456789012:role/t", reconcile = "arn:aws:iam::123456789012:role/p", rebuild = "arn:aws:iam::123456789012:role/n" }, readers = { analyst = "arn:aws:iam::123456789012:role/a", operator = "arn:aws:iam::123456789012:role/o" } }
    readers              = { analyst = { is_cleared = false, query_bytes_max = 10737418240 } }
    are_lake_tables_made = false
  }
  assert {
    condition     = length(aws_lakeformation_permissions.reader_columns) == 0 && length(aws_lakeformation_permissions.reader_status) == 0
    error_message = "readers are granted nothing until the tables are there"
  }
}

run "services" {
  command = plan
  module {
    source = "./modules/services"
  }
  variables {
    name   = "usuarios-cdc-x"
    region = "us-east-1"
    programs = {
      consumer = {
        image          = "i"
        cpu            = 256
        memory         = 512
        is_spot        = true
        is_single      = false
        environment    = {}
        secrets        = {}
        task_role_arn  = "arn:aws:iam::123456789012:role/c"
        start_role_arn = "arn:aws:iam::123456789012:role/s"
      }
      compactor = {
        image          = "i"
        cpu            = 256
        memory         = 1024
        is_spot        = false
        is_single      = true
        environment    = {}
        secrets        = {}
        task_role_arn  = "arn:aws:iam::123456789012:role/c"
        start_role_arn = "arn:aws:iam::123456789012:role/s"
      }
    }
    network         = { subnet_ids = ["subnet-1"], security_group_id = "sg-1" }
    key_arn         = "arn:aws:kms:us-east-1:123456789012:key/k"
    log_kept_days   = 14
    consumers_max   = 4
    stream_name     = "usuarios"
    alarm_topic_arn = "arn:aws:sns:us-east-1:123456789012:t"
  }
  assert {
    condition     = aws_appautoscaling_target.consumer.min_capacity == 1 && aws_appautoscaling_target.consumer.max_capacity == 4
    error_message = "there is a consumer always, and at most one a shard"
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.scaling["out"].metric_name == "GetRecords.IteratorAgeMilliseconds" &&
      aws_cloudwatch_metric_alarm.scaling["out"].dimensions["StreamName"] == "usuarios" &&
      aws_appautoscaling_policy.consumer["out"].step_scaling_policy_configuration[0].cooldown == 120
    )
    error_message = "consumers follow the lag of the shards"
  }
  assert {
    condition     = aws_ecs_service.program["compactor"].deployment_maximum_percent == 100 && aws_ecs_service.program["consumer"].deployment_maximum_percent == 200
    error_message = "never two compactors; of consumers the new one begins before the old one ends"
  }
  assert {
    condition     = one(aws_ecs_service.program["consumer"].capacity_provider_strategy).capacity_provider == "FARGATE_SPOT" && one(aws_ecs_service.program["compactor"].capacity_provider_strategy).capacity_provider == "FARGATE"
    error_message = "capacity is as stated"
  }
}

run "dms" {
  command = plan
  module {
    source = "./modules/source"
  }
  variables {
    kind     = "dms"
    name     = "usuarios-cdc-x"
    account  = { partition = "aws", region = "us-east-1", id = "123456789012" }
    network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_id = "sg-1" }
    stream   = { name = "s", arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s" }
    key_arn  = "arn:aws:kms:us-east-1:123456789012:key/k"
    database = { host = "h", port = 5432, name = "app", secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:d", slot = "usuarios_cdc" }
    tables   = [{ schema = "public", name = "Usuários" }]
    dms      = { instance_class = "dms.t3.micro", lob_max_kb = 128, is_vpc_role_made = false, has_full_images = true }
    debezium = { image = "i", cluster = "c", images_arn = [], log_kept_days = 14 }
  }
  assert {
    condition = (
      aws_dms_endpoint.target[0].kinesis_settings[0].include_transaction_details &&
      aws_dms_endpoint.target[0].kinesis_settings[0].include_null_and_empty &&
      aws_dms_endpoint.target[0].kinesis_settings[0].message_format == "json-unformatted"
    )
    error_message = "records have positions, nulls are sent, one line each"
  }
  assert {
    condition     = jsondecode(aws_dms_replication_task.this[0].replication_task_settings).TargetMetadata.BatchApplyEnabled == false
    error_message = "batch apply may lose data with Kinesis"
  }
  assert {
    condition     = jsondecode(aws_dms_replication_task.this[0].replication_task_settings).BeforeImageSettings.EnableBeforeImage
    error_message = "without before images a key change leaves the old row"
  }
  assert {
    condition     = jsondecode(aws_dms_replication_task.this[0].replication_task_settings).TargetMetadata.LobMaxSize == 128
    error_message = "the limit is the one that the contract states"
  }
  assert {
    condition     = aws_dms_endpoint.target[0].kinesis_settings[0].use_large_integer_value
    error_message = "a bigint comes with all of its digits"
  }
  assert {
    condition     = aws_dms_endpoint.source[0].postgres_settings[0].plugin_name == "test_decoding"
    error_message = "full images need test_decoding"
  }
  assert {
    condition     = jsondecode(aws_dms_replication_task.this[0].table_mappings).rules[0]["object-locator"]["table-name"] == "Usuários"
    error_message = "the source table has its own name"
  }
  assert {
    condition     = length(aws_ecs_service.debezium) == 0
    error_message = "one producer at a time"
  }
}

run "debezium" {
  command = plan
  module {
    source = "./modules/source"
  }
  variables {
    kind     = "debezium"
    name     = "usuarios-cdc-x"
    account  = { partition = "aws", region = "us-east-1", id = "123456789012" }
    network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_id = "sg-1" }
    stream   = { name = "s", arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s" }
    key_arn  = "arn:aws:kms:us-east-1:123456789012:key/k"
    database = { host = "h", port = 5432, name = "app", secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:d", slot = "usuarios_cdc" }
    tables   = [{ schema = "public", name = "Usuários" }]
    dms      = { instance_class = "dms.t3.micro", lob_max_kb = 128, is_vpc_role_made = false, has_full_images = true }
    debezium = { image = "i", cluster = "c", images_arn = ["arn:aws:ecr:us-east-1:123456789012:repository/r"], log_kept_days = 14 }
  }
  assert {
    condition     = local.debezium_settings.DEBEZIUM_SOURCE_TABLE_INCLUDE_LIST == "public.Usuários" && local.debezium_settings.DEBEZIUM_SOURCE_DECIMAL_HANDLING_MODE == "string" && local.debezium_settings.DEBEZIUM_SOURCE_SKIPPED_OPERATIONS == "none"
    error_message = "numbers are exact, truncates are sent"
  }
  assert {
    condition     = aws_ecs_service.debezium[0].deployment_maximum_percent == 100
    error_message = "never two that share a slot"
  }
  assert {
    condition     = length(aws_dms_replication_task.this) == 0
    error_message = "one producer at a time"
  }
}

run "without_the_publisher_its_alarms_are_not_made" {
  command = plan
  variables {
    source_kind     = "dms"
    source_database = { name = "app", rds_instance = "app-1" }
  }
  assert {
    condition     = !contains(output.alarms, "slot-growing") && contains(output.alarms, "slot-growing/app-1")
    error_message = "a publisher that does not run is not watched; the database tells of the slot"
  }
  assert {
    condition     = !contains(output.alarms, "no-evidence") && !contains(output.alarms, "overdue/usuarios")
    error_message = "DMS sends no heartbeats, whose absence would always be told"
  }
  assert {
    condition     = toset(module.services.services) == toset(["consumer", "compactor"])
    error_message = "a publisher that is not the source does not run"
  }
}

run "database_in_another_vpc" {
  command = plan
  module {
    source = "./modules/network"
  }
  variables {
    name     = "usuarios-cdc-x"
    region   = "us-east-1"
    cidr     = "10.42.0.0/24"
    zones    = ["a", "b"]
    database = { port = 5432, vpc_id = "vpc-2", cidr = "10.1.0.0/16", route_table_ids = ["rtb-1"] }
  }
  assert {
    condition     = length(aws_vpc_peering_connection.database) == 1 && length(aws_route.from_database) == 1
    error_message = "there is a way to the database and back"
  }
  assert {
    condition     = aws_vpc_security_group_egress_rule.database.cidr_ipv4 == "10.1.0.0/16"
    error_message = "the database's port is open to the database alone"
  }
}

run "lake_database_has_no_underscore" {
  command = plan
  variables {
    lake_database = "lake_production"
  }
  expect_failures = [var.lake_database]
}

run "redshift_when_asked_for" {
  command = plan
  variables {
    redshift = { is_made = true }
    zones    = ["a", "b", "c"]
  }
  assert {
    condition     = length(module.redshift) == 1
    error_message = "there is a workgroup with an external schema"
  }
}

run "what_is_personal_and_in_clear_is_for_cleared_readers" {
  command = plan
  variables {
    contracts_folder = "tests/contracts"
  }
  assert {
    condition     = toset(local.tables["planted"].open_columns) == toset(["id", "confidential_masked", "restricted_masked"])
    error_message = "neither confidential nor restricted columns in clear are granted to every reader"
  }
}

run "restricted_columns_cannot_be_opened_by_a_variable" {
  command = plan
  variables {
    contracts_folder     = "tests/contracts"
    confidential_columns = { planted = [] }
  }
  assert {
    condition     = length(setintersection(local.tables["planted"].open_columns, ["restricted_clear", "restricted_unsaid"])) == 0
    error_message = "what is restricted and in clear stays with cleared readers"
  }
  assert {
    condition     = contains(local.tables["planted"].open_columns, "confidential_clear")
    error_message = "what is confidential can be opened by the variable"
  }
}

run "eventbridge_may_use_the_key" {
  command = plan
  module {
    source = "./modules/key"
  }
  variables {
    name       = "usuarios-cdc-x"
    region     = "us-east-1"
    account_id = "123456789012"
    partition  = "aws"
  }
  assert {
    condition = [
      for statement in data.aws_iam_policy_document.key.statement : length(statement.condition)
      if anytrue([for principal in statement.principals : contains(principal.identifiers, "events.amazonaws.com")])
    ] == [0]
    error_message = "EventBridge sends no account: a condition on it would refuse what is told of deployments"
  }
}

run "eventbridge_may_tell_the_topic" {
  command = plan
  module {
    source = "./modules/watch"
  }
  variables {
    name              = "usuarios-cdc-x"
    account_id        = "123456789012"
    region            = "us-east-1"
    alarms            = []
    runbook_url       = "r"
    values            = { service = [] }
    emails            = []
    key_arn           = "arn:aws:kms:us-east-1:123456789012:key/k"
    budget            = { dollars_max = 56, environment = "x", project = "usuarios-cdc" }
    is_dashboard_made = false
  }
  assert {
    condition = [
      for statement in data.aws_iam_policy_document.topic.statement : length(statement.condition)
      if anytrue([for principal in statement.principals : contains(principal.identifiers, "events.amazonaws.com")])
    ] == [0]
    error_message = "EventBridge sends nothing to compare: a condition would refuse what is told of deployments"
  }
}

run "debeziums_deployments_are_told" {
  command = plan
  variables {
    source_kind     = "debezium"
    source_database = { name = "app" }
  }
  assert {
    condition     = length(module.source.services) == 1 && length(module.services.told_of) == length(module.services.services) + 1
    error_message = "the rule names Debezium's service as well"
  }
}

run "redshift_wants_three_zones" {
  command = plan
  variables {
    redshift = { is_made = true }
  }
  expect_failures = [var.redshift]
}

run "debezium_wants_one_shard" {
  command = plan
  variables {
    source_kind   = "debezium"
    stream_shards = 2
  }
  expect_failures = [var.source_kind]
}

run "debezium_wants_a_provisioned_stream" {
  command = plan
  variables {
    source_kind = "debezium"
    stream_mode = "ON_DEMAND"
  }
  expect_failures = [var.source_kind]
}

run "alarms_wait_for_a_slow_compactor" {
  command = plan
  variables {
    compact_interval_seconds = 300
  }
  assert {
    condition     = module.watch.thresholds["not-merging/usuarios"] == 900 && module.watch.thresholds["epoch-waits/usuarios"] == 0
    error_message = "three intervals without a merge are told, not one"
  }
}
