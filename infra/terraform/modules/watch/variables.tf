variable "name" {
  description = "Prefix of all names, and the namespace of the programs' own metrics."
  type        = string
}

variable "account_id" {
  description = "The account."
  type        = string
}

variable "region" {
  description = "Region of the dashboard."
  type        = string
}

variable "alarms" {
  description = "The alarms of infra/alarms.yaml, as they stand there."
  type        = any
}

variable "runbook_url" {
  description = "Where docs/runbook.md is read; an alarm names its entry there."
  type        = string
}

variable "values" {
  description = "What each dimension's `*` stands for, by dimension."
  type        = map(list(string))
}

variable "services_run_once" {
  description = "Services that are over when they have run: alarms that name one are made, those for each service are not."
  type        = list(string)
  default     = []
}

variable "emails" {
  description = "Who is told; each address must confirm once."
  type        = list(string)
}

variable "key_arn" {
  description = "KMS key of the topic."
  type        = string
}

variable "budget" {
  description = "Dollars a month, and the value of the tag `environment` whose cost counts."
  type        = object({ dollars_max = number, environment = string, project = string })
}

variable "is_dashboard_made" {
  description = "Whether there is a CloudWatch dashboard: three dollars a month beyond the account's first three."
  type        = bool
}

variable "thresholds" {
  description = "Thresholds other than the stated ones, by alarm."
  type        = map(number)
  default     = {}
}

variable "slot" {
  description = "Identifier of the RDS instance whose slots are watched; null: none."
  type        = string
  default     = null
}
