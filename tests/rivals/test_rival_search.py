"""What may be tried, and how validation chooses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.accuracy.rivals import search as module
from benchmarks.accuracy.rivals.ease import EASE
from benchmarks.accuracy.rivals.grid import GridError, Space, build
from benchmarks.accuracy.rivals.item_graph import ITEM_GRAPH
from benchmarks.accuracy.rivals.method import Job, Rival
from benchmarks.accuracy.rivals.run import RIVALS
from benchmarks.accuracy.rivals.search import fit_again, search, selected
from benchmarks.accuracy.rivals.training import SASREC
from gen_rec.config import Config
from gen_rec.data.columns import TEST
from gen_rec.data.interactions import Dataset
from gen_rec.data.storage import write_dataset
from gen_rec.evaluation.config import EvaluationConfig
from gen_rec.run import Run

GRIDS = Path(__file__).resolve().parents[2] / "configs" / "rivals"
GRAPH = Space({}, {"history_decay": [0.2, 0.9], "degree_power": [0.0, 0.3, 0.9]}, "test")
SASREC_FIXED = {"hidden_size": 8, "inner_size": 8, "max_history": 6, "training.epochs": 2, "training.batch_size": 16}
SASREC_SPACE = Space(SASREC_FIXED, {"training.learning_rate": [1e-4, 3e-2]}, "test")


def job(dataset: Dataset, folder: Path, seed: int = 0) -> Job:
    place = Run(folder)
    place.data.mkdir(parents=True, exist_ok=True)
    write_dataset(dataset, place.data)
    config = Config(run=str(folder), seed=seed, evaluation=EvaluationConfig(resamples=5))
    return Job(dataset, replace(config, training=replace(config.training, cpu=True)), place)


def with_garbage(dataset: Dataset) -> Dataset:
    """Other test targets."""
    items = dataset.item_index.copy()
    test = dataset.split == TEST
    items[test] = np.random.default_rng(9).integers(0, 15, int(test.sum()))
    return replace(dataset, item_index=items)


@pytest.mark.parametrize("rival", RIVALS.values(), ids=RIVALS)
def test_the_committed_grids_are_of_their_methods(rival: Rival) -> None:
    space = Space.read(GRIDS / f"{rival.name}.yaml")
    trials = space.trials()
    assert 1 <= len(trials) <= (20 if space.fixed else 60)  # those that train have fixed settings, and take an hour
    built = [build(rival.settings, {**space.fixed, **trial}) for trial in trials]
    assert all(a != b for i, a in enumerate(built) for b in built[:i])


def test_trials_are_all_combinations() -> None:
    assert GRAPH.trials()[:2] == [
        {"history_decay": 0.2, "degree_power": 0.0},
        {"history_decay": 0.2, "degree_power": 0.3},
    ]
    assert len(GRAPH.trials()) == 6
    one = GRAPH.with_values(["degree_power=5e-1"])
    assert one.trials() == [{}]
    assert build(ITEM_GRAPH.settings, one.fixed).degree_power == 0.5
    assert GRAPH.with_values([]) is GRAPH


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: [alpha]", "grid must be names with values"),
        ("settings: 3", "settings must be names with values"),
        ("grid: {alpha: 3}", "grid.alpha must be a list"),
        ("other: {}", "expected the keys"),
    ],
)
def test_a_file_that_is_no_grid(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(GridError, match=message):
        Space.read(tmp_path / "grid.yaml")


def test_settings_that_cannot_be_built(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="is inside of training"):
        build(SASREC.settings, {"training": 3, "training.epochs": 2})
    (tmp_path / "evidence.json").write_text(json.dumps({"chosen": {"settings": [1]}}))
    with pytest.raises(GridError, match="not the evidence of a rival's run"):
        Space.chosen_in(tmp_path / "evidence.json")


@pytest.mark.parametrize(
    ("rival", "space"), [(ITEM_GRAPH, GRAPH), (SASREC, SASREC_SPACE)], ids=["item-graph", "sasrec"]
)
def test_validation_alone_chooses(rival: Rival, space: Space, small: Dataset, tmp_path: Path) -> None:
    mine = job(small, tmp_path / "mine")
    trials, chosen = search(mine, rival, space)
    figures = [selected(trial) for trial in trials]
    assert len(set(figures)) > 1
    assert chosen is trials[int(np.argmax(figures))]

    garbage = with_garbage(small)
    assert (garbage.cases("test").target != small.cases("test").target).mean() > 0.5
    other = job(garbage, tmp_path / "garbage")
    again, chosen_again = search(other, rival, space)
    drop = ("seconds", "folder", "notes")  # the folder is named by the files' content
    strip = [{name: value for name, value in trial.items() if name not in drop} for trial in (chosen, chosen_again)]
    assert strip[0] == strip[1]
    assert [trial["validation"] for trial in again] == [trial["validation"] for trial in trials]
    settings = build(rival.settings, {**space.fixed, **chosen["changes"]})
    histories = small.cases("valid")
    assert (
        fit_again(mine, rival, settings)
        .scorer.scores(histories)
        .equal(fit_again(other, rival, settings).scorer.scores(histories))
    )


def test_the_first_of_equal_trials_wins(small: Dataset, tmp_path: Path) -> None:
    space = Space({}, {"max_distance": [0, 50]}, "test")  # no history is that long
    trials, chosen = search(job(small, tmp_path), ITEM_GRAPH, space)
    assert selected(trials[0]) == selected(trials[1])
    assert chosen is trials[0]


def test_finished_trials_are_not_run_again(small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def counting(work: Job, settings: Any, folder: Path, key: str) -> Any:
        calls.append(settings.regularization)
        if settings.regularization == 3.0 and calls.count(3.0) == 1:
            raise KeyboardInterrupt
        return EASE.fit(work, settings, folder, key)

    rival = replace(EASE, fit=counting)
    space = Space({}, {"regularization": [1.0, 3.0, 9.0]}, "test")
    work = job(small, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        search(work, rival, space)
    trials, _ = search(work, rival, space)
    assert calls == [1.0, 3.0, 3.0, 9.0]
    assert search(work, rival, space)[0] == trials
    assert calls == [1.0, 3.0, 3.0, 9.0]
    search(job(small, tmp_path, seed=1), rival, space)  # another seed, or other data, is another trial
    assert len(calls) == 7
    search(job(with_garbage(small), tmp_path), rival, space)
    assert len(calls) == 10


def test_all_settings_are_checked_before_any_is_fitted(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_trial", lambda *_: pytest.fail("a trial was run"))
    with pytest.raises(GridError, match="history_decay must be above 0"):
        search(job(small, tmp_path), ITEM_GRAPH, Space({}, {"history_decay": [0.5, 1.5]}, "test"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"grids": {}}, "expected the keys 'settings' and 'grid'"),
        ({"grid": {"alpha": 0.7}}, "grid.alpha must be a list"),
        ({"grid": {"alpha": []}}, "grid.alpha must be a list"),
        (["alpha"], "expected the keys"),
    ],
)
def test_a_grid_that_is_refused(content: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(GridError, match=words) as refused:
        Space.read(file)
    assert str(file) in str(refused.value)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="cannot be read"):
        Space.read(tmp_path / "none.yaml")
    with pytest.raises(GridError, match="expected NAME=VALUE"):
        GRAPH.with_values(["degree_power"])
    evidence = tmp_path / "evidence.json"
    evidence.write_text(json.dumps({"chosen": None}))
    with pytest.raises(GridError, match="not the evidence"):
        Space.chosen_in(evidence)
