# Public subnets whose interfaces take no inbound connection. A NAT gateway would cost more than the compute (32.85 dollars a
# month), interface endpoints 7.30 each in each zone; a public address is 3.65 a task (docs/cost.md).
locals {
  is_peered = var.database.vpc_id != null
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:flow logs cost more than what they watch here: no interface takes inbound connections; turn them on where a policy asks for them
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Without a rule: nobody uses it.
resource "aws_default_security_group" "none" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "public" {
  count             = length(var.zones)
  vpc_id            = aws_vpc.this.id
  availability_zone = "${var.region}${var.zones[count.index]}"
  cidr_block        = cidrsubnet(var.cidr, 2, count.index)
  tags              = { Name = "${var.name}-${var.zones[count.index]}" }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  count          = length(var.zones)
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

# Gateway endpoints are free, and keep the bulk of the traffic inside AWS.
resource "aws_vpc_endpoint" "gateway" {
  for_each          = toset(["s3", "dynamodb"])
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.${each.key}"
  route_table_ids   = [aws_route_table.public.id]
  tags              = { Name = "${var.name}-${each.key}" }
}

resource "aws_security_group" "task" {
  #checkov:skip=CKV2_AWS_5:tasks of other modules have it
  name        = "${var.name}-task"
  description = "Programs: nothing comes in; HTTPS and the database go out"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-task" }
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.task.id
  description       = "AWS APIs"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "database" {
  security_group_id = aws_security_group.task.id
  description       = "The source database"
  ip_protocol       = "tcp"
  from_port         = var.database.port
  to_port           = var.database.port
  cidr_ipv4         = local.is_peered ? var.database.cidr : var.cidr
}

resource "aws_vpc_peering_connection" "database" {
  count       = local.is_peered ? 1 : 0
  vpc_id      = aws_vpc.this.id
  peer_vpc_id = var.database.vpc_id
  auto_accept = true
  tags        = { Name = "${var.name}-database" }
}

resource "aws_route" "to_database" {
  count                     = local.is_peered ? 1 : 0
  route_table_id            = aws_route_table.public.id
  destination_cidr_block    = var.database.cidr
  vpc_peering_connection_id = aws_vpc_peering_connection.database[0].id
}

resource "aws_route" "from_database" {
  for_each                  = local.is_peered ? var.database.route_table_ids : []
  route_table_id            = each.key
  destination_cidr_block    = var.cidr
  vpc_peering_connection_id = aws_vpc_peering_connection.database[0].id
}
