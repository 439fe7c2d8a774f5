variable "names" {
  description = "Bucket names by zone: raw, quarantine, lake, results."
  type        = object({ raw = string, quarantine = string, lake = string, results = string })
}

variable "key_arn" {
  description = "KMS key that encrypts all of them."
  type        = string
}

variable "kept_days" {
  description = "How long objects are kept: raw and quarantine since they were written, results of queries, and in every zone a version that was overwritten or deleted. Their sum is part of the longest time that an erased person's data stays (docs/aws.md)."
  type = object({
    raw        = number
    quarantine = number
    results    = number
    noncurrent = number
  })
  validation {
    condition     = var.kept_days.raw >= 2 && var.kept_days.quarantine >= 1 && var.kept_days.results >= 1 && var.kept_days.noncurrent >= 1
    error_message = "Days are whole numbers from 1, of raw from 2."
  }
}

variable "is_force_destroyed" {
  description = "Whether `terraform destroy` removes buckets that hold objects; never in production."
  type        = bool
}
