# Development: goes away without a trace, commits seldom, proves nothing by night, has no dashboard.
environment              = "development"
region                   = "us-east-1"
lake_database            = "lakedevelopment"
image_tag                = "latest"
vpc_cidr                 = "10.42.2.0/24"
kept_days                = { raw = 3, quarantine = 3, results = 1, noncurrent = 1 }
log_kept_days            = 3
batch_age_seconds        = 60
compact_interval_seconds = 300
sizes                    = { publisher = { is_spot = true } }
reconcile_schedule       = null
budget_dollars_max       = 40
is_dashboard_made        = false
is_protected             = false
