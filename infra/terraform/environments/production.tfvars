# Production: what the founding load needs, and what docs/cost.md sums up.
environment   = "production"
region        = "us-east-1"
lake_database = "lake"
image_tag     = "0.1.0"
