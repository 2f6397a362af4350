"""Measure the rows of the table, each in a process of its own, and write and print what was found.

python -m benchmarks.speed                    all rows, and the growth curves
python -m benchmarks.speed --rows 4 7         some of them; the files of the others stay as they are
python -m benchmarks.speed --smoke --out /tmp/x   seconds, tiny sizes: does everything still run?
"""

import argparse
import dataclasses
import importlib
import json
import logging
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.markers import splice
from benchmarks.speed.machine import hardware, measured_versions, peak_mb
from benchmarks.speed.table import table
from gen_rec.files import atomic_path, write_json

RESULTS = Path(__file__).parent / "results"
MODULES = {
    "training_step": (1, 2),
    "whole_training": (3,),
    "beam_search": (4,),
    "exact_ranking": (5,),
    "one_request": (6,),
    "trie_masks": (7,),
    "balanced_codes": (8,),
    "evaluation": (9,),
    "prepare_rows": (10,),
}
"""Module of this package -> the rows it measures; each has ``measure(size) -> list[Row]``."""


def measure(module: str, smoke: bool, out: Path) -> None:
    """Measure one module in this process and write its file."""
    rows = importlib.import_module(f"benchmarks.speed.{module}").measure("smoke" if smoke else "full")
    lines = []
    for row in rows:
        line = dataclasses.asdict(row)
        more = line.pop("more")
        lines.append({**line, **more, "process_peak_mb": round(peak_mb())})
    record = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "smoke": smoke,
        "hardware": hardware(), "versions": measured_versions(), "rows": lines,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{module}.json", record)


def load(folder: Path) -> list[dict[str, object]]:
    """All rows of a folder of results, in order of their numbers."""
    files = [folder / f"{module}.json" for module in MODULES]
    rows = [row for file in files if file.is_file() for row in json.loads(file.read_text(encoding="utf-8"))["rows"]]
    return sorted(rows, key=lambda row: row["row"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, nargs="+", help="numbers of the rows; all by default")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, for tests; figures mean nothing")
    parser.add_argument("--growth", action=argparse.BooleanOptionalAction, default=None, help="measure growth curves")
    parser.add_argument("--out", type=Path, help="folder of the results; a temporary one with --smoke")
    parser.add_argument("--readme", type=Path, help="write the table into this page, between its markers")
    parser.add_argument("--table", action="store_true", help="measure nothing; only the table of what there is")
    parser.add_argument("--module", choices=MODULES, help=argparse.SUPPRESS)  # one module, in this process
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    out = options.out or (Path(tempfile.mkdtemp(prefix="bench-speed-")) if options.smoke else RESULTS)
    if options.module:
        measure(options.module, options.smoke, out)
        return 0
    failed = []
    for module, rows in MODULES.items():
        if options.table:
            break
        if options.rows and not set(rows) & set(options.rows):
            continue
        command = [sys.executable, "-m", "benchmarks.speed", "--module", module, "--out", str(out)]
        print(f"row {', '.join(map(str, rows))}: {module}", flush=True)
        if subprocess.run([*command, *(["--smoke"] if options.smoke else [])], check=False).returncode:
            failed.append(module)
    growth = options.growth if options.growth is not None else not (options.rows or options.table)
    if growth:
        print("growth", flush=True)
        command = [sys.executable, "-m", "benchmarks.speed.growth", "--out", str(out)]
        command += ["--rows", *map(str, options.rows)] if options.rows else []
        if subprocess.run([*command, *(["--smoke"] if options.smoke else [])], check=False).returncode:
            failed.append("growth")
    lines = table(load(out))
    print(lines)
    if options.readme:
        page = splice(options.readme.read_text(encoding="utf-8"), "speed", lines, str(options.readme))
        with atomic_path(options.readme) as temporary:
            temporary.write_text(page, encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
