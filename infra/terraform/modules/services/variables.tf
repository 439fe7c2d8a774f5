variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "region" {
  description = "Region that the programs work in."
  type        = string
}

variable "programs" {
  description = "Programs that run, by name: publisher (where it is the source), consumer, compactor. cpu in units of 1/1024, memory in MiB; is_spot: on spare capacity, which AWS may take away with two minutes' notice; secrets: environment variable to secret ARN."
  type = map(object({
    image          = string
    cpu            = number
    memory         = number
    is_spot        = bool
    is_single      = bool
    environment    = map(string)
    secrets        = map(string)
    task_role_arn  = string
    start_role_arn = string
  }))
}

variable "tasks" {
  description = "Tasks that run once, when somebody or a schedule starts them, by name: as programs, with the command that they run unless told another."
  type = map(object({
    image          = string
    cpu            = number
    memory         = number
    command        = list(string)
    environment    = map(string)
    secrets        = map(string)
    task_role_arn  = string
    start_role_arn = string
  }))
  default = {}
}

variable "network" {
  description = "Where tasks run."
  type        = object({ subnet_ids = list(string), security_group_id = string })
}

variable "key_arn" {
  description = "KMS key of the logs."
  type        = string
}

variable "log_kept_days" {
  description = "How long logs are kept; one of the values that CloudWatch knows."
  type        = number
}

variable "consumers_max" {
  description = "How many consumers there may be: more than shards would have nothing to read."
  type        = number
}

variable "stream_name" {
  description = "The stream whose lag decides how many consumers there are."
  type        = string
}

variable "alarm_topic_arn" {
  description = "Where is told that a service cannot be started."
  type        = string
}

variable "other_services" {
  description = "ARNs of services of the cluster that are made elsewhere; of their deployments is told as well."
  type        = list(string)
  default     = []
}
