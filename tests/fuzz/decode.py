"""Coverage-guided fuzzing of all that reads bytes from a stream: `make fuzz SECONDS=60`; what it finds is kept.

Whatever the bytes are, the consumer must route them and the compactor must make changes of them or set them aside: no
exception, and no reason `unreadable`, which stands for an exception that nobody foresaw.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import atheris

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))  # it is started as a script

with atheris.instrument_imports(include=["cdc", "cdc_consumer", "compactor"]):
    from cdc.contract import Column, TableContract, load_folder
    from cdc.errors import TransientFault
    from cdc.postgres_type import parse_type
    from cdc.raw import RawLine, schema_path
    from cdc_consumer.avro import AvroReader
    from cdc_consumer.routing import ToTable, route, tables_by_source
    from compactor.change import ChangeReader

import msgspec

from tests.golden_avro import STREAM, MemoryRegistry, recorded_avro
from tests.raw_zone import MemoryObjects

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
# A value of each type as DMS renders it; the names and types in front are those of the recordings debezium_modes/.
TYPES: dict[str, tuple[str, Any]] = {
    "id": ("integer", 1), "i8": ("bigint", 9223372036854775807), "n": ("numeric", 1.5), "n122": ("numeric(12,2)", "-0.01"),
    "n50": ("numeric(5,0)", 12345), "n205": ("numeric(20,5)", 0.00001), "m": ("money", "12.34"), "by": ("bytea", "0xdead"),
    "dt": ("date", "2024-02-29"), "ti": ("time", "23:59:59.123456"), "ti0": ("time(0)", "23:59:59"),
    "ti3": ("time(3)", "23:59:59.123"), "tz": ("timetz", "23:59:59-03"), "ts": ("timestamp", "2024-02-29T23:59:59.123456Z"),
    "ts0": ("timestamp(0)", "2024-02-29 23:59:59"), "ts3": ("timestamp(3)", "2024-02-29T23:59:59.123"),
    "tt": ("timestamptz", "2024-02-29T23:59:59.1Z"), "tt3": ("timestamptz(3)", "2024-02-29 23:59:59-03"),
    "iv": ("interval", "1 day"), "hs": ("hstore", '"k"=>"v"'), "b1": ("bit(1)", "1"), "b8": ("bit(8)", "10101010"),
    "b16": ("bit(16)", "1000000000000001"), "vb": ("varbit", "00101"), "vb5": ("varbit(5)", "10101"),
    "pt": ("point", "(1.5,-2.5)"), "x": ("text", "<a>b</a>"), "o": ("oid", 4294967295), "r": ("real", 1.100000023841858),
    "d": ("double precision", 0.1), "a_i2": ("smallint[]", "{1,NULL}"), "a_i4": ("integer[]", "{{1,2},{3,4}}"),
    "a_n2": ("numeric(10,2)[]", "{1.10,NULL}"), "a_n": ("numeric[]", "{1.5,NaN}"), "a_by": ("bytea[]", '{"\\\\x0102",NULL}'),
    "a_dt": ("date[]", "{2024-02-29}"), "a_ti": ("time[]", "{12:00:00.5}"), "a_ts": ("timestamp[]", '{"2024-02-29 12:00:00.5"}'),
    "a_ts3": ("timestamp(3)[]", '{"2024-02-29 12:00:00.5"}'), "a_tt": ("timestamptz[]", '{"2024-02-29 12:00:00.5-03"}'),
    "a_t": ("text[]", '{a,"b \\"c\\"",NULL}'), "a_b": ("boolean[]", "{t,f,NULL}"), "a_hs": ("hstore[]", "{}"),
    "a_d": ("double precision[]", "{1.5,Infinity}"), "a_o": ("oid[]", "{42}"),
    "a_u": ("uuid[]", "{6f9619ff-8b86-d011-b42d-00c04fc964ff}"), "b": ("boolean", "true"), "i2": ("smallint", -32768),
    "u": ("uuid", "6f9619ff-8b86-d011-b42d-00c04fc964ff"), "js": ("json", '{"b": 1,  "a":2}'), "jb": ("jsonb", "[1e5, null]"),
    "ch": ("char(5)", "ab"), "vc": ("varchar(14)", "ç"), "en": ("enum", "feliz"), "ip": ("inet", "::1"),
    "i4r": ("int4range", "[1,10)"), "tsr": ("tsrange", '["2024-02-29 00:00:00",)'), "gg": ("geometry", "0101"),
    "a_jb": ("jsonb[]", '{"{\\"a\\": 1}"}'), "a_ch": ("char(2)[]", "{a}"),
}  # fmt: skip


def types_contract() -> TableContract:
    """A table with a column of every type."""
    kinds = {name: parse_type(type_name) for name, (type_name, _) in TYPES.items()}
    columns = (Column(name, name, kind, "internal", "clear") for name, kind in kinds.items() if kind is not None)
    return TableContract("tipos", "public", "tipos", tuple(columns), ("id",), "hold", 60, dms_full_images=True)


CONTRACTS = (*load_folder(ROOT / "tables"), types_contract())
TABLES = tables_by_source(CONTRACTS)
AVRO = [recorded_avro(name)[0] for name in ("translated_03", "adaptive", "names")]
SCHEMAS = {number: value.schema for number, value in enumerate(AVRO, 1)}
RAW = MemoryObjects()
AVRO_READER = AvroReader(MemoryRegistry(SCHEMAS), RAW, lambda: 0.0)
READERS = {
    contract.name: ChangeReader(
        contract, b"k" * 32, lambda stream, number: RAW.get(schema_path(stream, number)).decode()
    )
    for contract in CONTRACTS
}


def one_input(data: bytes) -> None:
    """Send some bytes the way that a record goes."""
    one_value(data)
    # The same as the bytes behind the head of a frame, by one of the schemas that are known.
    one_value(b"\0" + (1 + len(data) % len(SCHEMAS)).to_bytes(4, "big") + data)


def one_value(data: bytes) -> None:
    """Send one value the way that a record goes."""
    try:
        found = route(data, TABLES, lambda value: AVRO_READER.read(value, STREAM))
    except TransientFault:
        return  # a schema that is not known yet: it is asked for again
    payloads = [(found.line, found.schema_id)] if isinstance(found, ToTable) else []
    # What is no event of ours by its table may still come from a raw zone that was tampered with.
    for payload, schema_id in [*payloads, (data, None)]:
        line = RawLine("0", "1", 0, "2026-11-21T12:00:00Z", msgspec.Raw(payload), schema_id)
        for reader in READERS.values():
            changes, rejected = reader.read(f"{STREAM}/0", "0~1", [line])
            assert changes or rejected or not payloads
            for item in rejected:
                assert item.fault.reason != "unreadable", item.fault.what


def seeds() -> Iterator[bytes]:
    """Recorded events to begin with, DMS records of each type, and values in Avro without the head of their frame."""
    golden = ROOT / "tests/golden"
    lines = (golden / "debezium_13_usuarios_decimal_string.jsonl").read_text(encoding="utf-8").splitlines()
    yield from [json.loads(line)["value"].encode() for line in lines if json.loads(line)["value"]][:12]
    for file in sorted((golden / "debezium_modes").glob("*.jsonl.gz")):
        yield from gzip.decompress(file.read_bytes()).splitlines()[:2]
    samples = (golden / "dms_postgres_field_samples.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line)["record"] for line in samples]
    yield from (json.dumps(record).encode() for record in records)
    update, move = records[4], records[5]
    for name in TYPES:
        row = {other: value if other in {"id", name} else None for other, (_, value) in TYPES.items()}
        for sample in (update, move) if name == "id" else (update,):
            metadata = {**sample["metadata"], "table-name": "tipos"}
            yield json.dumps({**sample, "data": row, "before-image": {"id": 46}, "metadata": metadata}).encode()
    yield from (value.data[5:] for value in AVRO)


def main() -> None:
    """Fuzz for a time; a failing input is written to tests/fuzz/ and the exit code is not 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (CORPUS / f"seed-{number:03}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=20000", f"-artifact_prefix={CORPUS.parent}/failed-", str(CORPUS)]
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
