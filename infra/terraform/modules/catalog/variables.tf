variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "databases" {
  description = "Glue databases: of the lake (the catalog's name in CDC_CATALOG), and of raw."
  type        = object({ lake = string, raw = string })
}

variable "tables" {
  description = "Columns that every reader sees, by lake table; the others are for cleared readers alone."
  type        = map(object({ open_columns = list(string) }))
}

variable "buckets" {
  description = "Bucket names by zone."
  type        = object({ raw = string, quarantine = string, lake = string, results = string })
}

variable "lake_arn" {
  description = "ARN of the lake's bucket, which Lake Formation hands out."
  type        = string
}

variable "kept_days" {
  description = "How many days of raw and of quarantine there can be: partitions older than that are not looked for."
  type        = object({ raw = number, quarantine = number })
}

variable "key_arn" {
  description = "KMS key of query results."
  type        = string
}

variable "roles" {
  description = "Role ARNs: the compactor's, Lake Formation's, those of tasks (tool, reconcile, rebuild), and those of readers by name, the operator among them."
  type = object({
    compactor   = string
    lake_access = string
    tasks       = map(string)
    readers     = map(string)
  })
}

variable "readers" {
  description = "By reader: whether confidential columns are seen, and how many bytes a query may scan."
  type        = map(object({ is_cleared = bool, query_bytes_max = number }))
}

variable "other_readers" {
  description = "Role ARNs of engines that read the lake as readers without clearance do, by name; they have no workgroup."
  type        = map(string)
  default     = {}
}

variable "are_lake_tables_made" {
  description = "Whether the compactor has made the lake's tables already; grants to readers need them."
  type        = bool
}

variable "investigator" {
  description = "Who reads raw and the quarantine: the role, and how many bytes a query may scan; null: nobody."
  type        = object({ role_arn = string, query_bytes_max = number })
  default     = null
}
