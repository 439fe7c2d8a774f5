# The lake's database is empty here: the compactor makes its tables, and is their only writer.
resource "aws_glue_catalog_database" "lake" {
  name        = var.databases.lake
  description = "Iceberg tables of usuarios-cdc: current state, history, cdc_status"

  # None: otherwise whoever has IAM rights in Glue sees every new table, past the grants of Lake Formation.
  create_table_default_permission {
    permissions = []
  }

  lifecycle {
    prevent_destroy = true # its tables go with it, and Iceberg's place is known to the catalog alone
  }
}

resource "aws_glue_catalog_database" "raw" {
  name        = var.databases.raw
  description = "Raw records and quarantine of usuarios-cdc: personal data in clear, for investigators alone"

  create_table_default_permission {
    permissions = []
  }
}

# A line is one string: a SerDe for JSON would fold the case of names and clash on them. \001 cannot stand in JSON (docs/raw-format.md).
locals {
  line_format = {
    input      = "org.apache.hadoop.mapred.TextInputFormat"
    output     = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
    serde      = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
    parameters = { "field.delim" = "\u0001", "serialization.format" = "\u0001", "line.delim" = "\n" }
  }
  raw_root        = "s3://${var.buckets.raw}/raw/postgres/json"
  quarantine_root = "s3://${var.buckets.quarantine}/quarantine"
  day_projection = {
    "projection.day.type"          = "date"
    "projection.day.format"        = "yyyy/MM/dd"
    "projection.day.interval"      = "1"
    "projection.day.interval.unit" = "DAYS"
  }
}

resource "aws_glue_catalog_table" "raw" {
  for_each      = var.tables
  name          = "raw_${each.key}"
  database_name = aws_glue_catalog_database.raw.name
  table_type    = "EXTERNAL_TABLE"
  description   = "Every record of ${each.key} as it came, unmasked; state the day"

  parameters = merge(local.day_projection, {
    "EXTERNAL"                  = "TRUE"
    "classification"            = "json"
    "compressionType"           = "gzip"
    "projection.enabled"        = "true"
    "projection.day.range"      = "NOW-${var.kept_days.raw}DAYS,NOW"
    "storage.location.template" = "${local.raw_root}/${each.key}/$${day}/"
  })

  partition_keys {
    name    = "day"
    type    = "string"
    comment = "arrival, UTC, as yyyy/MM/dd"
  }

  storage_descriptor {
    location      = "${local.raw_root}/${each.key}/"
    input_format  = local.line_format.input
    output_format = local.line_format.output
    compressed    = true
    columns {
      name    = "line"
      type    = "string"
      comment = "one record as JSON: shard, seq, sub, arrived_at, event"
    }
    ser_de_info {
      serialization_library = local.line_format.serde
      parameters            = local.line_format.parameters
    }
  }
}

resource "aws_glue_catalog_table" "quarantine" {
  name          = "quarantine"
  database_name = aws_glue_catalog_database.raw.name
  table_type    = "EXTERNAL_TABLE"
  description   = "What could not be read or merged; state the reason (docs/raw-format.md lists them) and the day"

  # Injected, not a list: a reason that a later version adds is found without a change here.
  parameters = merge(local.day_projection, {
    "EXTERNAL"                  = "TRUE"
    "classification"            = "json"
    "compressionType"           = "gzip"
    "projection.enabled"        = "true"
    "projection.reason.type"    = "injected"
    "projection.day.range"      = "NOW-${var.kept_days.quarantine}DAYS,NOW"
    "storage.location.template" = "${local.quarantine_root}/$${reason}/$${day}/"
  })

  partition_keys {
    name = "reason"
    type = "string"
  }
  partition_keys {
    name    = "day"
    type    = "string"
    comment = "arrival, UTC, as yyyy/MM/dd"
  }

  storage_descriptor {
    location      = "${local.quarantine_root}/"
    input_format  = local.line_format.input
    output_format = local.line_format.output
    compressed    = true
    columns {
      name    = "line"
      type    = "string"
      comment = "one record as JSON, with its reason"
    }
    ser_de_info {
      serialization_library = local.line_format.serde
      parameters            = local.line_format.parameters
    }
  }
}

locals {
  querying = merge(
    { for reader, its in var.readers : reader => its.query_bytes_max },
    { for investigator in var.investigator[*] : "investigator" => investigator.query_bytes_max },
  )
}

# A workgroup a reader: its own results, its own limit of bytes, its own line on the bill.
resource "aws_athena_workgroup" "reader" {
  for_each      = local.querying
  name          = "${var.name}-${each.key}"
  force_destroy = true

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = each.value
    engine_version {
      selected_engine_version = "Athena engine version 3"
    }
    result_configuration {
      output_location = "s3://${var.buckets.results}/${each.key}/"
      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = var.key_arn
      }
    }
  }
}
