variable "kind" {
  description = "dms or debezium; the publisher is one of the services and needs nothing here."
  type        = string
}

variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "account" {
  description = "Where the resources are: partition, region, account id."
  type        = object({ partition = string, region = string, id = string })
}

variable "network" {
  description = "Where the replication runs."
  type        = object({ vpc_id = string, subnet_ids = list(string), security_group_id = string })
}

variable "stream" {
  description = "The stream of changes."
  type        = object({ name = string, arn = string })
}

variable "key_arn" {
  description = "The KMS key of everything that holds rows."
  type        = string
}

variable "database" {
  description = "The source database. The secret is JSON with username and password, and for DMS host and port too."
  type        = object({ host = string, port = number, name = string, secret_arn = string, slot = string })
}

variable "tables" {
  description = "Source tables as schema and name."
  type        = list(object({ schema = string, name = string }))
}

variable "dms" {
  description = "Size of the instance, KB of the longest text (dms.lobMaxSize in the contract), and whether this account has the role dms-vpc-role already."
  type        = object({ instance_class = string, lob_max_kb = number, is_vpc_role_made = bool, has_full_images = bool })
}

variable "debezium" {
  description = "The image of Debezium Server, its cluster, and how long its log is kept."
  type        = object({ image = string, cluster = string, images_arn = list(string), log_kept_days = number })
}
