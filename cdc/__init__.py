"""The contract between the services: change event, position, table contract, raw zone, errors, settings, telemetry."""
