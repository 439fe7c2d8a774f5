variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "account" {
  description = "Where the resources are: partition, region, account id."
  type        = object({ partition = string, region = string, id = string })
}

variable "buckets" {
  description = "Bucket ARNs by zone: raw, quarantine, lake, results."
  type        = object({ raw = string, quarantine = string, lake = string, results = string })
}

variable "stream_arn" {
  description = "The stream of changes."
  type        = string
}

variable "leases_arn" {
  description = "The lease table."
  type        = string
}

variable "key_arn" {
  description = "The KMS key of everything that holds rows."
  type        = string
}

variable "databases" {
  description = "Glue databases: of the lake, and of raw."
  type        = object({ lake = string, raw = string })
}

variable "secrets" {
  description = "ARNs of secrets: the masking key, how the source database is reached, and how to compare with it: the same, or a replica's."
  type        = object({ pii_key = string, database = string, comparison = string })
}

variable "images_arn" {
  description = "ARNs of the image repositories."
  type        = list(string)
}

variable "readers" {
  description = "Roles of those who query, each with its workgroup: who may take it (ARNs; empty: the account's administrators decide)."
  type        = map(object({ principals = list(string) }))
}

variable "operators" {
  description = "ARNs that may take the operator's role; empty: the account's administrators decide."
  type        = list(string)
}

variable "investigators" {
  description = "ARNs that may take the investigator's role, with a second factor; empty: there is none."
  type        = list(string)
}
