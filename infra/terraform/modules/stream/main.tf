variable "name" {
  description = "Name of the stream."
  type        = string
}

variable "key_arn" {
  description = "KMS key that encrypts it."
  type        = string
}

variable "mode" {
  description = "PROVISIONED, or ON_DEMAND: three times the price at the founding load, no shards to think of."
  type        = string
  validation {
    condition     = contains(["PROVISIONED", "ON_DEMAND"], var.mode)
    error_message = "mode is PROVISIONED or ON_DEMAND."
  }
}

variable "shards" {
  description = "Shards of a provisioned stream; each takes 1,000 records and 1 MB a second."
  type        = number
}

variable "retention_hours" {
  description = "How long records stay; more than 24 is charged for. It is how long the consumer may stand still without a loss."
  type        = number
  validation {
    condition     = var.retention_hours >= 24 && var.retention_hours <= 8760
    error_message = "retention_hours is from 24 to 8760."
  }
}

resource "aws_kinesis_stream" "this" {
  name             = var.name
  shard_count      = var.mode == "PROVISIONED" ? var.shards : null
  retention_period = var.retention_hours
  encryption_type  = "KMS"
  kms_key_id       = var.key_arn

  stream_mode_details {
    stream_mode = var.mode
  }

  lifecycle {
    prevent_destroy = true # its records of a day are nowhere else yet, or the slot has let them go
  }
}

output "arn" {
  value = aws_kinesis_stream.this.arn
}

output "name" {
  value = aws_kinesis_stream.this.name
}
