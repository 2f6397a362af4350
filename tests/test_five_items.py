"""Five items and four people, followed by hand from a CSV to metrics.json."""

import json
import math

import numpy as np
import polars as pl
import pytest

from gen_rec.cli import parse_config
from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.embeddings.store import save_embeddings
from gen_rec.inference import run_evaluate
from gen_rec.recommender import Recommender, tries_of
from gen_rec.run import Run
from gen_rec.stages import run_prepare, run_tokenize
from gen_rec.training.stage import make_accelerator, train, training_rows
from tokenizer import Codes

# Not in order of time: ann A B C D, bob B C D E, cyd C D E A, dan A B.
INTERACTIONS = """user_id,item_id,timestamp
ann,B,2
ann,A,1
bob,B,1
cyd,C,1
ann,D,4
bob,D,3
ann,C,3
dan,A,5
bob,C,2
cyd,E,3
bob,E,4
cyd,D,2
dan,B,6
cyd,A,4
"""
ITEMS = "item_id,title\nA,Apple\nB,Bread\nC,Cheese\nD,Dates\nE,Eggs\n"
# On a line. Five in two are 3 + 2; the cheapest such cut is the wide gap, then the next wide one, so the trees are
#   behaviour  ((A B) C) (D E)         semantic  ((B D) E) (A C)
# and a child's code is 0 on the left. A node of one item goes on with code 0 to the full depth of 3 = ceil(log2 5).
PLACES = {"behavior": [0, 1, 4, 10, 11], "semantic": [10, 0, 11, 1, 4]}
CODES = {
    "behavior": [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 0]],
    "semantic": [[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0]],
}
HISTORY = {"ann": "ABC", "bob": "BCD", "cyd": "CDE"}  # at test time the validation item is part of it
TARGET = {"ann": "D", "bob": "E", "cyd": "A"}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Run]:
    folder = tmp_path_factory.mktemp("five")
    (folder / "interactions.csv").write_text(INTERACTIONS)
    (folder / "items.csv").write_text(ITEMS)
    config = parse_config([
        f"--run={folder / 'run'}", f"--data.table.interactions={folder / 'interactions.csv'}",
        f"--data.table.items={folder / 'items.csv'}", "--tokenizer.branching=2", "--model.hidden_size=8",
        "--model.num_heads=2", "--model.inner_size=8", "--model.decoder_layers=1", "--training.epochs=3",
        "--training.batch_size=2", "--training.warmup_steps=0", "--training.learning_rate=0.01", "--training.cpu=true",
        "--search.method=beam", "--search.beams=5",
    ])  # fmt: skip
    run = Run(config.run)
    run_prepare(config)
    for stream, places in PLACES.items():
        save_embeddings(run.embeddings(stream), np.array(places, dtype=np.float32)[:, None], {"encoder": "by-hand"})
    run_tokenize(config)
    train(config, make_accelerator(config))
    run_evaluate(config)
    return config, run


def test_prepared(followed: tuple[Config, Run]) -> None:
    config, run = followed
    dataset = Dataset.load(run.data)
    assert dataset.item_ids.tolist() == list("ABCDE")
    assert dataset.user_ids.tolist() == ["ann", "bob", "cyd", "dan"]
    train_part = dataset.train_sequences()
    # The last is test, the one before it valid; dan has two interactions, too few for either.
    assert [train_part[i].tolist() for i in range(4)] == [[0, 1], [1, 2], [2, 3], [0, 1]]
    valid, test = dataset.cases("valid"), dataset.cases("test")
    assert (valid.user.tolist(), valid.target.tolist()) == ([0, 1, 2], [2, 3, 4])
    assert (test.user.tolist(), test.target.tolist()) == ([0, 1, 2], [3, 4, 0])
    assert [test[i].tolist() for i in range(3)] == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert dataset.train_counts().tolist() == [2, 3, 2, 1, 0]  # A: ann dan, B: ann bob dan, C: bob cyd, D: cyd
    summary = json.loads((run.data / "summary.json").read_text())
    assert (summary["users"], summary["items"], summary["interactions"]) == (4, 5, 14)
    assert summary["density"] == pytest.approx(14 / 20)
    rows = training_rows(dataset, config)
    assert rows.n_targets == 4
    batch = rows.batch(np.arange(4))
    assert (batch.history.tolist(), batch.targets.tolist()) == ([[0], [1], [2], [0]], [[1], [2], [3], [1]])


@pytest.mark.parametrize("stream", ["behavior", "semantic"])
def test_codes_and_trie(followed: tuple[Config, Run], stream: str) -> None:
    codes = Codes.load(followed[1].codes(stream))
    assert codes.codes.tolist() == CODES[stream]
    trie = tries_of({stream: codes}, [stream])[stream]
    # Behaviour: prefixes 0 1 | 00 01 10 11 | 000 001 010 100 110, numbered in this order at each level.
    assert trie.n_nodes == (1, 2, 4, 5)
    leaves = sorted(range(5), key=lambda item: CODES[stream][item])
    assert trie.leaf_items.tolist() == leaves
    if stream == "behavior":
        assert trie.item_nodes.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [1, 3, 4]]


def ranked(run: Run, filter_seen: bool) -> dict[str, list[dict[str, object]]]:
    """Every user's rows, best first."""
    recommender = Recommender.from_pretrained(run.folder)
    users = list(HISTORY)
    found = recommender.recommend([list(HISTORY[user]) for user in users], 5, filter_seen, users)
    return {user: found.filter(pl.col("user_id") == user).rows(named=True) for user in users}


def test_every_item_is_ranked_by_its_probability(followed: tuple[Config, Run]) -> None:
    for rows in ranked(followed[1], filter_seen=False).values():
        assert sorted(row["item_id"] for row in rows) == list("ABCDE")
        for stream in ("behavior_score", "semantic_score"):
            assert sum(math.exp(row[stream]) for row in rows) == pytest.approx(1.0, abs=1e-6)
        for row in rows:
            assert row["score"] == pytest.approx((row["behavior_score"] + row["semantic_score"]) / 2, abs=1e-6)
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True)
        assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    titles = dict(line.split(",") for line in ITEMS.splitlines()[1:])
    assert all(row["title"] == titles[row["item_id"]] for row in rows)


@pytest.mark.parametrize("mode", ["raw", "filtered"])
@pytest.mark.parametrize("method", ["eager-behavior", "eager-semantic", "eager-fused"])
def test_metrics_recomputed_by_hand(followed: tuple[Config, Run], mode: str, method: str) -> None:
    run = followed[1]
    column = {"eager-behavior": "behavior_score", "eager-semantic": "semantic_score", "eager-fused": "score"}[method]
    ranks = {}
    for user, rows in ranked(run, filter_seen=False).items():
        # Three of five items are in each history and no target is, so a filtered list has the target and one other.
        allowed = [row for row in rows if mode == "raw" or row["item_id"] not in HISTORY[user]]
        assert len(allowed) == (5 if mode == "raw" else 2)
        (own,) = (row[column] for row in allowed if row["item_id"] == TARGET[user])
        ranks[user] = sum(row[column] >= own for row in allowed)
    expected = {}
    for cut in (5, 10, 20):  # every list is shorter than every cut: each target is found
        expected[f"recall@{cut}"] = 1.0
        expected[f"ndcg@{cut}"] = sum(1 / math.log2(1 + rank) for rank in ranks.values()) / 3
    (result,) = (r for r in json.loads(run.metrics.read_text()) if r["method"] == method)
    assert result["metrics"][mode] == pytest.approx(expected, abs=1e-12)
    assert (result["n_users"], result["text_encoder"]) == (3, "by-hand")
    per_user = pl.read_parquet(run.per_user)
    assert dict(per_user.select("user_id", f"{method}/{mode}").iter_rows()) == ranks
    assert dict(per_user.select("user_id", "item_id").iter_rows()) == TARGET
    # Raw lists show all five, of mean popularity (2 + 3 + 2 + 1 + 0) / 5. Filtered ones show D E, A E and A B: four of
    # five, of mean popularity (1 + 0 + 2 + 0 + 2 + 3) / 6.
    beyond = result["beyond"][mode]
    assert beyond["coverage@5"] == (1.0 if mode == "raw" else 0.8)
    assert beyond["popularity@5"] == pytest.approx(8 / 5 if mode == "raw" else 8 / 6)


def test_filtered_lists(followed: tuple[Config, Run]) -> None:
    lists = {user: {row["item_id"] for row in rows} for user, rows in ranked(followed[1], filter_seen=True).items()}
    assert lists == {"ann": {"D", "E"}, "bob": {"A", "E"}, "cyd": {"A", "B"}}


def test_a_stranger_gets_what_is_popular(followed: tuple[Config, Run]) -> None:
    found = Recommender.from_pretrained(followed[1].folder).recommend([[]], k=3)
    assert found["item_id"].to_list() == ["B", "A", "C"]  # 3, 2 and 2 interactions; ties in catalogue order
    # One is added to each of the 5 counts: shares of 8 + 5.
    np.testing.assert_allclose(found["score"], np.log([4 / 13, 3 / 13, 3 / 13]), rtol=1e-6)
