output "workgroups" {
  description = "Athena workgroups by reader."
  value       = { for reader, group in aws_athena_workgroup.reader : reader => group.name }
}

output "raw_tables" {
  value = [for table in aws_glue_catalog_table.raw : table.name]
}
