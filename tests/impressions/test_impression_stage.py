"""EmbSum alone on impressions, from files to figures: on a set whose right answer is known, and on the fragment."""

import json
import os
import random
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tiny_backbone import tiny_backbone

from gen_rec.cli import parse_config
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.objective import EmbSumObjective
from gen_rec.engine import Partitions
from gen_rec.errors import DataError, GenRecError
from gen_rec.impressions import stage
from gen_rec.impressions.mind import read_mind
from gen_rec.training.trainer import Interrupted

FRAGMENT = Path(os.environ.get("GEN_REC_DATA", "nowhere")) / "mind-fragment"
COLOURS = ("red", "blue", "green")
THINGS = ("nail", "polish", "hair", "shampoo", "brush", "soap", "oil", "dry")
NEWS = [(f"N{i}", COLOURS[i % 3], THINGS[i % 8]) for i in range(24)]
"""Every colour with every thing once."""


def write_mind(folder: Path, n_impressions: int, seed: int, labels: bool = True) -> Path:
    """Readers of one colour, who click what has their colour and nothing else; one has no history."""
    folder.mkdir(parents=True)
    with (folder / "news.tsv").open("w") as file:
        file.writelines(f"{name}\t{colour}\t{thing}\t{colour} {thing}\t\t\t[]\t[]\n" for name, colour, thing in NEWS)
    draw = random.Random(seed)
    with (folder / "behaviors.tsv").open("w") as file:
        for number in range(n_impressions):
            colour = draw.choice(COLOURS)
            liked = [name for name, other, _ in NEWS if other == colour]
            others = [name for name, other, _ in NEWS if other != colour]
            draw.shuffle(liked)
            shown = [(name, 1) for name in liked[: draw.randint(1, 2)]]
            shown += [(name, 0) for name in draw.sample(others, draw.randint(2, 6))]
            draw.shuffle(shown)
            words = " ".join(f"{name}-{label}" if labels else name for name, label in shown)
            history = " ".join(liked[2 : 2 + draw.randint(1, 5)]) if number else ""
            file.write(f"{number}\tU{number // 2}\t11/12/2019 2:14:46 PM\t{history}\t{words}\n")
    return folder


@pytest.fixture(scope="session")
def mind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of train, valid, and test, which has no labels."""
    root = tmp_path_factory.mktemp("mind")
    return {
        "train": write_mind(root / "train", 150, 0), "valid": write_mind(root / "valid", 60, 1),
        "test": write_mind(root / "test", 20, 2, labels=False),
    }  # fmt: skip


@pytest.fixture(scope="session")
def impression_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone") / "tiny"
    folder.mkdir()
    tiny_backbone("t5").save(folder)
    return folder


@pytest.fixture
def config_of(tmp_path: Path, impression_backbone: Path) -> Callable[..., Any]:
    """``config_of("run", "--seed=1")``: settings of a tiny EmbSum."""

    def make(name: str = "run", *more: str) -> Any:
        own = {
            "backbone": impression_backbone, "user_codes": 3, "item_codes": 2, "code_size": 8, "session_items": 2,
            "summary_tokens": 6, "head_rate": 3, "training.epochs": 2, "training.batch_size": 30,
            "training.learning_rate": 0.003, "training.warmup_steps": 2, "training.cpu": "true",
        }  # fmt: skip
        options = [f"--embsum.{key}={value}" for key, value in own.items()]
        return parse_config([f"--run={tmp_path / name}", "--evaluation.resamples=50", *options, *more])

    return make


def weights(run: str) -> dict[str, torch.Tensor]:
    folder = Path(run) / "embsum" / "model"
    return {**load_file(folder / "heads.safetensors"), **load_file(folder / "backbone" / "model.safetensors")}


def test_it_learns_who_clicks_what(
    mind: dict[str, Path], config_of: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of("run", "--impressions.negatives=3")
    told = stage.run_impressions(config, "mind", **mind, predictions=tmp_path / "prediction.txt")
    valid = told["splits"]["valid"]
    # right for the 59 readers with a history, and all candidates equal for the other; chance is .5
    assert valid["metrics"]["auc"] == pytest.approx((59 + 0.5) / 60, abs=1e-9)
    assert valid["intervals"]["auc"][0] <= valid["metrics"]["auc"] <= valid["intervals"]["auc"][1]
    assert (valid["n_impressions"], valid["left_out"]) == (60, {"one_label": 0, "unlabelled": 0})
    training = told["training"]
    assert training["best"]["impressions/auc"] == pytest.approx(valid["metrics"]["auc"], abs=1e-6)  # the kept weights
    clicks = told["read"]["train"]["clicks"]
    assert training["clicks"] + training["clicks_left_out"] == clicks
    assert 1 <= training["clicks_left_out"] <= 2  # those of the reader without a history
    assert told == json.loads((Path(config.run) / "impressions.json").read_text())
    log = [json.loads(line) for line in (Path(config.run) / "embsum" / "log.jsonl").read_text().splitlines()]
    assert {"nce", "summary"} <= set(log[0])  # the template's summaries are learnt too

    # the test split has no labels: no figures, but ranks that a colour's readers would agree with
    assert told["splits"]["test"]["metrics"] is None
    assert told["splits"]["test"]["left_out"] == {"one_label": 0, "unlabelled": 20}
    test = read_mind({"test": mind["test"]}).splits["test"]
    lines = (tmp_path / "prediction.txt").read_text().splitlines()
    right = 0
    for i, line in enumerate(lines):
        name, ranks = line.split(" ")
        assert name == test.ids[i]
        ranks = json.loads(ranks)
        assert sorted(ranks) == list(range(1, len(ranks) + 1))
        shown = test.candidates[test.offsets[i] : test.offsets[i + 1]]
        first = shown[ranks.index(1)]
        right += len(test.history_of(i)) > 0 and test.history_of(i)[0] % 3 == first % 3
    assert right == 19  # all readers with a history; chance is 6

    caplog.set_level("INFO")
    assert stage.run_impressions(config, "mind", **mind, predictions=tmp_path / "prediction.txt") == told
    assert "not trained again" in caplog.text
    assert "impressions: model, impressions and settings have not changed, skipped" in caplog.text
    again = stage.run_impressions(config, "mind", mind["train"], mind["valid"])  # fewer splits, same weights
    assert set(again["splits"]) == {"valid"}
    assert again["splits"]["valid"]["metrics"] == valid["metrics"]


def test_interrupted(mind: dict[str, Path], config_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = config_of("whole"), config_of("parts")
    first = stage.run_impressions(whole, "mind", mind["train"], mind["valid"])
    original, calls = EmbSumObjective.forward, 0

    def forward(self: EmbSumObjective, *arguments: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 4:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(EmbSumObjective, "forward", forward)
        with pytest.raises(Interrupted, match="the same command goes on"):
            stage.run_impressions(parts, "mind", mind["train"], mind["valid"])
    second = stage.run_impressions(parts, "mind", mind["train"], mind["valid"])
    a, b = weights(whole.run), weights(parts.run)
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]
    assert first["splits"]["valid"]["metrics"] == second["splits"]["valid"]["metrics"]


def test_scores_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    class Scorer:
        """Three histories; the third fails at first."""

        impressions = type("Impressions", (), {"candidates": np.zeros(6, np.int32)})
        failing, asked = True, []

        def __len__(self) -> int:
            return 3

        def block(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            self.asked.append((start, stop))
            if start == 2 and self.failing:
                raise RuntimeError("killed")
            places = np.array([start, 5 - start])
            return places, places.astype(np.float32) / 2

    scorer: Any = Scorer()
    partitions = Partitions(tmp_path / "parts", "key")
    with pytest.raises(RuntimeError, match="killed"):
        stage.stored_scores(scorer, partitions, rows=1)
    scorer.failing = False
    scorer.asked.clear()
    assert stage.stored_scores(scorer, partitions, rows=1).tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert scorer.asked == [(2, 3)]
    assert pl.read_parquet(partitions.path(0)).columns == ["place", "score"]


def test_what_is_refused(mind: dict[str, Path], config_of: Callable[..., Any], tmp_path: Path) -> None:
    config = config_of()
    with pytest.raises(DataError, match="Goodreads is one folder"):
        stage.run_impressions(config, "goodreads", tmp_path, mind["valid"])
    with pytest.raises(DataError, match="there is no test split to write predictions of; give --test"):
        stage.run_impressions(config, "mind", mind["train"], predictions=tmp_path / "prediction.zip")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        stage.run_impressions(config, "mind", mind["train"], tmp_path / "nowhere")
    with pytest.raises(DataError, match="20 training impressions with 0 clicks"):
        stage.run_impressions(config, "mind", mind["test"])
    with pytest.raises(GenRecError, match=r"embsum\.session_gap_hours is 2\.0, but the data has no times"):
        stage.run_impressions(config_of("a", "--embsum.session_gap_hours=2"), "mind", mind["train"])
    (tmp_path / "other" / "data").mkdir(parents=True)
    with pytest.raises(GenRecError, match="this run has a next-item set, and its EmbSum would be replaced"):
        stage.run_impressions(config_of("other"), "mind", mind["train"])
    chat = config_of("b", "--summaries.backend=openai", "--summaries.model=some")
    with pytest.raises(GenRecError, match=r"set --summaries\.backend template, or learn none"):
        stage.run_impressions(chat, "mind", mind["train"])


def test_goodreads(config_of: Callable[..., Any], tmp_path: Path) -> None:
    """One folder is cut into the three splits by time; everybody likes the books of a colour and no other."""
    folder = tmp_path / "poetry"
    folder.mkdir()
    books = [{"book_id": name, "title": f"{colour} {thing}"} for name, colour, thing in NEWS]
    (folder / "goodreads_books_poetry.json").write_text("".join(json.dumps(book) + "\n" for book in books))
    draw = random.Random(0)
    with (folder / "goodreads_interactions_poetry.json").open("w") as file:
        for reader in range(30):
            colour = draw.choice(COLOURS)
            for day, (name, other, _) in enumerate(draw.sample(NEWS, 20)):
                row = {"user_id": f"u{reader}", "book_id": name, "rating": 5 if other == colour else 1}
                date = datetime(2017, 8, day + 1, tzinfo=UTC).strftime("%a %b %d 12:00:00 +0000 %Y")
                file.write(json.dumps({**row, "date_added": date}) + "\n")
    config = config_of("run", "--embsum.training.epochs=1")
    told = stage.run_impressions(config, "goodreads", folder)
    assert set(told["splits"]) == {"valid", "test"}
    assert all(0 <= figures["metrics"]["auc"] <= 1 for figures in told["splits"].values())
    assert told["read"]["train"]["liked"] == told["training"]["clicks"] + told["training"]["clicks_left_out"]
    assert not list((Path(config.run) / "embsum").glob("*.parts"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--impressions.negatives=-1"], "impressions.negatives must not be negative, got -1"),
        (["--impressions.negatives=0"], "a click is learnt against something"),
    ],
)
def test_settings_that_are_refused(changes: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_config(changes)
    assert message in capsys.readouterr().err


@pytest.mark.real_data
@pytest.mark.skipif(not FRAGMENT.is_dir(), reason="mind-fragment is not under $GEN_REC_DATA")
def test_the_fragment_runs_through(config_of: Callable[..., Any], tmp_path: Path) -> None:
    """A few lines of it: most of its news has no text, so nothing can be learnt, and the AUC is near chance."""
    import gzip

    folder = tmp_path / "fragment"
    folder.mkdir()
    (folder / "news.tsv.gz").symlink_to(FRAGMENT / "news.tsv.gz")
    with gzip.open(FRAGMENT / "behaviors.tsv.gz", "rt", encoding="utf-8") as file:
        lines = [next(file) for _ in range(80)]
    (folder / "behaviors.tsv").write_text("".join(lines), encoding="utf-8")
    config = config_of(
        "run", "--embsum.training.epochs=1", "--embsum.training.batch_size=32", "--embsum.training.validation_users=30"
    )
    told = stage.run_impressions(config, "mind", folder, folder)
    assert told["read"]["train"]["impressions"] == 80
    assert told["training"]["steps"] == -(-told["training"]["clicks"] // 32)
    assert told["training"]["validation_impressions"] == 30
    assert told["splits"]["valid"]["candidates"] == sum(len(line.split("\t")[4].split()) for line in lines)
    assert 0.3 < told["splits"]["valid"]["metrics"]["auc"] < 0.7
    assert EmbSum.load(Path(config.run) / "embsum" / "model").config.user_codes == 3
