output "workgroups" {
  description = "Athena workgroups by reader."
  value       = { for reader, group in aws_athena_workgroup.reader : reader => group.name }
}

output "lake_database" {
  description = "The lake's database, once the compactor may make tables in it; grants to readers are not waited for."
  value       = aws_glue_catalog_database.lake.name
  depends_on = [
    aws_lakeformation_permissions.compactor_location,
    aws_lakeformation_permissions.compactor_database,
    aws_lakeformation_permissions.compactor_tables,
  ]
}

output "raw_tables" {
  value = [for table in aws_glue_catalog_table.raw : table.name]
}
