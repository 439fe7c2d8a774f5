output "programs" {
  description = "Role ARNs of programs and tasks, by name."
  value       = { for name, role in aws_iam_role.program : name => role.arn }
}

output "start" {
  description = "Role ARNs that start a task, by the program's name."
  value       = { for name, role in aws_iam_role.start : name => role.arn }
}

output "readers" {
  description = "Role ARNs of those who query, by name."
  value       = { for name, role in aws_iam_role.reader : name => role.arn }
}

output "operator" {
  value = aws_iam_role.operator.arn
}

output "investigator" {
  description = "Role ARN of the investigator; null: there is none."
  value       = one(aws_iam_role.investigator[*].arn)
}

output "schedule" {
  description = "Role ARN of the nightly proof's schedule."
  value       = aws_iam_role.schedule.arn
}

output "lake_access" {
  description = "The role by which Lake Formation reads the lake."
  value       = aws_iam_role.lake_access.arn
}
