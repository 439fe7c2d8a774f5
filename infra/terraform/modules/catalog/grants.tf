# Who sees what of the lake. Values that the contract masks are masked in the files already; what it leaves in clear and calls confidential
# is kept from readers without clearance here.
resource "aws_lakeformation_resource" "lake" {
  arn      = var.lake_arn
  role_arn = var.roles.lake_access
}

resource "aws_lakeformation_permissions" "compactor_location" {
  principal   = var.roles.compactor
  permissions = ["DATA_LOCATION_ACCESS"]
  data_location {
    arn = aws_lakeformation_resource.lake.arn
  }
}

resource "aws_lakeformation_permissions" "compactor_database" {
  principal   = var.roles.compactor
  permissions = ["CREATE_TABLE", "DESCRIBE"]
  database {
    name = aws_glue_catalog_database.lake.name
  }
}

resource "aws_lakeformation_permissions" "compactor_tables" {
  principal   = var.roles.compactor
  permissions = ["SELECT", "INSERT", "DELETE", "DESCRIBE", "ALTER"]
  table {
    database_name = aws_glue_catalog_database.lake.name
    wildcard      = true
  }
}

# What tasks that run once need of the lake's tables: to find them, to compare them and state it, to put others in their place.
locals {
  granted_to_tasks = {
    tool      = ["DESCRIBE"]
    reconcile = ["SELECT", "DESCRIBE", "ALTER"]
    rebuild   = ["SELECT", "INSERT", "DELETE", "DESCRIBE", "ALTER", "DROP"]
  }
}

resource "aws_lakeformation_permissions" "task_tables" {
  for_each    = local.granted_to_tasks
  principal   = var.roles.tasks[each.key]
  permissions = each.value
  table {
    database_name = aws_glue_catalog_database.lake.name
    wildcard      = true
  }
}

resource "aws_lakeformation_permissions" "task_database" {
  for_each    = local.granted_to_tasks
  principal   = var.roles.tasks[each.key]
  permissions = each.key == "rebuild" ? ["CREATE_TABLE", "DESCRIBE"] : ["DESCRIBE"]
  database {
    name = aws_glue_catalog_database.lake.name
  }
}

# Whoever changes a table in the catalog needs its place too: `reconcile` to state the outcome, `rebuild` to put tables there.
resource "aws_lakeformation_permissions" "task_location" {
  for_each    = toset(["reconcile", "rebuild"])
  principal   = var.roles.tasks[each.key]
  permissions = ["DATA_LOCATION_ACCESS"]
  data_location {
    arn = aws_lakeformation_resource.lake.arn
  }
}

# To see how far tables are merged, not what is in them; of that the operator sees what readers without clearance do, below.
resource "aws_lakeformation_permissions" "operator_tables" {
  principal   = var.roles.readers["operator"]
  permissions = ["DESCRIBE"]
  table {
    database_name = aws_glue_catalog_database.lake.name
    wildcard      = true
  }
}

# Records in clear: for the investigator alone, where there is one.
resource "aws_lakeformation_permissions" "raw_database" {
  count       = var.investigator == null ? 0 : 1
  principal   = var.investigator.role_arn
  permissions = ["DESCRIBE"]
  database {
    name = aws_glue_catalog_database.raw.name
  }
}

resource "aws_lakeformation_permissions" "raw_tables" {
  count       = var.investigator == null ? 0 : 1
  principal   = var.investigator.role_arn
  permissions = ["SELECT", "DESCRIBE"]
  table {
    database_name = aws_glue_catalog_database.raw.name
    wildcard      = true
  }
}

resource "aws_lakeformation_permissions" "reader_database" {
  for_each    = local.granted
  principal   = each.value.role
  permissions = ["DESCRIBE"]
  database {
    name = aws_glue_catalog_database.lake.name
  }
}

# Columns are granted by name, not left out by name: a column that comes to be later is seen by nobody who is not cleared until it is granted
# here. What the compactor adds tells of changes, not of people (services/compactor/lake/schema.py).
locals {
  granted = merge(
    { for reader, its in var.readers : reader => { role = var.roles.readers[reader], is_cleared = its.is_cleared } },
    { for engine, role in var.other_readers : engine => { role = role, is_cleared = false } },
  )
  row_columns = ["cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at"]
  asked_for = var.are_lake_tables_made ? merge([
    for table, its in var.tables : {
      (table)            = concat(its.open_columns, local.row_columns)
      "${table}_history" = concat(its.open_columns, local.row_columns, ["cdc_op", "cdc_unchanged"])
    }
  ]...) : {}
  row_tables = {
    for table, columns in local.asked_for : table => [
      for column in columns : column if contains(data.aws_glue_catalog_table.rows[table].storage_descriptor[0].columns[*].name, column)
    ]
  }
  grants = merge([
    for reader, its in local.granted : {
      for table, open in local.row_tables : "${reader}/${table}" => {
        reader = reader, table = table, columns = its.is_cleared ? null : open
      }
    }
  ]...)
}

# A column that the contract names since today is in the table once the compactor, started with that contract, has added it: a grant of it would
# be refused before, and with it the deployment. It is granted by the next apply.
data "aws_glue_catalog_table" "rows" {
  for_each      = local.asked_for
  database_name = var.databases.lake # by its name: known in the plan
  name          = each.key
}

resource "aws_lakeformation_permissions" "reader_columns" {
  for_each    = local.grants
  principal   = local.granted[each.value.reader].role
  permissions = ["SELECT"]
  table_with_columns {
    database_name = aws_glue_catalog_database.lake.name
    name          = each.value.table
    wildcard      = each.value.columns == null ? true : null
    column_names  = each.value.columns
  }
}

resource "aws_lakeformation_permissions" "reader_status" {
  for_each    = { for reader, its in local.granted : reader => its if var.are_lake_tables_made }
  principal   = each.value.role
  permissions = ["SELECT"]
  table_with_columns {
    database_name = aws_glue_catalog_database.lake.name
    name          = "cdc_status"
    wildcard      = true
  }
}
