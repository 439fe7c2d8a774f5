output "buckets" {
  description = "Bucket names by zone."
  value       = module.zones.names
}

output "stream" {
  value = module.stream.name
}

output "leases" {
  value = module.leases.name
}

output "databases" {
  description = "Glue databases: of the lake, and of raw."
  value       = local.databases
}

output "workgroups" {
  description = "Athena workgroups by reader."
  value       = module.catalog.workgroups
}

output "reader_roles" {
  description = "Role ARNs of those who query."
  value       = module.roles.readers
}

output "operator_role" {
  value = module.roles.operator
}

output "investigator_role" {
  description = "null: there is none."
  value       = module.roles.investigator
}

output "cluster" {
  value = module.services.cluster
}

output "secrets" {
  description = "Secrets whose values are put in by hand."
  value = merge(
    { for name, secret in aws_secretsmanager_secret.this : name => secret.arn },
    { for secret in aws_secretsmanager_secret.comparison : "comparison" => secret.arn },
  )
}

output "repositories" {
  description = "Where images are pushed to."
  value       = { for name, repository in aws_ecr_repository.image : name => repository.repository_url }
}

output "alarms" {
  description = "Names of the alarms."
  value       = module.watch.alarm_names
}
