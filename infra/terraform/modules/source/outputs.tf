output "services" {
  description = "ARNs of the services that it runs: Debezium's, where it is the source."
  value       = [for service in aws_ecs_service.debezium : service.id]
}
