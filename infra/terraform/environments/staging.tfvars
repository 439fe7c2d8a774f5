# Staging: as production, on spare capacity and kept for less long.
environment   = "staging"
region        = "us-east-1"
lake_database = "lakestaging"
image_tag     = "0.1.0"
vpc_cidr      = "10.42.1.0/24"
kept_days     = { raw = 14, quarantine = 14 }
sizes         = { publisher = { is_spot = true } }
