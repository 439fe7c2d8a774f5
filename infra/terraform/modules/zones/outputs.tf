output "arns" {
  description = "Bucket ARNs by zone."
  value       = { for zone, bucket in aws_s3_bucket.zone : zone => bucket.arn }
}

output "names" {
  description = "Bucket names by zone, known once the buckets are."
  value       = { for zone, bucket in aws_s3_bucket.zone : zone => bucket.id }
}
