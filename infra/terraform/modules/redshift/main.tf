# Redshift Serverless over the lake's Glue database, for those who report from there. It is charged for while queries run; the limit below stops
# it. It reads the lake by Lake Formation's grants to its role, as readers without clearance do.
variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "account" {
  description = "Where the resources are: partition, region, account id."
  type        = object({ partition = string, region = string, id = string })
}

variable "network" {
  description = "Where its interfaces are."
  type        = object({ subnet_ids = list(string), security_group_id = string })
}

variable "key_arn" {
  description = "KMS key of what it stores."
  type        = string
}

variable "lake_database" {
  description = "The Glue database that the external schema shows."
  type        = string
}

variable "capacity_rpu" {
  description = "Base capacity in Redshift processing units."
  type        = number
}

variable "rpu_hours_max" {
  description = "Processing-unit hours a month after which queries are refused."
  type        = number
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["redshift.amazonaws.com", "redshift-serverless.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account.id]
    }
  }
}

locals {
  glue = "arn:${var.account.partition}:glue:${var.account.region}:${var.account.id}"
}

data "aws_iam_policy_document" "reads" {
  statement {
    sid       = "SeeTheCatalog"
    actions   = ["glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables", "glue:GetPartitions"]
    resources = ["${local.glue}:catalog", "${local.glue}:database/${var.lake_database}", "${local.glue}:table/${var.lake_database}/*"]
  }
  statement {
    #checkov:skip=CKV_AWS_356:GetDataAccess takes no resource; the grants of Lake Formation decide
    sid       = "ReadAsGranted"
    actions   = ["lakeformation:GetDataAccess"]
    resources = ["*"]
  }
}

resource "aws_iam_role" "this" {
  name               = "${var.name}-redshift"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "this" {
  name   = "redshift"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.reads.json
}

resource "aws_redshiftserverless_namespace" "this" {
  namespace_name        = var.name
  db_name               = "reports"
  kms_key_id            = var.key_arn
  manage_admin_password = true
  default_iam_role_arn  = aws_iam_role.this.arn
  iam_roles             = [aws_iam_role.this.arn]
  log_exports           = ["connectionlog", "userlog"]
}

resource "aws_redshiftserverless_workgroup" "this" {
  workgroup_name       = var.name
  namespace_name       = aws_redshiftserverless_namespace.this.namespace_name
  base_capacity        = var.capacity_rpu
  enhanced_vpc_routing = false
  publicly_accessible  = false
  subnet_ids           = var.network.subnet_ids
  security_group_ids   = [var.network.security_group_id]
}

resource "aws_redshiftserverless_usage_limit" "this" {
  resource_arn  = aws_redshiftserverless_workgroup.this.arn
  usage_type    = "serverless-compute"
  period        = "monthly"
  amount        = var.rpu_hours_max
  breach_action = "deactivate"
}

resource "aws_redshiftdata_statement" "external_schema" {
  workgroup_name = aws_redshiftserverless_workgroup.this.workgroup_name
  database       = aws_redshiftserverless_namespace.this.db_name
  sql            = "CREATE EXTERNAL SCHEMA IF NOT EXISTS lake FROM DATA CATALOG DATABASE '${var.lake_database}' IAM_ROLE '${aws_iam_role.this.arn}' REGION '${var.account.region}'"
}

output "role_arn" {
  value = aws_iam_role.this.arn
}
