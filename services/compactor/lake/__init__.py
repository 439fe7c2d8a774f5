"""The table layer: everything that knows Iceberg. Nothing outside this package imports pyiceberg."""
