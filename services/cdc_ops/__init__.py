"""The operators' tool `cdc`: what people do by hand, above all services."""
