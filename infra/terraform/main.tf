# The whole system in one account and region, once an environment. docs/aws.md says how it is deployed, docs/cost.md what it costs.
data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

locals {
  project = "usuarios-cdc"
  name    = "${local.project}-${var.environment}"
  account = {
    partition = data.aws_partition.this.partition
    region    = var.region
    id        = data.aws_caller_identity.this.account_id
  }

  # The table contracts, which the images hold as well: what is in the lake is said in one place.
  contracts_folder = coalesce(var.contracts_folder, "${path.module}/../../tables")
  contracts        = [for file in fileset(local.contracts_folder, "*.odcs.yaml") : yamldecode(file("${local.contracts_folder}/${file}"))]
  tables = merge([
    for contract in local.contracts : {
      for table in contract.schema : table.name => {
        # public."Usuários" → schema and name
        source = [
          for part in regexall("\"[^\"]+\"|[^.\"]+", one([for property in table.customProperties : property.value if property.property == "sourceTable"])) :
          trim(part, "\"")
        ]
        open_columns = [
          for column in table.properties : column.name
          if !contains(concat(
            local.in_clear[table.name].restricted,
            try(var.confidential_columns[table.name], local.in_clear[table.name].confidential),
          ), column.name)
        ]
      }
    }
  ]...)

  # What is personal and not masked, by classification; a column that states no mask is held in clear.
  in_clear = merge([
    for contract in local.contracts : {
      for table in contract.schema : table.name => {
        for classification in ["confidential", "restricted"] : classification => [
          for column in table.properties : column.name
          if try(column.classification, "") == classification &&
          alltrue([for property in try(column.customProperties, []) : property.value == "clear" if property.property == "mask"])
        ]
      }
    }
  ]...)

  bucket_names = { for zone in ["raw", "quarantine", "lake", "results"] : zone => "${local.name}-${zone}-${local.account.id}" }
  # Roles name what they may touch before it is made: a bucket's ARN follows from its name.
  bucket_arns = { for zone, name in local.bucket_names : zone => "arn:${local.account.partition}:s3:::${name}" }
  databases   = { lake = var.lake_database, raw = "${var.lake_database}_raw" }

  catalog_variable = "PYICEBERG_CATALOG__${upper(var.lake_database)}"
  common = {
    CDC_RAW        = "s3://${local.bucket_names.raw}/raw"
    CDC_QUARANTINE = "s3://${local.bucket_names.quarantine}/quarantine"
  }
  settings = {
    publisher = {
      CDC_SOURCE            = "kinesis://${local.name}"
      CDC_SLOT              = var.source_database.slot
      CDC_HEARTBEAT_SECONDS = tostring(var.heartbeat_seconds)
    }
    consumer = merge(local.common, {
      CDC_SOURCE            = "kinesis://${local.name}"
      CDC_LEASES            = "${local.name}-leases"
      CDC_BATCH_AGE_SECONDS = tostring(var.batch_age_seconds)
    })
    compactor = merge(local.common, {
      CDC_CATALOG                            = var.lake_database
      CDC_PII_KEY                            = "secretsmanager:${aws_secretsmanager_secret.this["pii-key"].arn}"
      "${local.catalog_variable}__TYPE"      = "glue"
      "${local.catalog_variable}__WAREHOUSE" = "s3://${local.bucket_names.lake}/warehouse"
      }, var.compact_interval_seconds == null ? {} : {
      CDC_COMPACT_INTERVAL_SECONDS = tostring(var.compact_interval_seconds)
    })
  }
  # `cdc`, run once: what each command reads (docs/status.md and its siblings).
  catalog_settings = { for name, value in local.settings.compactor : name => value if startswith(name, "PYICEBERG_") || name == "CDC_PII_KEY" }
  tasks = {
    tool = {
      command = ["status"]
      secrets = {}
      environment = merge(local.common, {
        for name, value in merge(local.settings.consumer, local.catalog_settings) : name => value
        if contains(["CDC_SOURCE", "CDC_LEASES"], name) || startswith(name, "PYICEBERG_")
      })
    }
    reconcile = {
      command     = ["reconcile", "--json", "--rows-per-second", tostring(var.reconcile.rows_per_second)]
      secrets     = { CDC_DATABASE = local.comparison_secret_arn }
      environment = local.catalog_settings
    }
    rebuild = {
      command     = ["rebuild", "--help"] # what is made anew must be said
      secrets     = {}
      environment = merge(local.catalog_settings, { CDC_RAW = local.common.CDC_RAW })
    }
  }
  # Of DMS nothing proves how far the source was read, and without that no difference can be told from a delay.
  is_reconcile_scheduled = var.reconcile_schedule != null && var.source_kind != "dms"
  # Debezium's secret is no DSN. Neither is that of DMS, but with DMS nothing is compared.
  has_comparison_secret = var.reconcile.has_own_secret || var.source_kind == "debezium"
  comparison_secret_arn = local.has_comparison_secret ? aws_secretsmanager_secret.comparison[0].arn : aws_secretsmanager_secret.this["database"].arn

  programs = [for program in ["publisher", "consumer", "compactor"] : program if program != "publisher" || var.source_kind == "publisher"]
  images   = { publisher = "cdc-publisher", consumer = "cdc-consumer", compactor = "compactor" }

  alarms = yamldecode(file("${path.module}/../alarms.yaml")).alarms
  # What would always fire here, and tell nothing by it.
  alarms_left_out = toset(concat(
    local.is_reconcile_scheduled ? [] : ["proof-old", "lake-differs", "comparison-failed"],
    # DMS sends no heartbeats: silence and an empty valid-through say nothing.
    var.source_kind == "dms" ? ["overdue", "no-evidence"] : [],
    # Whoever commits less often than contracts promise has decided it.
    local.commits_each_seconds > 60 ? ["overdue"] : [],
  ))
  commits_each_seconds = coalesce(var.compact_interval_seconds, 30)
}

# Their values are put in by hand, once (docs/aws.md): what Terraform writes would stand in its state.
resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:a new masking key breaks every join with older tokens, and the database's password is rotated where the database is
  for_each = {
    pii-key  = "The masking key of the lake: at least 32 random characters"
    database = "How the source database is reached: a DSN for the publisher, JSON for Debezium and DMS"
  }
  name                    = "${local.name}/${each.key}"
  description             = each.value
  kms_key_id              = module.key.arn
  recovery_window_in_days = var.is_protected ? 30 : 0

  lifecycle {
    prevent_destroy = true # the masking key cannot be had again
  }
}

# How to compare with the source: a DSN of a user that may only read, or of a replica.
resource "aws_secretsmanager_secret" "comparison" {
  #checkov:skip=CKV2_AWS_57:the database's password is rotated where the database is
  count                   = local.has_comparison_secret ? 1 : 0
  name                    = "${local.name}/comparison"
  description             = "How `cdc reconcile` reaches the source or its replica: a DSN"
  kms_key_id              = module.key.arn
  recovery_window_in_days = var.is_protected ? 30 : 0
}

resource "aws_ecr_repository" "image" {
  #checkov:skip=CKV_AWS_51:development moves its tag; production names a version, and IMMUTABLE below holds it
  for_each             = toset(concat(values(local.images), ["cdc-ops"], var.source_kind == "debezium" ? ["debezium-server"] : []))
  name                 = "${local.name}/${each.key}"
  image_tag_mutability = var.environment == "development" ? "MUTABLE" : "IMMUTABLE"
  force_delete         = !var.is_protected

  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = module.key.arn
  }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each   = aws_ecr_repository.image
  repository = each.value.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "The last thirty images, which a rollback may need"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 30 }
      action       = { type = "expire" }
    }]
  })
}

module "key" {
  source     = "./modules/key"
  name       = local.name
  region     = var.region
  account_id = local.account.id
  partition  = local.account.partition
}

module "network" {
  source   = "./modules/network"
  name     = local.name
  region   = var.region
  cidr     = var.vpc_cidr
  zones    = var.zones
  database = var.source_database
}

module "stream" {
  source          = "./modules/stream"
  name            = local.name
  key_arn         = module.key.arn
  mode            = var.stream_mode
  shards          = var.stream_shards
  retention_hours = var.stream_retention_hours
}

module "zones" {
  source             = "./modules/zones"
  names              = local.bucket_names
  key_arn            = module.key.arn
  kept_days          = var.kept_days
  is_force_destroyed = !var.is_protected
}

module "leases" {
  source       = "./modules/leases"
  name         = local.settings.consumer.CDC_LEASES
  key_arn      = module.key.arn
  is_protected = var.is_protected
}

module "roles" {
  source     = "./modules/roles"
  name       = local.name
  account    = local.account
  buckets    = local.bucket_arns
  stream_arn = module.stream.arn
  leases_arn = module.leases.arn
  key_arn    = module.key.arn
  databases  = local.databases
  secrets = {
    pii_key    = aws_secretsmanager_secret.this["pii-key"].arn
    database   = aws_secretsmanager_secret.this["database"].arn
    comparison = local.comparison_secret_arn
  }
  images_arn    = [for repository in aws_ecr_repository.image : repository.arn]
  readers       = { for name, reader in var.readers : name => { principals = reader.principals } }
  operators     = var.operators
  investigators = var.investigators
}

module "catalog" {
  source    = "./modules/catalog"
  name      = local.name
  databases = local.databases
  tables    = { for name, table in local.tables : name => { open_columns = table.open_columns } }
  buckets   = module.zones.names
  lake_arn  = module.zones.arns.lake
  kept_days = { raw = var.kept_days.raw, quarantine = var.kept_days.quarantine }
  key_arn   = module.key.arn
  roles = {
    compactor   = module.roles.programs["compactor"]
    lake_access = module.roles.lake_access
    tasks       = { for task in keys(local.tasks) : task => module.roles.programs[task] }
    readers     = merge(module.roles.readers, { operator = module.roles.operator })
  }
  # Who operates sees of the lake what readers without clearance do.
  readers = {
    for name, reader in merge(var.readers, { operator = { is_cleared = false, query_gb_max = 10 } }) : name => {
      is_cleared = reader.is_cleared, query_bytes_max = reader.query_gb_max * 1073741824
    }
  }
  investigator         = length(var.investigators) > 0 ? { role_arn = module.roles.investigator, query_bytes_max = 10737418240 } : null
  other_readers        = var.redshift.is_made ? { redshift = module.redshift[0].role_arn } : {}
  are_lake_tables_made = var.are_lake_tables_made
}

module "watch" {
  source            = "./modules/watch"
  name              = local.name
  account_id        = local.account.id
  region            = var.region
  alarms            = [for alarm in local.alarms : alarm if !contains(local.alarms_left_out, alarm.name)]
  thresholds        = { not-merging = max(300, 3 * local.commits_each_seconds) }
  slot              = var.source_kind == "publisher" ? null : var.source_database.rds_instance
  runbook_url       = var.runbook_url
  emails            = var.alarm_emails
  key_arn           = module.key.arn
  budget            = { dollars_max = var.budget_dollars_max, environment = var.environment, project = local.project }
  is_dashboard_made = var.is_dashboard_made
  values = {
    service     = [for program in local.programs : local.images[program]]
    table       = keys(local.tables)
    StreamName  = [module.stream.name]
    ClusterName = [local.name]
    ServiceName = local.programs
  }
  services_run_once = ["cdc-ops"]
}

module "services" {
  source = "./modules/services"
  name   = local.name
  region = var.region
  programs = {
    for program in local.programs : program => {
      image     = "${aws_ecr_repository.image[local.images[program]].repository_url}:${var.image_tag}"
      cpu       = var.sizes[program].cpu
      memory    = var.sizes[program].memory
      is_spot   = var.sizes[program].is_spot
      is_single = program != "consumer"
      # The compactor starts when it may make tables.
      environment    = merge(local.settings[program], program == "compactor" ? { CDC_CATALOG = module.catalog.lake_database } : {})
      secrets        = { for variable in program == "publisher" ? ["CDC_DATABASE"] : [] : variable => aws_secretsmanager_secret.this["database"].arn }
      task_role_arn  = module.roles.programs[program]
      start_role_arn = module.roles.start[program]
    }
  }
  tasks = {
    for task, its in local.tasks : task => {
      image          = "${aws_ecr_repository.image["cdc-ops"].repository_url}:${var.image_tag}"
      cpu            = var.task_sizes[task].cpu
      memory         = var.task_sizes[task].memory
      command        = its.command
      environment    = merge(its.environment, { CDC_CATALOG = module.catalog.lake_database })
      secrets        = its.secrets
      task_role_arn  = module.roles.programs[task]
      start_role_arn = module.roles.start[task]
    }
  }
  network         = { subnet_ids = module.network.subnet_ids, security_group_id = module.network.security_group_id }
  key_arn         = module.key.arn
  log_kept_days   = var.log_kept_days
  consumers_max   = var.stream_mode == "PROVISIONED" ? var.stream_shards : 4
  stream_name     = module.stream.name
  alarm_topic_arn = module.watch.topic_arn
  other_services  = module.source.services
  depends_on      = [module.roles, module.zones] # not on grants to readers: a grant that fails must not hold up the programs
}

module "proof" {
  source          = "./modules/proof"
  count           = local.is_reconcile_scheduled ? 1 : 0
  name            = local.name
  cron            = var.reconcile_schedule
  time_zone       = var.time_zone
  cluster_arn     = module.services.cluster_arn
  definition_arn  = module.services.definitions["reconcile"]
  role_arn        = module.roles.schedule
  network         = { subnet_ids = module.network.subnet_ids, security_group_id = module.network.security_group_id }
  alarm_topic_arn = module.watch.topic_arn
}

module "source" {
  source  = "./modules/source"
  kind    = var.source_kind
  name    = local.name
  account = local.account
  network = {
    vpc_id            = module.network.vpc_id
    subnet_ids        = module.network.subnet_ids
    security_group_id = module.network.security_group_id
  }
  stream  = { name = module.stream.name, arn = module.stream.arn }
  key_arn = module.key.arn
  database = {
    host       = var.source_database.host
    port       = var.source_database.port
    name       = var.source_database.name
    slot       = var.source_database.slot
    secret_arn = aws_secretsmanager_secret.this["database"].arn
  }
  tables = [for table in local.tables : { schema = table.source[0], name = table.source[1] }]
  dms    = var.dms
  debezium = {
    image         = "${local.account.id}.dkr.ecr.${var.region}.amazonaws.com/${local.name}/debezium-server:${var.debezium_version}"
    cluster       = module.services.cluster
    images_arn    = [for repository in aws_ecr_repository.image : repository.arn]
    log_kept_days = var.log_kept_days
  }
}

module "redshift" {
  source        = "./modules/redshift"
  count         = var.redshift.is_made ? 1 : 0
  name          = local.name
  account       = local.account
  network       = { subnet_ids = module.network.subnet_ids, security_group_id = module.network.security_group_id }
  key_arn       = module.key.arn
  lake_database = local.databases.lake
  capacity_rpu  = var.redshift.capacity_rpu
  rpu_hours_max = var.redshift.rpu_hours_max
}
