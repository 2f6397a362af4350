"""Row 10: ``gen-rec prepare`` of a large CSV, against pandas doing the same.

The CSV is synthetic: ids of 20 and 10 characters, item popularity by a power law, times in no order. Both sides order
by user and time, drop repeats, take the 5-core, number, split leave-one-out and write the same three tables; ours also
checks every value and writes a summary. Each repetition is a process of its own, so that its peak memory is its own;
its seconds begin after the imports. The sides take turns.

    python -m benchmarks.speed.prepare_rows --rows 2000000
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.speed.timing import REPETITIONS, Row, Seconds, compared
from benchmarks.speed.workload import Size

ROOT = Path(__file__).parents[2]
CHUNK = 1_000_000
K_CORE = 5
LARGEST_REPETITIONS = 3  # of the largest CSV: a pair takes a minute and a half
ROWS: dict[Size, tuple[int, ...]] = {"full": (2_000_000, 20_000_000), "smoke": (20_000,)}
"""Rows of the CSV; the last is the row of the table, those before warm up and stand in ``more``."""

SIDES = {
    "ours": """
from gen_rec.data.config import DataConfig
from gen_rec.data.prepare import prepare
def work(folder, out, k):
    prepare(DataConfig(set="big", root=str(folder), k_core=k, deduplicate=True), out)
""",
    "rival": """
from benchmarks.speed.rivals.pandas_prepare import prepare_with_pandas
def work(folder, out, k):
    prepare_with_pandas(folder / "big" / "interactions.csv", out, k)
""",
}
PROCESS = """
import json, pathlib, resource, sys, time
start, cpu = time.perf_counter(), time.process_time()
work(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]))
found = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
status = pathlib.Path("/proc/self/status")  # ru_maxrss also counts what the process that started this one held
if status.is_file():
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    found["peak_mb"] = int(line.split()[1]) * 1024 / 1e6
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found["peak_mb"] = peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
print(json.dumps(found))
"""


def write_csv(path: Path, interactions: int, seed: int = 0) -> None:
    """Write rows user_id, item_id, timestamp: a tenth as many users, a hundredth as many items."""
    generator = np.random.default_rng(seed)
    n_users, n_items = max(interactions // 10, 1), max(interactions // 100, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, interactions, CHUNK):
            rows = min(CHUNK, interactions - start)
            user = generator.integers(n_users, size=rows)
            item = (generator.random(rows) ** 3 * n_items).astype(np.int64)  # the popular ones come first
            time = generator.integers(1_000_000_000, 1_700_000_000, size=rows)
            frame = pl.DataFrame({"user": user, "item": item, "timestamp": time})
            frame.select(
                user_id="U" + pl.col("user").cast(pl.String).str.zfill(19),
                item_id="B" + pl.col("item").cast(pl.String).str.zfill(9),
                timestamp="timestamp",
            ).write_csv(file, include_header=start == 0)


def run_side(side: str, folder: Path, out: Path) -> dict[str, float]:
    """One repetition of one side in a process of its own: its ``seconds``, ``cpu_s`` and ``peak_mb``."""
    command = [sys.executable, "-c", SIDES[side] + PROCESS, str(folder), str(out), str(K_CORE)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout)


def compare(rows: int, repetitions: int, warmups: int) -> tuple[Seconds, dict[str, Any]]:
    """Both sides in turns on one CSV; the seconds, and what else was found."""
    sides: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder, "big", "interactions.csv")
        write_csv(csv, rows)
        for _ in range(warmups + repetitions):
            for side, found in sides.items():
                found.append(run_side(side, Path(folder), Path(folder, side)))
        summary = json.loads(Path(folder, "ours", "summary.json").read_text(encoding="utf-8"))
        more: dict[str, Any] = {"rows": rows, "csv_mb": round(csv.stat().st_size / 1e6)}
        more |= {name: summary[name] for name in ("users", "items", "interactions", "dropped_duplicates")}
    for side, found in sides.items():
        more[f"{side}_peak_mb"] = round(max(each["peak_mb"] for each in found))
        more[f"{side}_cpu_s"] = round(statistics.median(each["cpu_s"] for each in found[warmups:]), 2)
    ours, rival = ([each["seconds"] for each in sides[side][warmups:]] for side in ("ours", "rival"))
    return Seconds(ours, rival), more


def measure(size: Size) -> list[Row]:
    """One row: seconds for the largest CSV; the smaller one, with more repetitions, in ``more``."""
    *smaller, largest = ROWS[size]
    name = "prepare from CSV rows, against pandas"
    more: dict[str, Any] = {"rival_is": "pandas, CSV read by pyarrow with the types given, ids as integers throughout"}
    for rows in smaller:
        seconds, found = compare(rows, REPETITIONS, warmups=1)
        row = compared(10, name, seconds, "s", **found)
        more[f"at_{rows}_rows"] = {
            "ours_s": row.ours, "rival_s": row.rival, "ratio": row.ratio, "spread": row.spread, **row.more
        }  # fmt: skip
    seconds, found = compare(largest, LARGEST_REPETITIONS if size == "full" else 1, warmups=0)
    return [compared(10, name, seconds, "s", **found, **more)]


def main() -> None:
    """One size, printed as JSON; for development."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    seconds, more = compare(options.rows, options.repetitions, warmups=0)
    print(json.dumps({**seconds._asdict(), **more}, indent=2))


if __name__ == "__main__":
    main()
