"""How long ``gen-rec prepare`` takes on a large CSV, and how much memory.

Writes a synthetic CSV of interactions (ids of 20 and 10 characters, item popularity by a power law, times in
no order) into a temporary folder, prepares it in a process of its own and writes wall time and peak memory as
JSON.

    python benchmarks/prepare_memory.py --interactions 20000000 --out benchmarks/results/prepare_20m.json
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

CHUNK = 1_000_000
PREPARE = """
import json, sys
from gen_rec.data.config import DataConfig
from gen_rec.data.prepare import prepare
print(json.dumps(prepare(DataConfig(set="big", root=sys.argv[1], k_core=5), sys.argv[2])))
"""


def write_csv(path: Path, interactions: int, seed: int = 0) -> None:
    """Write rows user_id, item_id, timestamp: a tenth as many users, a hundredth as many items."""
    generator = np.random.default_rng(seed)
    n_users, n_items = max(interactions // 10, 1), max(interactions // 100, 1)
    with path.open("wb") as file:
        for start in range(0, interactions, CHUNK):
            rows = min(CHUNK, interactions - start)
            user = generator.integers(n_users, size=rows)
            item = (generator.random(rows) ** 3 * n_items).astype(np.int64)  # the popular ones come first
            frame = pl.DataFrame(
                {
                    "user": user,
                    "item": item,
                    "timestamp": generator.integers(1_000_000_000, 1_700_000_000, size=rows),
                }
            )
            frame.select(
                user_id="U" + pl.col("user").cast(pl.String).str.zfill(19),
                item_id="B" + pl.col("item").cast(pl.String).str.zfill(9),
                timestamp="timestamp",
            ).write_csv(file, include_header=start == 0)


def hardware() -> str:
    """Processor, cores and memory of this machine."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    return f"{name}, {len(names)} cores, {int(memory.split()[1]) / 2**20:.0f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=20_000_000, help="rows of the CSV")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "big", "interactions.csv")
        path.parent.mkdir()
        write_csv(path, arguments.interactions)
        csv_mb = path.stat().st_size / 2**20
        start = time.perf_counter()
        command = [sys.executable, "-c", PREPARE, folder, str(Path(folder, "out"))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        wall = time.perf_counter() - start
        out_mb = sum(file.stat().st_size for file in Path(folder, "out").iterdir()) / 2**20
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads(done.stdout)
    result = {
        "benchmark": "prepare from CSV, 5-core, leave-one-out",
        "interactions_read": arguments.interactions,
        **{name: summary[name] for name in ("users", "items", "interactions", "k_core_rounds")},
        "csv_mb": round(csv_mb),
        "parquet_mb": round(out_mb),
        "wall_s": round(wall, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mb": round(usage.ru_maxrss / 1024),
        "hardware": hardware(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("polars", "pyarrow", "numpy")},
        },
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
