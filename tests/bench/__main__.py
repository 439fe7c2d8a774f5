"""`make bench`: measure every row, or with ROW=<row> one. A row is a file beside this one, `row_<row>.py`.

Each row runs in a process of its own. Its last line says the figure, the peer's, the ratio and whether the target is
met; build/bench/<row>.json says the same for machines. Exit code 1: a target was missed, or a row failed.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

from tests.bench.result import Result

FOLDER = Path(__file__).parent
RESULTS = Path("build/bench")


def rows() -> list[str]:
    """The rows that there are."""
    return sorted(path.stem.removeprefix("row_").replace("_", "-") for path in FOLDER.glob("row_*.py"))


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("row", nargs="?", default="", help=f"one of {', '.join(rows())}; all of them when left out")
    row: str = parser.parse_args().row
    if not row:
        codes = [subprocess.run([sys.executable, "-m", "tests.bench", each], check=False).returncode for each in rows()]
        return int(any(codes))
    if row not in rows():
        parser.error(f"there is no row {row}; there are {', '.join(rows())}")
    result: Result = importlib.import_module(f"tests.bench.row_{row.replace('-', '_')}").measure()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{row}.json").write_text(result.to_json(), encoding="utf-8")
    for name, value in result.details.items():
        print(f"  {name}: {value:,.0f}" if isinstance(value, float | int) else f"  {name}: {value}")
    print(result.line(), flush=True)
    return 0 if result.met else 1


if __name__ == "__main__":
    sys.exit(main())
