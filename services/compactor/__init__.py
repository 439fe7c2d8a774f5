"""Raw zone to Iceberg: merges every change into the lake table and its history."""
