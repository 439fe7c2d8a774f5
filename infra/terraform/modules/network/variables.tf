variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "region" {
  description = "Region of the endpoints."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC, a /24 or larger; they must not overlap with the database's VPC."
  type        = string
}

variable "database" {
  description = "Where the source database is: its port and, where it lies in another VPC of this account and region, that VPC, its addresses and its route tables, which get a route back."
  type = object({
    port            = number
    vpc_id          = optional(string)
    cidr            = optional(string)
    route_table_ids = optional(set(string), [])
  })
}

variable "zones" {
  description = "Letters of the availability zones, two to four; stated, since a list that AWS gives may grow and move subnets."
  type        = list(string)
  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 4
    error_message = "Two to four zones."
  }
}
