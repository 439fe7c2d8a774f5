variable "name" {
  description = "Name of the table."
  type        = string
}

variable "key_arn" {
  description = "KMS key that encrypts it."
  type        = string
}

variable "is_protected" {
  description = "Whether the table cannot be deleted by mistake."
  type        = bool
}

# The key is what services/cdc_consumer/lease_table.py reads and writes; it finds this table and makes none itself.
resource "aws_dynamodb_table" "leases" {
  name                        = var.name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "leaseKey"
  deletion_protection_enabled = var.is_protected

  attribute {
    name = "leaseKey"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.key_arn
  }
}

output "arn" {
  value = aws_dynamodb_table.leases.arn
}

output "name" {
  value = aws_dynamodb_table.leases.name
}
