"""One benchmark run: prepare, embed, tokenize, train and evaluate a config, and keep the result with what it took.

    python -m benchmarks.accuracy.run --config configs/beauty.yaml [--config OVERLAY.yaml ...] [--seed 1 ...]

takes the options of ``gen-rec train``, goes on where an interrupted run stopped, and writes
``benchmarks/accuracy/results/<set>-<names of the configs>-seed<seed>.json``, and under the same name the resolved
settings and the ranks (``home``). An overlay of ``configs/ablations`` adds its name to the methods, as in
``eager-fused/no-transfer``; ``configs/tiger.yaml`` makes them ``tiger``. Times and memory are those of all stages; an
interrupted run adds up its parts, training and evaluation, but for one that was killed outright.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.accuracy.command import main
from benchmarks.accuracy.home import HOME, Home, method_name, refuse_other_settings, run_name
from benchmarks.accuracy.ranks import keep_ranks
from gen_rec.commands import metrics_table
from gen_rec.config import Config, to_yaml
from gen_rec.evaluation.result import Meter, Result, write_result
from gen_rec.files import atomic_path, content_hash, write_json
from gen_rec.inference import run_evaluate, settings_of
from gen_rec.pipeline import run_training
from gen_rec.run import Run


def add_cost(path: Path, meter: Meter, key: str) -> dict[str, float]:
    """Add what a part of a run took to what its earlier parts took; memory is the largest of them."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    before = found if found.get("key") == key else {}
    cost = {
        "wall_s": round(before.get("wall_s", 0.0) + meter.wall_s, 1),
        "cpu_s": round(before.get("cpu_s", 0.0) + meter.cpu_s, 1),
        "peak_rss_mb": round(max(before.get("peak_rss_mb", 0.0), meter.peak_rss_mb), 1),
    }
    write_json(path, {"key": key, **cost})
    return cost


@contextmanager
def metered(path: Path, key: str, meter: Meter | None = None) -> Iterator[dict[str, float]]:
    """Measure a part of a run and add it to the cost of the earlier parts, also when it fails; a killed part is lost.

    The dictionary it gives holds the cost of all parts so far, once this one is over; ``meter`` this one's alone.

    key: of what is run; parts of anything else that ran in the folder before do not count
    """
    meter = meter or Meter()
    cost: dict[str, float] = {}
    try:
        with meter:
            yield cost
    finally:
        cost |= add_cost(path, meter, key)


def run(config: Config, names: list[str], home: Home = HOME) -> list[Result]:
    """Train and evaluate once, and write the result.

    names: the config files, the first and its overlays
    home:  where it is written
    """
    name, settings, place = run_name(config, names), settings_of(config), Run(config.run)
    refuse_other_settings(home.result(name), settings)
    key = content_hash(settings)
    with metered(place.folder / "cost.json", key):
        run_training(config)
    with metered(place.folder / "cost.json", key) as cost:
        results = run_evaluate(config, "test", " + ".join(names))
    methods = {result["method"]: method_name(result["method"], names) for result in results}
    for result in results:
        result.update(cost, method=methods[result["method"]])
    print(metrics_table(results))
    keep_ranks(place.per_user, methods, home.ranks(name))
    shared = replace(config, run=f"runs/{place.folder.name}", data=replace(config.data, root=None))  # of no machine
    with atomic_path(home.config(name)) as temporary:
        temporary.write_text(to_yaml(shared), encoding="utf-8")
    print(write_result(home.result(name), results))
    return results


if __name__ == "__main__":
    sys.exit(main(run))
