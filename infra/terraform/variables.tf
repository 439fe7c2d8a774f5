variable "environment" {
  description = "development, staging or production; part of every name, and the tag that the budget counts by."
  type        = string
  validation {
    condition     = contains(["development", "staging", "production"], var.environment)
    error_message = "environment is development, staging or production."
  }
}

variable "region" {
  description = "AWS region. Personal data of Brazilians stays in Brazil in sa-east-1, at about one and a half times the price."
  type        = string
}

variable "lake_database" {
  description = "Glue database of the lake, which is also the name of the programs' catalog (CDC_CATALOG). One word: pyiceberg reads an underscore in its variables' names as a hyphen. Analysts write it in every query; other environments of one account need another one."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9]*$", var.lake_database))
    error_message = "lake_database is lower-case letters and digits only."
  }
}

# --- the source

variable "source_kind" {
  description = "publisher (the cheapest, exact, with heartbeats), debezium, or dms."
  type        = string
  default     = "publisher"
  validation {
    condition     = contains(["publisher", "debezium", "dms"], var.source_kind)
    error_message = "source_kind is publisher, debezium or dms."
  }
  validation {
    condition     = var.source_kind != "debezium" || (var.stream_mode == "PROVISIONED" && var.stream_shards == 1)
    error_message = "Debezium's heartbeats reach one shard alone: with it stream_mode is PROVISIONED and stream_shards is 1."
  }
}

variable "source_database" {
  description = "The source database: name, host and port for debezium and dms (the publisher has all of it in its secret); where it lies in another VPC of this account and region, that VPC, its addresses, and its route tables; rds_instance: its identifier where it is in RDS, whose metric then watches the slot of debezium and dms."
  type = object({
    host            = optional(string, "")
    port            = optional(number, 5432)
    name            = optional(string, "")
    slot            = optional(string, "usuarios_cdc")
    rds_instance    = optional(string)
    vpc_id          = optional(string)
    cidr            = optional(string)
    route_table_ids = optional(set(string), [])
  })
  default = {}
  validation {
    condition     = (var.source_database.vpc_id == null) == (var.source_database.cidr == null)
    error_message = "vpc_id and cidr of the database go together."
  }
}

variable "dms" {
  description = "Of source_kind dms: the instance; lob_max_kb, which the contracts state as dms.lobMaxSize; has_full_images where the tables have REPLICA IDENTITY FULL; is_vpc_role_made where the account has the role dms-vpc-role."
  type = object({
    instance_class   = optional(string, "dms.t3.micro")
    lob_max_kb       = optional(number, 128)
    has_full_images  = optional(bool, false)
    is_vpc_role_made = optional(bool, false)
  })
  default = {}
}

variable "debezium_version" {
  description = "Tag of the Debezium Server image in the repository <name>/debezium-server, of source_kind debezium."
  type        = string
  default     = "3.6.3.Final"
}

# --- the stream

variable "stream_mode" {
  description = "PROVISIONED or ON_DEMAND. Before a backfill of more than a gigabyte an hour raise stream_shards, or go on demand until it is done."
  type        = string
  default     = "PROVISIONED"
}

variable "stream_shards" {
  description = "Shards of a provisioned stream: one takes 1,000 changes a second, 500 times the founding load."
  type        = number
  default     = 1
}

variable "stream_retention_hours" {
  description = "How long the stream keeps records, thus how long the consumer may stand still without a loss; beyond 24 it costs 14.60 dollars a month for a shard."
  type        = number
  default     = 24
}

# --- the tables

variable "contracts_folder" {
  description = "Where the table contracts are; null: this repository's tables."
  type        = string
  default     = null
}

# --- how fresh, how long kept

variable "batch_age_seconds" {
  description = "When a micro-batch is written; a longer one costs fewer requests and makes rows older by as much."
  type        = number
  default     = 15
}

variable "compact_interval_seconds" {
  description = "How often is committed; null: half of the freshness that the strictest contract promises."
  type        = number
  default     = null
}

variable "heartbeat_seconds" {
  description = "How often the publisher proves how far the source was read."
  type        = number
  default     = 5
}

variable "kept_days" {
  description = "Days that objects are kept: raw, quarantine, results of queries, and versions that were overwritten or deleted."
  type = object({
    raw        = optional(number, 90)
    quarantine = optional(number, 90)
    results    = optional(number, 7)
    noncurrent = optional(number, 7)
  })
  default = {}
}

variable "log_kept_days" {
  description = "Days that logs are kept, one of the values that CloudWatch knows."
  type        = number
  default     = 14
}

# --- the programs

variable "image_tag" {
  description = "Tag of the images in the repositories <name>/cdc-publisher, cdc-consumer, compactor and cdc-ops."
  type        = string
}

variable "sizes" {
  description = "Size of each program: cpu in 1/1024, memory in MiB, and whether it runs on spare capacity (a third of the price; AWS may take it away, then the table is late for a minute or two). The compactor holds an index of 40 bytes a row."
  type = object({
    publisher = optional(object({ cpu = optional(number, 256), memory = optional(number, 512), is_spot = optional(bool, false) }), {})
    consumer  = optional(object({ cpu = optional(number, 256), memory = optional(number, 512), is_spot = optional(bool, true) }), {})
    compactor = optional(object({ cpu = optional(number, 256), memory = optional(number, 1024), is_spot = optional(bool, true) }), {})
  })
  default = {}
}

variable "task_sizes" {
  description = "Size of each task that runs once: cpu in 1/1024, memory in MiB. reconcile holds 16 bytes a row, rebuild an index of 40 bytes a row; they cost while they run."
  type = object({
    tool      = optional(object({ cpu = optional(number, 256), memory = optional(number, 1024) }), {})
    reconcile = optional(object({ cpu = optional(number, 256), memory = optional(number, 1024) }), {})
    rebuild   = optional(object({ cpu = optional(number, 1024), memory = optional(number, 4096) }), {})
  })
  default = {}
}

variable "reconcile_schedule" {
  description = "When `cdc reconcile` compares every row of the source with the lake, as EventBridge Scheduler writes it, at least weekly; null: never, and then nobody is told that a proof is old. Not with DMS, whose records prove nothing of the source."
  type        = string
  default     = "cron(30 3 * * ? *)"
  validation {
    condition     = var.reconcile_schedule == null || can(regex("^(cron|rate)\\(.+\\)$", var.reconcile_schedule))
    error_message = "reconcile_schedule is cron(minutes hours day-of-month month day-of-week year), rate(value unit), or null."
  }
}

variable "time_zone" {
  description = "The time zone of reconcile_schedule."
  type        = string
  default     = "America/Sao_Paulo"
}

variable "reconcile" {
  description = "How the source is compared with: has_own_secret where that is by another DSN than the publisher's, of a replica or of a user that may only read (the secret <name>/comparison; always with debezium); rows_per_second: at most so many are read."
  type = object({
    has_own_secret  = optional(bool, false)
    rows_per_second = optional(number, 5000)
  })
  default = {}
}

variable "vpc_cidr" {
  description = "Addresses of the VPC; they must not overlap with those of the database's VPC."
  type        = string
  default     = "10.42.0.0/24"
}

variable "zones" {
  description = "Letters of the region's availability zones that tasks run in, two to four."
  type        = list(string)
  default     = ["a", "b"]
}

# --- who queries

variable "readers" {
  description = "Roles that query the lake, each with its own Athena workgroup: who may take it (ARNs; empty: administrators of the account decide), whether it is cleared to see confidential columns, and how many GB a query may scan."
  type = map(object({
    principals   = optional(list(string), [])
    is_cleared   = optional(bool, false)
    query_gb_max = optional(number, 10)
  }))
  default = {
    analyst         = {}
    cleared-analyst = { is_cleared = true }
  }
  validation {
    condition     = length(setintersection(keys(var.readers), ["operator", "investigator"])) == 0
    error_message = "operator and investigator are roles of their own: call a reader something else."
  }
}

variable "operators" {
  description = "ARNs that may take the operator's role; empty: administrators of the account decide."
  type        = list(string)
  default     = []
}

variable "investigators" {
  description = "ARNs that may take the role of the investigator, who reads single records of raw and the quarantine in clear, with a second factor and through Athena alone; empty: there is no such role."
  type        = list(string)
  default     = []
}

variable "confidential_columns" {
  description = "Columns that only cleared readers see, by lake table; null: those that the contract calls confidential and holds in clear. What it calls restricted and holds in clear is for cleared readers whatever stands here."
  type        = map(list(string))
  default     = null
}

variable "are_lake_tables_made" {
  description = "Whether the compactor has made the lake's tables: set it to true once it has, and apply again. Until then readers are granted nothing."
  type        = bool
  default     = false
}

variable "redshift" {
  description = "Redshift Serverless over the lake: off unless someone reports from there. It costs while queries run; rpu_hours_max stops it."
  type = object({
    is_made       = optional(bool, false)
    capacity_rpu  = optional(number, 8)
    rpu_hours_max = optional(number, 20)
  })
  default = {}
  validation {
    condition     = !var.redshift.is_made || length(var.zones) >= 3
    error_message = "Redshift Serverless wants subnets in three availability zones: state three zones."
  }
}

# --- who watches

variable "alarm_emails" {
  description = "Who is told of alarms and of the budget."
  type        = list(string)
  default     = []
}

variable "runbook_url" {
  description = "Where docs/runbook.md can be read."
  type        = string
  default     = "docs/runbook.md"
}

variable "budget_dollars_max" {
  description = "Dollars a month after which somebody is told."
  type        = number
  default     = 56
}

variable "is_dashboard_made" {
  description = "Whether there is a CloudWatch dashboard."
  type        = bool
  default     = true
}

variable "is_protected" {
  description = "Whether the lease table and buckets with objects cannot be deleted by `terraform destroy`."
  type        = bool
  default     = true
}
