"""Spark with Iceberg's own runtime, reading tables by their metadata files."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

IS_HERE = (
    importlib.util.find_spec("pyspark") is not None
    and importlib.util.find_spec("snowpark_connect_deps_iceberg") is not None
    and shutil.which("java") is not None
)
REASON = "needs the extra `spark` (pyspark and Iceberg's runtime for it) and a Java runtime"
_RUNTIME = "iceberg-spark-runtime-3.5_2.12-*.jar"
_THERE = "org/apache/iceberg/shaded/org/apache/parquet/shaded/com/fasterxml/jackson/"
_MISSING = "org/apache/iceberg/shaded/com/fasterxml/jackson/"
_UTF8 = 1
# How long the entries of a class file's constant pool are, by their tags, those of text left out (JVM spec, 4.4).
_LENGTHS = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
_TWO_PLACES = {5, 6}


def start_spark(folder: Path) -> Any:
    """A Spark on one core of this machine; it keeps what it writes in the folder."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - only where it is installed

    builder: Any = SparkSession.builder
    return (
        builder.master("local[1]")
        .config("spark.jars", ",".join(map(str, _jars(folder))))
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .config("spark.local.dir", str(folder))
        .getOrCreate()
    )


def _jars(folder: Path) -> list[Path]:
    """Iceberg's runtime, and what its build for PyPI lacks: Jackson where the runtime expects it."""
    spec = importlib.util.find_spec("snowpark_connect_deps_iceberg")
    assert spec is not None
    assert spec.origin is not None
    (runtime,) = (Path(spec.origin).parent / "jars").glob(_RUNTIME)
    jackson = folder / "jackson.jar"
    with zipfile.ZipFile(runtime) as source, zipfile.ZipFile(jackson, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if name.startswith(_THERE) and name.endswith(".class"):
                target.writestr(name.replace(_THERE, _MISSING), _relocated(source.read(name)))
    return [runtime, jackson]


def _relocated(body: bytes) -> bytes:
    """A class file whose names say where the runtime looks for it."""
    parts, at = [body[:10]], 10
    (count,) = struct.unpack_from(">H", body, 8)
    number = 1
    while number < count:
        tag = body[at]
        if tag == _UTF8:
            (length,) = struct.unpack_from(">H", body, at + 1)
            text = body[at + 3 : at + 3 + length]
            for old, new in ((_THERE, _MISSING), (_THERE.replace("/", "."), _MISSING.replace("/", "."))):
                text = text.replace(old.encode(), new.encode())
            parts.append(struct.pack(">BH", tag, len(text)) + text)
            at += 3 + length
        else:
            parts.append(body[at : at + 1 + _LENGTHS[tag]])
            at += 1 + _LENGTHS[tag]
        number += 2 if tag in _TWO_PLACES else 1
    return b"".join(parts) + body[at:]
