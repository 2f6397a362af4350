"""The report page: complete in itself, escaped, and honest about what a run does not have yet."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from gen_rec.errors import DataError
from gen_rec.evaluation import make_result, write_result
from gen_rec.evaluation.bootstrap import bootstrap_intervals
from gen_rec.evaluation.metrics import MISS, retrieval_metrics
from gen_rec.evaluation.slices import length_slicing, slice_metrics
from gen_rec.report import write_report

NASTY = """<script>alert("x")</script> & 'Nail' "Lacquer" <img src=http://evil.example/a.png>"""
PNG = bytes.fromhex("89504e470d0a1a0a")
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Outline(HTMLParser):
    """Tags, addresses and text of a page; fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.classes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"a script in {name}"
            if name in ("src", "href", "action", "data"):
                self.addresses.append(value)
            if name == "class":
                self.classes.append((tag, value))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline(path) -> Outline:
    page = Outline()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


@pytest.fixture
def run(tmp_path):
    """A run folder with everything in it."""
    folder = tmp_path / "beauty"
    (folder / "data").mkdir(parents=True)
    (folder / "codes").mkdir()
    summary = {
        "users": 22363, "items": 12101, "interactions": 198502, "density": 0.000734, "share_with_text": 0.998,
        "interactions_per_user": {"min": 5.0, "median": 6.0, "max": 204.0}, "first_timestamp": 1023840000,
    }  # fmt: skip
    (folder / "data" / "summary.json").write_text(json.dumps(summary))
    report = {
        "depth": 2,
        "behavior": {"levels": [{"level": 1, "entropy": 6.99}, {"level": 2, "entropy": 13.56}]},
    }
    (folder / "codes" / "report.json").write_text(json.dumps(report))
    (folder / "codes" / "report.png").write_bytes(PNG)
    lines = [{"step": s, "epoch": s / 10, "loss": 5 / s, "learning_rate": 1e-3} for s in range(1, 30)]
    lines += [{"step": s, "valid/selected": v} for s, v in ((10, 0.02), (20, 0.0456), (29, 0.04))]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ranks = {"raw": np.array([1, 3, 9, MISS]), "filtered": np.array([1, 2, 8, MISS])}
    slices = slice_metrics(length_slicing(np.array([3, 4, 7, 90])), ranks)
    results = [
        make_result(
            set="amazon-beauty",
            method=method,
            seed=0,
            split="test",
            n_users=4,
            metrics={mode: retrieval_metrics(r) for mode, r in ranks.items()},
            config="configs/beauty.yaml",
            settings={},
            text_encoder="all-MiniLM-L6-v2",
            intervals={mode: bootstrap_intervals(r) for mode, r in ranks.items()},
            slices=slices,
            beyond={mode: {"coverage@10": 0.5, "novelty@10": 11.25, "popularity@10": 30.0} for mode in ranks},
        )
        for method in ("eager-fused", "eager-behavior")
    ]
    write_result(folder / "metrics.json", results)
    (folder / "config.yaml").write_text("model: {hidden_size: 96}  # <b>\n")
    return folder


USER = {
    "user_id": "A<1>",
    "history": ["Shampoo", NASTY],
    "target": "Conditioner & Care",
    "lists": {
        "eager-behavior": ["Soap", "Conditioner & Care"],
        "eager-semantic": ["Conditioner & Care", NASTY],
        "eager-fused": ["Soap", "Comb"],
    },
    "hit": {"eager-behavior": 2, "eager-semantic": 1, "eager-fused": None},
}


def test_everything_of_a_run_is_on_the_page(run):
    path = write_report(run, [USER], title="Amazon Beauty")
    assert path == run / "report.html"
    text = " ".join(outline(path).text)
    for expected in (
        "Amazon Beauty",
        "22,363",
        "12,101",
        "99.8%",
        "2002-06-12",
        "0.0734%",
        "13.56",
        "11.25 bits",
    ):
        assert expected in text, expected
    assert "Best validation NDCG@10:" in text
    assert "0.0456" in text
    assert "step 20" in " ".join(text.split())
    assert "hidden_size: 96" in text
    assert "gen-rec evaluate" not in text  # nothing is missing


def test_metrics_with_intervals_and_slices(run):
    text = " ".join(outline(write_report(run)).text)
    ndcg = (1 + 1 / 2 + 1 / np.log2(10)) / 4
    assert f"{ndcg:.4f}".removeprefix("0") in text
    low, high = bootstrap_intervals(np.array([1, 3, 9, MISS]))["ndcg@10"]
    shown = " – ".join(f"{end:.4f}".removeprefix("0") for end in (low, high))
    assert shown in text
    assert "NDCG@10 by history length" in text
    assert "50+" in text


def test_nothing_is_fetched_and_nothing_runs(run):
    path = write_report(run, [USER])
    page = outline(path)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in page.addresses)
    assert sum(a.startswith("data:") for a in page.addresses) == 2  # the curves and the code report
    html = path.read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", html, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style


def test_titles_and_ids_are_escaped_and_whole(run):
    page = outline(write_report(run, [USER], title="<i>T</i> & co"))
    assert page.tags.count("img") == 2  # the pictures, none of a title
    assert "".join(page.text).count(NASTY) == 2
    assert "A<1>" in page.text
    assert "<i>T</i> & co" in page.text
    assert "<b>" in "".join(page.text)  # of the settings


def test_hits_are_marked_where_they_are(run):
    page = outline(write_report(run, [USER]))
    assert page.classes.count(("li", "hit")) == 2
    assert page.classes.count(("span", "tag hit")) == 1
    text = " ".join(" ".join(page.text).split())
    assert "Behaviour stream · target at 2" in text
    assert "Semantic stream · target at 1" in text
    assert "Fused · target" not in text


def test_hits_are_found_by_title_when_not_given(run):
    user = {key: value for key, value in USER.items() if key != "hit"}
    page = outline(write_report(run, [user]))
    assert page.classes.count(("li", "hit")) == 2
    missed = {**user, "target": "Never listed"}
    assert ("span", "tag") in outline(write_report(run, [missed])).classes


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("metrics.json", "gen-rec evaluate"),
        ("log.jsonl", "gen-rec train"),
        ("codes/report.json", "gen-rec tokenize"),
        ("data/summary.json", "gen-rec prepare"),
    ],
)
def test_what_is_missing_is_said(run, gone, sentence):
    (run / gone).unlink()
    assert sentence in "".join(outline(write_report(run, [USER])).text)


def test_an_empty_run_is_a_page(tmp_path):
    text = " ".join(outline(write_report(tmp_path)).text)
    for stage in ("prepare", "tokenize", "train", "evaluate"):
        assert f"gen-rec {stage}" in text
    assert "no recommendations to show yet" in text


def test_without_matplotlib_the_curves_are_left_out_with_a_sentence(run, monkeypatch):
    from gen_rec.errors import MissingExtra

    def missing(*_, **__):
        raise MissingExtra("curves need 'matplotlib'; install it with: pip install 'gen_rec[plots]'")

    monkeypatch.setattr("gen_rec.report.training_log.require", missing)
    assert "gen_rec[plots]" in "".join(outline(write_report(run)).text)


def test_what_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="no such run folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no target"):
        write_report(run, [{"user_id": "u", "history": [], "lists": {}}])
    (run / "codes" / "report.json").write_text("{")
    with pytest.raises(DataError, match=r"report\.json: not JSON"):
        write_report(run)


def test_the_same_run_gives_the_same_page_elsewhere(run, tmp_path):
    first = write_report(run, [USER]).read_bytes()
    assert write_report(run, [USER], out=tmp_path / "other.html").read_bytes() == first
