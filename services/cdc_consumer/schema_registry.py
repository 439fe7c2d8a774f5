"""Schema registry: schemas by id, through Confluent's own client.

Source of the facts: Confluent docs, "Schema Registry API Reference" (error code 40403: schema not found).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from cdc.errors import FatalFault, RecordFault, TransientFault
from cdc_consumer.settings import RegistryLocation

SCHEMA_NOT_FOUND = 40403
TIMEOUT_SECONDS = 10.0
_REFUSED = frozenset({401, 403})


class ConfluentRegistry:
    """A registry with Confluent's REST interface; Apicurio and Karapace have it as well."""

    def __init__(self, location: RegistryLocation) -> None:
        self._where = location.url
        # Its own tries would outlast a lease and a SIGTERM; ours are made by those who know both.
        settings: Mapping[str, Any] = {"url": location.url, "timeout": TIMEOUT_SECONDS, "max.retries": 0}
        if location.user_info is not None:
            settings = {**settings, "basic.auth.user.info": location.user_info.get_secret_value()}
        self._client = SchemaRegistryClient(dict(settings))

    def schema(self, schema_id: int) -> str | None:
        """The Avro schema of an id; None when the registry itself says that there is none.

        A 404 without the registry's own code comes from something else, such as a proxy or a wrong path: then nothing
        is known of the schema, and the fault is transient like every other of the registry's.
        """
        try:
            schema = self._client.get_schema(schema_id)
        except SchemaRegistryError as error:
            if (error.http_status_code, error.error_code) == (404, SCHEMA_NOT_FOUND):
                return None
            raise self._fault(error.http_status_code) from None
        except Exception as error:  # noqa: BLE001 - whatever its HTTP library met; the text could hold the address's secret
            raise TransientFault(
                f"the schema registry gives no answer: {type(error).__name__}", where=self._where
            ) from None
        if schema.schema_type not in {None, "AVRO"} or schema.references or not schema.schema_str:
            raise RecordFault("avro-schema", f"schema {schema_id} of the registry is no Avro schema that stands alone")
        return schema.schema_str

    def _fault(self, status: int) -> TransientFault | FatalFault:
        what = f"the schema registry answers with HTTP status {status}"
        if status in _REFUSED:
            return FatalFault(what, where=self._where, hint="check user and password in CDC_SCHEMA_REGISTRY")
        return TransientFault(what, where=self._where)
