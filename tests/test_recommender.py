"""The recommender as a person uses it: external ids in and out, one folder on disk, the same folder on the hub."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from torch import Tensor

from gen_rec import recommender as module
from gen_rec.config import Config
from gen_rec.errors import GenRecError
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.recommender import Recommender, enough_beams
from gen_rec.retrieval import SearchConfig, search

HISTORIES = [["i1", "i2", "i3"], ["i30"], ["i7", "i8", "i9", "i10", "i12", "i13", "i14"], ["i5", "i4"]]
FILES = {"README.md", "config.json", "items.parquet", "model.safetensors", "codes_behavior.json",
         "codes_behavior.safetensors", "codes_semantic.json", "codes_semantic.safetensors"}  # fmt: skip


@pytest.fixture
def recommender(trained: tuple[Config, Path]) -> Recommender:
    return Recommender.from_pretrained(trained[1])


def test_what_comes_back(recommender: Recommender) -> None:
    found = recommender.recommend(HISTORIES, k=5, user_ids=["a", "b", "c", "d"])
    assert found.schema == pl.Schema({
        "user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "title": pl.String, "score": pl.Float32,
        "behavior_score": pl.Float32, "semantic_score": pl.Float32,
    })  # fmt: skip
    assert found["user_id"].to_list() == [user for user in "abcd" for _ in range(5)]
    assert found["rank"].to_list() == [1, 2, 3, 4, 5] * 4
    for user, history in zip("abcd", HISTORIES, strict=True):
        own = found.filter(pl.col("user_id") == user)
        assert own["score"].is_sorted(descending=True)
        assert own["item_id"].n_unique() == 5
        assert not set(own["item_id"]) & set(history)  # seen items are left out unless asked for
        for row in own.iter_rows(named=True):
            number = row["item_id"].removeprefix("i")
            assert row["title"].startswith(f"Thing {number} of")
            # The default fusion: both streams' log-probability, half each. Float32 sums.
            assert row["score"] == pytest.approx((row["behavior_score"] + row["semantic_score"]) / 2, abs=1e-5)


def test_scores_are_the_models_own_probabilities(recommender: Recommender) -> None:
    # All items of each stream: probabilities that sum to one, and equal to teacher forcing's.
    found = recommender.recommend(HISTORIES[:1], k=40, filter_seen=False)
    assert len(found) == recommender.n_items == 40
    history = torch.tensor([[recommender.items["item_id"].to_list().index(item) for item in HISTORIES[0]]])
    for stream in ("behavior", "semantic"):
        assert np.exp(found[f"{stream}_score"].to_numpy()).sum() == pytest.approx(1.0, abs=1e-5)
        for row in (0, 17, 39):
            target = recommender.items["item_id"].to_list().index(found["item_id"][row])
            with torch.no_grad():
                output = recommender.model(history, torch.tensor([3]), torch.tensor([[target]]))[stream]
            assert found[f"{stream}_score"][row] == pytest.approx(output.code_log_probs.sum().item(), abs=1e-4)


@pytest.mark.parametrize("method", ["exact", "beam"])
def test_batches_equal_one_by_one(recommender: Recommender, method: str) -> None:
    together = {}
    for batch_size in (1, 3, 256):
        recommender.search = SearchConfig(method=method, beams=40, batch_size=batch_size)  # type: ignore[arg-type]
        together[batch_size] = recommender.recommend(HISTORIES, k=7)
    for batch_size in (1, 3):
        assert together[batch_size]["item_id"].to_list() == together[256]["item_id"].to_list()
        # Products of other shapes: float32 rounding.
        np.testing.assert_allclose(together[batch_size]["score"], together[256]["score"], atol=2e-5)


def test_a_list_does_not_depend_on_who_else_is_asked_for(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long history needs more beams, for what it excludes; it must not give a short one beside it more of them."""
    used: dict[int, set[int]] = {}

    def spy(model: TwoStreamModel, history: Tensor, lengths: Tensor, k: int, excludes: Any, config: Any, **more: Any):  # type: ignore[no-untyped-def]
        for row in excludes[0]:
            used.setdefault(int((row >= 0).sum()), set()).add(config.beams)
        return search(model, history, lengths, k, excludes, config, **more)

    monkeypatch.setattr(module, "search", spy)
    recommender.search = SearchConfig(method="beam", beams=3)
    long = [f"i{item}" for item in range(0, 40, 2)]
    alone = [recommender.recommend([history], k=3)["item_id"].to_list() for history in HISTORIES]
    beside = recommender.recommend([*HISTORIES, long], k=3)["item_id"].to_list()
    assert beside[: 3 * len(HISTORIES)] == [item for found in alone for item in found]
    assert used == {1: {6}, 2: {6}, 3: {6}, 7: {12}, 20: {24}}  # the first of 3, 6, 12, ... that holds length + k


def test_beams_by_hand() -> None:
    wanted = np.array([1, 100, 101, 200, 201, 850])
    assert enough_beams(100, wanted).tolist() == [100, 100, 200, 200, 400, 1600]


def test_seen_items_are_removed_before_the_cut(recommender: Recommender) -> None:
    whole = recommender.recommend(HISTORIES, k=40, filter_seen=False)
    kept = recommender.recommend(HISTORIES, k=40, filter_seen=True)
    for i, history in enumerate(HISTORIES):
        all_items = whole.filter(pl.col("user_id") == str(i))["item_id"].to_list()
        unseen = kept.filter(pl.col("user_id") == str(i))
        assert unseen["item_id"].to_list() == [item for item in all_items if item not in history]
        assert unseen["rank"].to_list() == list(range(1, 41 - len(history)))


@pytest.mark.parametrize("method", ["exact", "beam"])
def test_k_beyond_the_catalogue_is_cut(recommender: Recommender, method: str) -> None:
    recommender.search = SearchConfig(method=method, beams=2)  # type: ignore[arg-type]
    found = recommender.recommend([["i1"]], k=1000, filter_seen=False)
    assert sorted(found["item_id"]) == sorted(recommender.items["item_id"])
    assert len(recommender.recommend([["i1"]], k=1000)) == 39


def test_unknown_items_are_skipped_and_counted(recommender: Recommender, caplog: pytest.LogCaptureFixture) -> None:
    clean = recommender.recommend([["i1", "i2"], ["i3"]], k=5)
    assert not caplog.records
    found = recommender.recommend([["i1", "nope", "i2", "never"], ["i3"]], k=5)
    assert found.equals(clean)
    assert [r.getMessage() for r in caplog.records] == [
        "2 of 5 items in the histories are not in the catalogue and were skipped"
    ]


def test_an_empty_history_gets_the_most_popular(recommender: Recommender) -> None:
    counts = recommender.items["train_count"].to_numpy()
    order = np.argsort(-counts, kind="stable")[:4]
    found = recommender.recommend([[], ["i1"], ["unknown only"]], k=4)
    for user in ("0", "2"):
        own = found.filter(pl.col("user_id") == user)
        assert own["item_id"].to_list() == recommender.items["item_id"].gather(order).to_list()
        # Log-share of training interactions, one added to each item so that none has log(0).
        np.testing.assert_allclose(own["score"], np.log((counts[order] + 1) / (counts.sum() + 40)), rtol=1e-6)
        assert own["behavior_score"].null_count() == own["semantic_score"].null_count() == 4
    assert found.filter(pl.col("user_id") == "1")["behavior_score"].null_count() == 0
    assert recommender.recommend([[]], k=4, user_ids=["x"])["rank"].to_list() == [1, 2, 3, 4]


def test_nothing_asked(recommender: Recommender) -> None:
    found = recommender.recommend([])
    assert len(found) == 0
    assert found.schema == recommender.recommend([["i1"]], k=1).schema


def test_refused(recommender: Recommender) -> None:
    with pytest.raises(TypeError, match="history 1 is the string 'i2'; give a list"):
        recommender.recommend([["i1"], "i2"])
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        recommender.recommend([["i1"]], k=0)
    with pytest.raises(ValueError, match="1 user_ids for 2 histories"):
        recommender.recommend([["i1"], ["i2"]], user_ids=["a"])


def test_only_the_most_recent_items_are_read(recommender: Recommender) -> None:
    old = [f"i{i % 40}" for i in range(60)]
    recent = [f"i{i}" for i in range(20)]  # max_history is 20
    assert recommender.recommend([old + recent], k=9, filter_seen=False).equals(
        recommender.recommend([recent], k=9, filter_seen=False)
    )


def test_round_trip(recommender: Recommender, tmp_path: Path) -> None:
    recommender.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == FILES  # no pickle among them
    again = Recommender.from_pretrained(tmp_path / "saved")
    assert again.recommend(HISTORIES, k=40).equals(recommender.recommend(HISTORIES, k=40))
    assert again.search == recommender.search
    assert not again.model.training
    mine, theirs = recommender.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_run_folder_and_model_folder(trained: tuple[Config, Path], recommender: Recommender) -> None:
    again = Recommender.from_pretrained(str(trained[1] / "model"))
    assert again.recommend(HISTORIES).equals(recommender.recommend(HISTORIES))


def test_saving_replaces_the_folder_as_a_whole(
    recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender.save(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    monkeypatch.setattr("gen_rec.recommender.save_file", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recommender.save(tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def damage(folder: Path, name: str) -> None:
    if name == "config.json: format":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "format": 99}))
    elif name == "config.json: setting":
        config = json.loads((folder / "config.json").read_text())
        config["model"]["hidden_size"] = 32
        (folder / "config.json").write_text(json.dumps(config))
    elif name.startswith("no "):
        (folder / name.removeprefix("no ")).unlink()
    else:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no model.safetensors", "not a saved recommender, model.safetensors is missing; train first"),
        ("no items.parquet", "items.parquet is missing"),
        ("no codes_semantic.safetensors", "codes_semantic.safetensors: no codes there"),
        ("config.json: format", "format 99, this gen_rec reads 4"),
        ("config.json: setting", "not a whole recommender of this version"),
        ("config.json", "config.json: not JSON"),
        ("model.safetensors", "not a whole recommender"),
        ("items.parquet", "not a whole recommender"),
    ],
)
def test_a_damaged_folder(trained: tuple[Config, Path], tmp_path: Path, what: str, message: str) -> None:
    folder = Path(shutil.copytree(trained[1] / "model", tmp_path / "model"))
    damage(folder, what)
    with pytest.raises(GenRecError, match=message) as error:
        Recommender.from_pretrained(folder)
    assert str(folder) in str(error.value)


def test_no_such_folder_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GenRecError, match="there is no such folder; train first"):
        Recommender.from_pretrained(tmp_path / "nothing")

    def offline(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("gen_rec.recommender.snapshot_download", offline)
    with pytest.raises(GenRecError, match=r"someone/model: .* the hub did not give it \(no network\)"):
        Recommender.from_pretrained("someone/model")


def test_from_the_hub(trained: tuple[Config, Path], recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def download(name: str, **kwargs: object) -> str:
        asked.update(kwargs, name=name)
        return str(trained[1] / "model")

    monkeypatch.setattr("gen_rec.recommender.snapshot_download", download)
    again = Recommender.from_pretrained("someone/shop", revision="v1")
    assert asked == {"name": "someone/shop", "revision": "v1"}
    assert again.recommend(HISTORIES).equals(recommender.recommend(HISTORIES))


def test_the_model_card(recommender: Recommender, tmp_path: Path) -> None:
    recommender.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert "More Information Needed" not in card.content
    assert "{{" not in card.content
    assert (card.data.library_name, card.data.license) == ("gen_rec", "apache-2.0")
    assert {"recommendation", "semantic-ids", "generative-retrieval"} <= set(card.data.tags)
    assert "Recommender.from_pretrained(" in card.text
    for path in tmp_path.iterdir():  # every file is explained
        name = re.sub("codes_[a-z]+", "codes_*", path.name)
        assert name == "README.md" or f"`{name}`" in card.text
    (tmp_path / "README.md").write_text("mine")  # a card that a person wrote stays
    recommender.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_push_to_hub_uploads_these_files(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: dict[str, set[str]] = {}

    def create_repo(self: HfApi, repo_id: str, **_: object) -> object:
        return type("Url", (), {"repo_id": repo_id})()

    def upload_folder(self: HfApi, *, repo_id: str, folder_path: Path, **_: object) -> str:
        uploaded[repo_id] = {path.relative_to(folder_path).as_posix() for path in Path(folder_path).rglob("*")}
        assert "recommendation" in (Path(folder_path) / "README.md").read_text()  # the tags of the model's card
        return "url"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    recommender.push_to_hub("someone/shop")
    assert uploaded == {"someone/shop": FILES}


def test_one_stream(trained: tuple[Config, Path]) -> None:
    whole = Recommender.from_pretrained(trained[1])
    shape = type(whole.model.config)(**{**vars(whole.model.config), "streams": ["semantic"]})
    one = Recommender.build(shape, whole.codes, whole.model.content, whole.items, whole.search)
    found = one.recommend(HISTORIES, k=3)
    assert found["behavior_score"].null_count() == len(found) == 12
    assert found["semantic_score"].to_list() == found["score"].to_list()
