"""How the time of rows 1, 4, 5 and 8 grows with the catalogue, the history, the batch and the beams.

    python -m benchmarks.speed.growth                measure all, write growth.json and docs/images/growth.png
    python -m benchmarks.speed.growth --rows 5 8     some of them; the points of the others stay as they are
    python -m benchmarks.speed.growth --smoke        seconds, tiny sizes, into a temporary folder

Each module is measured in a process of its own. ``exponent`` is the slope of a straight line through the points in
log-log: time grows as size to that power. ``last`` is the slope between the two largest sizes alone, where the fixed
costs that flatten the small ones weigh least.
"""

import argparse
import importlib.util
import json
import logging
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.machine import hardware, measured_versions
from benchmarks.speed.plots import draw
from benchmarks.speed.timing import Point
from gen_rec.errors import MissingExtra
from gen_rec.files import write_json

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "growth.png"
MODULES = {"training_step": 1, "beam_search": 4, "exact_ranking": 5, "balanced_codes": 8}
"""Module of this package -> the row it belongs to; each has ``growth(size) -> list[Point]``."""


def exponents(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The slope of every row, axis and side that has two sizes or more.

    returns  ``{"row", "axis", "side", "sizes", "exponent", "last"}``, in order of first appearance
    """
    found = []
    for row, axis, side in dict.fromkeys((point.row, point.axis, point.side) for point in points):
        line = sorted((p.size, p.seconds) for p in points if (p.row, p.axis, p.side) == (row, axis, side))
        if len({size for size, _ in line}) < 2:
            continue
        size, seconds = (np.log(values) for values in zip(*line, strict=True))
        slope = float(np.polyfit(size, seconds, 1)[0])
        before = max(i for i in range(len(line)) if line[i][0] < line[-1][0])
        last = math.log(line[-1][1] / line[before][1]) / math.log(line[-1][0] / line[before][0])
        found.append({
            "row": row, "axis": axis, "side": side, "sizes": len(line),
            "exponent": round(slope, 3), "last": round(last, 3),
        })  # fmt: skip
    return found


def measure(module: str, smoke: bool, file: Path) -> None:
    """Measure one module in this process and write what it found."""
    growth = importlib.import_module(f"benchmarks.speed.{module}").growth
    points = growth("smoke" if smoke else "full")
    write_json(file, {
        "module": module, "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "smoke": smoke,
        "hardware": hardware(), "versions": measured_versions(), "points": [point._asdict() for point in points],
    })  # fmt: skip


def load(file: Path) -> dict[str, dict[str, Any]]:
    """Module -> its record in a file of growth curves; nothing where there is no file."""
    if not file.is_file():
        return {}
    return {record["module"]: record for record in json.loads(file.read_text(encoding="utf-8"))["modules"]}


def points_of(records: dict[str, dict[str, Any]]) -> list[Point]:
    """All points, module by module in the order of the rows."""
    return [Point(**point) for module in MODULES if module in records for point in records[module]["points"]]


def available(module: str) -> bool:
    """Whether the package has this module."""
    return importlib.util.find_spec(f"benchmarks.speed.{module}") is not None


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and draw; 1 where a module failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.growth", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, nargs="+", help="rows to measure; all by default")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, for tests; figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder of growth.json; the committed results by default")
    parser.add_argument("--picture", type=Path, help="where to draw; docs/images, or --out where that is given")
    parser.add_argument("--module", choices=MODULES, help=argparse.SUPPRESS)  # one module, in this process, to --out
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    if options.module:
        measure(options.module, options.smoke, options.out)
        return 0
    out = options.out or (Path(tempfile.mkdtemp(prefix="growth-")) if options.smoke else RESULTS)
    picture = options.picture or (PICTURE if out.resolve() == RESULTS.resolve() else out / "growth.png")
    records, failed = load(out / "growth.json"), []
    with tempfile.TemporaryDirectory() as folder:
        for module, row in MODULES.items():
            if options.rows and row not in options.rows:
                continue
            if not available(module):
                print(f"row {row}: there is no module {module}; left out", file=sys.stderr)
                continue
            print(f"growth of row {row}: {module}", flush=True)
            file = Path(folder, f"{module}.json")
            command = [sys.executable, "-m", "benchmarks.speed.growth", "--module", module, "--out", str(file)]
            if subprocess.run([*command, *(["--smoke"] if options.smoke else [])], check=False).returncode:
                failed.append(module)
            else:
                records[module] = json.loads(file.read_text(encoding="utf-8"))
    points = points_of(records)
    fitted = exponents(points)
    write_json(out / "growth.json", {
        "modules": [records[module] for module in MODULES if module in records], "exponents": fitted,
    })  # fmt: skip
    for line in fitted:
        print(f"row {line['row']}, {line['axis']}, {line['side']}: size^{line['exponent']} (last: {line['last']})")
    if points:
        try:
            draw(points, fitted, picture)
        except MissingExtra as error:
            print(error, file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
