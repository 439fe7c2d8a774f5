output "cluster" {
  value = aws_ecs_cluster.this.name
}

output "services" {
  description = "Names of the services."
  value       = [for service in aws_ecs_service.program : service.name]
}

output "told_of" {
  description = "ARNs of the services whose failed deployments are told."
  value       = local.told_of
}

output "cluster_arn" {
  value = aws_ecs_cluster.this.arn
}

output "definitions" {
  description = "ARNs of the task definitions, those of this revision, by program or task."
  value       = { for name, definition in aws_ecs_task_definition.program : name => definition.arn }
}
