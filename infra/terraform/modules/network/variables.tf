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
