"""Coverage-guided fuzzing of all that reads bytes from a stream: `make fuzz SECONDS=60`; what it finds is kept.

Whatever the bytes are, the consumer must route them and the compactor must make changes of them or set them aside: no
exception, and no reason `unreadable`, which stands for an exception that nobody foresaw.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import atheris

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))  # it is started as a script

with atheris.instrument_imports(include=["cdc", "cdc_consumer", "compactor"]):
    from cdc.contract import load_folder
    from cdc.errors import TransientFault
    from cdc.raw import RawLine, schema_path
    from cdc_consumer.avro import AvroReader
    from cdc_consumer.routing import ToTable, route, tables_by_source
    from compactor.change import ChangeReader

import msgspec

from tests.golden_avro import STREAM, MemoryRegistry, recorded_avro
from tests.raw_zone import MemoryObjects

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
CONTRACTS = load_folder(ROOT / "tables")
TABLES = tables_by_source(CONTRACTS)
AVRO = [recorded_avro(name)[0] for name in ("translated_03", "adaptive", "names")]
SCHEMAS = {number: value.schema for number, value in enumerate(AVRO, 1)}
RAW = MemoryObjects()
AVRO_READER = AvroReader(MemoryRegistry(SCHEMAS), RAW, lambda: 0.0)
READERS = {
    contract.name: ChangeReader(
        contract, b"k" * 32, 1, lambda stream, number: RAW.get(schema_path(stream, number)).decode()
    )
    for contract in CONTRACTS
}


def one_input(data: bytes) -> None:
    """Send some bytes the way that a record goes."""
    # Any schema, and for the bytes behind the id each that is known.
    for framed in (data, *(b"\0" + number.to_bytes(4, "big") + data for number in SCHEMAS)):
        one_value(framed)


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


def seeds() -> list[bytes]:
    """Recorded events to begin with."""
    lines = (ROOT / "tests/golden/debezium_13_usuarios_decimal_string.jsonl").read_text(encoding="utf-8").splitlines()
    debezium = [json.loads(line)["value"].encode() for line in lines if json.loads(line)["value"]]
    samples = (ROOT / "tests/golden/dms_postgres_field_samples.jsonl").read_text(encoding="utf-8").splitlines()
    avro = [value.data[5:] for value in AVRO]
    return [*debezium[:12], *(json.dumps(json.loads(line)["record"]).encode() for line in samples), *avro]


def main() -> None:
    """Fuzz for a time; a failing input is written to tests/fuzz/ and the exit code is not 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (CORPUS / f"seed-{number:02}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=20000", f"-artifact_prefix={CORPUS.parent}/failed-", str(CORPUS)]
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
