"""One benchmark run: prepare, embed, tokenize, train and evaluate a config, and keep the result with what it took.

    python -m benchmarks.accuracy.run --config configs/beauty.yaml [--config OVERLAY.yaml ...] [--seed 1 ...]

takes the options of ``gen-rec train``, goes on where an interrupted run stopped, and writes
``benchmarks/accuracy/results/<set>-<names of the configs>-seed<seed>.json``, and the resolved settings under the same
name in ``benchmarks/accuracy/configs``; with ``--data.tie_order shuffled`` the set is ``<set>-shuffled``. An overlay
of ``configs/ablations`` adds its name to the methods, as in ``eager-fused/no-transfer``; ``configs/tiger.yaml`` makes
them ``tiger``. Times and memory are those of all stages; an interrupted run adds up its parts, training and
evaluation, but for one that was killed outright.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gen_rec.cli import guarded, parse
from gen_rec.commands import metrics_table, values_of
from gen_rec.config import Config, to_yaml
from gen_rec.evaluation.result import Meter, write_result
from gen_rec.files import atomic_path, write_json
from gen_rec.inference import run_evaluate
from gen_rec.pipeline import run_training

HERE = Path(__file__).parent
TIGER = "tiger"
"""The overlay, and the method that it makes of the semantic stream, which is its only one."""
RESULTS = HERE / "results"


def add_cost(path: Path, meter: Meter) -> dict[str, float]:
    """Add what a part of a run took to what its earlier parts took; memory is the largest of them."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    cost = {
        "wall_s": round(before.get("wall_s", 0.0) + meter.wall_s, 1),
        "cpu_s": round(before.get("cpu_s", 0.0) + meter.cpu_s, 1),
        "peak_rss_mb": round(max(before.get("peak_rss_mb", 0.0), meter.peak_rss_mb), 1),
    }
    write_json(path, cost)
    return cost


@contextmanager
def metered(path: Path, meter: Meter | None = None) -> Iterator[dict[str, float]]:
    """Measure a part of a run and add it to the cost of the earlier parts, also when it fails; a killed part is lost.

    The dictionary it gives holds the cost of all parts so far, once this one is over; ``meter`` this one's alone.
    """
    meter = meter or Meter()
    cost: dict[str, float] = {}
    try:
        with meter:
            yield cost
    finally:
        cost |= add_cost(path, meter)


def set_label(set_name: str, config: Config) -> str:
    """The set as the files of a run name it: over shuffled ties it is another question, with files of its own."""
    return f"{set_name}-shuffled" if config.data.tie_order == "shuffled" else set_name


def run(config: Config, names: list[str], home: Path = HERE) -> None:
    """Train and evaluate once, and write the result.

    names: the config files, the first and its overlays
    home:  where the folders ``results`` and ``configs`` are
    """
    with metered(Path(config.run) / "cost.json"):
        run_training(config)
    with metered(Path(config.run) / "cost.json") as cost:
        results = run_evaluate(config, "test", " + ".join(names))
    ablation = "".join(f"/{Path(name).stem}" for name in names if Path(name).parent.name == "ablations")
    is_tiger = TIGER in {Path(name).stem for name in names}
    for result in results:
        result.update(cost, method=(TIGER if is_tiger else result["method"]) + ablation)
    stems = "+".join(Path(name).stem for name in names)
    name = f"{set_label(results[0]['set'], config)}-{stems}-seed{config.seed}"
    print(metrics_table(results))
    print(write_result(home / "results" / f"{name}.json", results))
    run_name = f"runs/{Path(config.run).name}"  # a path of this machine is nobody else's
    shared = replace(config, run=run_name, data=replace(config.data, root=None))
    with atomic_path(home / "configs" / f"{name}.yaml") as temporary:
        temporary.write_text(to_yaml(shared), encoding="utf-8")


def main() -> int:
    """Entry point."""
    arguments = sys.argv[1:]
    names = values_of("--config", arguments)
    if not names:
        print("error: give --config FILE, the file that the result will name", file=sys.stderr)
        return 2
    config, _ = parse("train", arguments)
    return guarded(lambda: run(config, names))


if __name__ == "__main__":
    sys.exit(main())
