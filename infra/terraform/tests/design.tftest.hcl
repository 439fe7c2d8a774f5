# What every environment must hold to, whatever its variables say; run once with each file of environments/.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

run "environment" {
  command = plan

  assert {
    condition     = module.stream.name == "usuarios-cdc-${var.environment}"
    error_message = "names tell the environment"
  }
  assert {
    condition     = output.databases.lake != output.databases.raw
    error_message = "raw has a database of its own, which analysts do not see"
  }
  assert {
    condition     = toset(keys(output.workgroups)) == toset(["analyst", "cleared-analyst", "operator"])
    error_message = "each reader has a workgroup, and the operator; nobody else"
  }
  assert {
    condition     = contains(output.alarms, "not-merging/usuarios") && contains(output.alarms, "slot-growing") && contains(output.alarms, "shard-lag/usuarios-cdc-${var.environment}")
    error_message = "alarms of infra/alarms.yaml are made, one for each table and stream"
  }
  assert {
    condition     = contains(output.alarms, "overdue/usuarios") == (coalesce(var.compact_interval_seconds, 30) <= 60)
    error_message = "freshness is watched where commits can keep the promise"
  }
  assert {
    condition = [
      for alarm in ["proof-old", "lake-differs", "comparison-failed"] : contains(output.alarms, "${alarm}/usuarios")
    ] == [for _ in range(3) : var.reconcile_schedule != null]
    error_message = "the alarms of the proof follow its schedule"
  }
  assert {
    condition     = length(module.proof) == (var.reconcile_schedule != null ? 1 : 0)
    error_message = "a schedule that is null makes nothing"
  }
  assert {
    condition     = output.investigator_role == null
    error_message = "nobody looks at single records unless named"
  }
  assert {
    condition     = length(setintersection(local.tables["usuarios"].open_columns, ["nome", "data_nascimento", "endereco", "saldo", "bio"])) == 0
    error_message = "what the contract calls confidential and holds in clear is for cleared readers"
  }
  assert {
    condition     = length(setsubtract(["id", "email", "cpf", "telefone", "ativo", "criado_em"], local.tables["usuarios"].open_columns)) == 0
    error_message = "what is masked or internal is for every reader"
  }
  assert {
    condition     = length(module.redshift) == 0
    error_message = "Redshift is off unless asked for"
  }
  assert {
    condition     = var.kept_days.noncurrent <= 7
    error_message = "erased rows are gone from noncurrent versions within a week"
  }
  assert {
    condition     = var.environment != "production" || (var.is_protected && var.kept_days.raw == 90 && var.reconcile_schedule != null)
    error_message = "production is protected, keeps raw for 90 days, and is proven every night"
  }
}
