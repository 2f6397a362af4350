"""One run of a rival: prepare, search on validation, score the test split once, write.

    <run>/trials/<key>/trial.json      a finished trial; checkpoints and log.jsonl beside it where it is trained
    results/<set>-<method>-seed<seed>.json     figures of the test split, as the protocol has them
    ranks/<set>-<method>-seed<seed>.parquet    where the target of every user ranks, for paired comparisons
    evidence/<set>-<method>-seed<seed>.json    every trial with its figures on validation, and which was chosen

Times and memory are those of the whole search; an
interrupted run adds up its parts, and evidence has the seconds of each trial.
"""

import json
from dataclasses import asdict, replace
from typing import Any

from benchmarks.accuracy.home import HOME, REDRAWN, Home, set_label
from benchmarks.accuracy.ranks import keep_ranks
from benchmarks.accuracy.rivals.ease import EASE
from benchmarks.accuracy.rivals.evaluate import evaluate
from benchmarks.accuracy.rivals.grid import Space, build, flat
from benchmarks.accuracy.rivals.item_graph import ITEM_GRAPH, ITEM_GRAPH_TEXT
from benchmarks.accuracy.rivals.method import Job, Rival
from benchmarks.accuracy.rivals.popularity import POPULARITY
from benchmarks.accuracy.rivals.search import fit_again, search
from benchmarks.accuracy.rivals.training import BSAREC, SASREC
from benchmarks.accuracy.run import metered
from gen_rec.config import Config, to_yaml
from gen_rec.data.interactions import Dataset
from gen_rec.errors import DataError
from gen_rec.evaluation.lists import write_per_user
from gen_rec.evaluation.result import Meter, Result, write_result
from gen_rec.files import content_hash, write_json
from gen_rec.inference import device_of, results_of, settings_of, text_encoder
from gen_rec.run import Run
from gen_rec.stages import embed_texts, run_prepare

RIVALS = {rival.name: rival for rival in (POPULARITY, EASE, ITEM_GRAPH, ITEM_GRAPH_TEXT, SASREC, BSAREC)}


def run(config: Config, names: list[str], rival: Rival, space: Space, home: Home = HOME) -> Result:
    """Search, evaluate, write.

    names:  the config files
    home:   where it is written
    raises  DataError, before anything runs, where it holds a result of another search.
    """
    name, place = result_name(rival, config), Run(config.run)
    refuse_other_search(home, name, space)
    meter = Meter()
    with metered(place.folder / "cost.json", content_hash(settings_of(config), space.fixed, space.grid), meter) as cost:
        place.remember(to_yaml(config))
        run_prepare(config)
        job = Job(Dataset.load(place.data), config, place)
        if rival.texts:
            embed_texts(config, job.dataset, device_of(config))
        trials, chosen = search(job, rival, space)
        settings = build(rival.settings, flat(chosen["settings"]))
        scorer = fit_again(job, rival, settings).scorer
        evaluation = evaluate(scorer, job.dataset, "test", rival.name, config.evaluation)
    encoder = text_encoder(place) if rival.texts else "none"
    (result,) = results_of(config, evaluation, "test", " + ".join(names), meter, encoder)
    shared = settings_of(config)
    used = {name: shared[name] for name in ("seed", "data", "evaluation")}
    result.update(cost, method=method_of(rival, config), settings={**used, "rival": asdict(settings)})
    cases = job.dataset.cases("test")
    write_per_user(place.per_user, evaluation, cases, job.dataset.user_ids, job.dataset.item_ids)
    keep_ranks(place.per_user, {rival.name: result["method"]}, home.ranks(name))
    write_json(home.evidence(name), evidence(result, space, trials, chosen))
    write_result(home.result(name), result)
    return result


def refuse_other_search(home: Home, name: str, space: Space) -> None:
    """raises DataError where the folder holds the result of a search over something else."""
    path = home.evidence(name)
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if old and (old["source"], old["grid"]) != (space.source, space.grid):
        raise DataError(
            f"{path} is of another search ({old['source']}: {old['budget']} trials), now {space.source}; move it and "
            "its result away if this one is to take their place"
        )


def evidence(result: Result, space: Space, trials: list[dict[str, Any]], chosen: dict[str, Any]) -> dict[str, Any]:
    """What was tried, what it gave on validation, and what was chosen."""
    same = ("set", "method", "seed", "config", "ties", "text_encoder", "commit", "hardware", "versions")
    return {
        **{name: result[name] for name in same},
        "tuned_by": "filtered ndcg@10 on validation",
        "source": space.source,
        "budget": len(trials),
        "grid": space.grid,
        "trials": [{name: value for name, value in trial.items() if name != "settings"} for trial in trials],
        "chosen": chosen,
    }


def result_name(rival: Rival, config: Config) -> str:
    """Of the files that a run leaves, without a suffix."""
    return f"{set_label(config)}-{method_of(rival, config).replace('/', '+')}-seed{config.seed}"


def method_of(rival: Rival, config: Config) -> str:
    """As tables have it; named as the overlay of redrawn ties names ours."""
    return f"{rival.name}/{REDRAWN}" if config.data.tie_order == "redrawn" else rival.name


def with_own_run(config: Config, rival: Rival) -> Config:
    """The config with the folder that a rival's run has where none is asked for."""
    return replace(config, run=f"runs/rivals/{result_name(rival, config)}")
