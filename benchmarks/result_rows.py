"""What the tables of results are made of: our results over their seeds, and figures that others published."""

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gen_rec.errors import DataError
from gen_rec.evaluation.metrics import metric_names
from gen_rec.evaluation.result import Result

MODES = {"raw": "items of the history may be recommended", "filtered": "items of the history are removed"}


@dataclass(frozen=True)
class Row:
    """One row of one table; ``figures`` has a mean and a standard deviation (None for one seed) a metric."""

    set: str
    mode: str
    name: str
    figures: dict[str, tuple[float, float | None]]
    seeds: int
    published: bool
    note: str = ""
    method: str = ""
    text_encoder: str = ""
    ties: str = "input-order"

    @property
    def base(self) -> str:
        """The method without what was changed of it."""
        return self.method.split("/")[0]

    @property
    def usual(self) -> bool:
        """A whole method of ours on histories in their usual order: what others are compared with."""
        return self.method == self.base and self.ties == "input-order" and not self.published


def names_of(results: Iterable[Result]) -> Callable[[Result], str]:
    """What a result's row is called: its method, and its text encoder where the set has several of the method."""
    encoders: dict[tuple[str, str], set[str]] = {}
    for each in results:
        encoders.setdefault((each["set"], each["method"]), set()).add(each["text_encoder"])

    def name(result: Result) -> str:
        method, encoder = result["method"], result["text_encoder"]
        return method if len(encoders[result["set"], method]) == 1 else f"{method}, {encoder or 'no text encoder'}"

    return name


def measured_rows(results: Iterable[tuple[Path, Result]]) -> list[Row]:
    """Rows of our own results on the test split, best NDCG@10 first.

    results: with their files, as ``read_folder`` gives them
    raises   DataError for a seed that occurs twice in a row.
    """
    results = list(results)
    groups: dict[tuple[str, str, str, str], dict[int, tuple[Path, dict[str, dict[str, float]]]]] = {}
    for path, result in results:
        if result["split"] != "test":
            continue
        key = (result["set"], result["method"], result["text_encoder"], result["ties"])
        seeds = groups.setdefault(key, {})
        if result["seed"] in seeds:
            raise DataError(
                f"{path}: {key[1]} on {key[0]} with seed {result['seed']} is already in "
                f"{seeds[result['seed']][0]}; keep one file, or give the ablation a suffix to its method"
            )
        seeds[result["seed"]] = (path, result["metrics"])
    name_of = names_of(result for _, result in results)
    rows = []
    for (set_name, method, encoder, ties), seeds in groups.items():
        name = name_of({"set": set_name, "method": method, "text_encoder": encoder})
        for mode in MODES:
            figures = {}
            for metric in metric_names():
                values = [metrics[mode][metric] for _, metrics in seeds.values()]
                spread = statistics.stdev(values) if len(values) > 1 else None
                figures[metric] = (statistics.fmean(values), spread)
            rows.append(
                Row(
                    set_name, mode, name, figures, len(seeds),
                    published=False, method=method, text_encoder=encoder, ties=ties,
                )
            )  # fmt: skip
    return sorted(rows, key=lambda row: (-row.figures["ndcg@10"][0], row.name))


def published_rows(path: Path) -> list[Row]:
    """Rows of published figures, in the order of the file."""
    return [
        Row(
            each["set"],
            each["mode"],
            f"{each['name']} ({each['source']})",
            {name: (value, None) for name, value in each["figures"].items()},
            seeds=0,
            published=True,
            note=each.get("note", ""),
        )
        for each in json.loads(path.read_text(encoding="utf-8"))
    ]
