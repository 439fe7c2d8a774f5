"""Spark, the engine that Iceberg itself is tested with, reads what the compactor wrote; where it can run."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from tests.lake_machine.sample import sample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("pyspark") is None
        or importlib.util.find_spec("snowpark_connect_deps_iceberg") is None
        or shutil.which("java") is None,
        reason="needs the extra `spark` (pyspark and Iceberg's runtime for it) and a Java runtime",
    ),
]
