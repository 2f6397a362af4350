"""Reader of MIND: what a line means, what is wrong with one, and the real fragment."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from gen_rec.errors import DataError
from gen_rec.impressions.config import ImpressionConfig
from gen_rec.impressions.mind import read_mind

FRAGMENT = Path(os.environ.get("GEN_REC_DATA", "nowhere")) / "mind-fragment"

NEWS = [
    'N1\tsports\tgolf\tA "quoted" title\tAn abstract\turl\t[]\t[]',
    "N2\tnews\t\tNo abstract\t\turl\t[]\t[]",
    "N3\tnews\tworld\tIs that so?\tIt is\turl\t[]\t[]",
]
BEHAVIORS = [
    "1\tU9\t11/12/2019 2:14:46 PM\tN3 N1\tN2-0 N1-1",
    "2\tU5\t11/9/2019 12:00:00 AM\t\tN3-1 N1-0 N2-1",
    "3\tU9\t11/13/2019 8:01:02 AM\tN3 N1\tN2-0 N3-0",
]


def write(folder, behaviors=BEHAVIORS, news=NEWS):
    folder.mkdir(exist_ok=True)
    (folder / "news.tsv").write_text("".join(line + "\n" for line in news), encoding="utf-8")
    (folder / "behaviors.tsv").write_text("".join(line + "\n" for line in behaviors), encoding="utf-8")
    return folder


def names(data, rows):
    return data.items["item_id"].gather(rows).to_list()


@pytest.fixture(params=[1 << 25, 40], ids=["one block", "a block a line"])
def _blocks(request, monkeypatch):
    """Blocks as they are, and so small that histories come back in a later one."""
    monkeypatch.setattr("gen_rec.data.sources.reviews.BLOCK_BYTES", request.param)
    monkeypatch.setattr("gen_rec.data.sources.reviews.PIECE_BYTES", request.param)


@pytest.mark.usefixtures("_blocks")
def test_a_small_set(tmp_path):
    data = read_mind({"train": write(tmp_path / "a")})
    assert data.items["item_id"].to_list() == ["N1", "N2", "N3"]
    assert data.items["text"].to_list() == ['A "quoted" title. An abstract', "No abstract", "Is that so? It is"]
    assert data.items["categories"].to_list() == ["sports > golf", "news", "news > world"]
    train = data.splits["train"]
    assert train.ids.tolist() == ["1", "2", "3"]
    assert train.user_ids[train.user].tolist() == ["U9", "U5", "U9"]
    assert train.times.tolist() == [1573568086, 1573257600, 1573632062]  # by date -u
    assert [names(data, train.history_of(i)) for i in range(3)] == [["N3", "N1"], [], ["N3", "N1"]]
    assert len(train.histories) == 2  # the two of U9 are one
    assert train.user_ids[train.histories.user].tolist() == ["U9", "U5"]
    assert names(data, train.candidates) == ["N2", "N1", "N3", "N1", "N2", "N2", "N3"]
    assert train.labels.tolist() == [0, 1, 1, 0, 1, 0, 0]
    assert train.offsets.tolist() == [0, 2, 5, 7]
    assert data.counts["train"] == {
        "impressions": 3, "users": 2, "distinct histories": 2, "without a history": 1, "clicks": 3,
        "candidates without a label": 0,
    }  # fmt: skip


def test_take(tmp_path):
    train = read_mind({"train": write(tmp_path / "a")}).splits["train"]
    taken = train.take(np.array([2, 0]))
    assert taken.ids.tolist() == ["3", "1"]
    assert taken.offsets.tolist() == [0, 2, 4]
    assert taken.candidates.tolist() == [1, 2, 1, 0]
    assert taken.labels.tolist() == [0, 0, 0, 1]
    assert taken.history_of(0).tolist() == [2, 0]
    assert len(train.take(np.array([], int))) == 0


def test_splits_share_items_and_a_test_set_has_no_labels(tmp_path):
    train = write(tmp_path / "train")
    news = ["N1\tsports\tgolf\tAnother title\t\turl\t[]\t[]", "N7\ttv\tshows\tOnly here\t\turl\t[]\t[]"]
    test = write(tmp_path / "test", ["8\tU9\t11/15/2019 1:00:00 PM\tN1\tN7 N2 N1"], news)
    data = read_mind({"train": train, "test": test}, ImpressionConfig(text="{category}: {title}"))
    assert data.items["item_id"].to_list() == ["N1", "N2", "N3", "N7"]
    assert data.items["text"][0] == 'sports: A "quoted" title'  # the first folder's
    assert data.splits["test"].candidates.tolist() == [3, 1, 0]
    assert data.splits["test"].labels.tolist() == [-1, -1, -1]
    assert data.counts["test"]["candidates without a label"] == 3


def test_gzip_blank_lines_and_windows_line_ends(tmp_path):
    folder = write(tmp_path / "a")
    (folder / "behaviors.tsv").unlink()
    text = "\r\n".join([BEHAVIORS[0], "", *BEHAVIORS[1:]])
    (folder / "behaviors.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_mind({"train": folder}).splits["train"].labels.tolist() == [0, 1, 1, 0, 1, 0, 0]


@pytest.mark.usefixtures("_blocks")
def test_news_that_is_not_in_the_file(tmp_path):
    line = "4\tU1\t11/14/2019 1:00:00 PM\tN8 N1 N9\tN9-0 N2-1 N8-0"
    folder = write(tmp_path / "a", [*BEHAVIORS, line])
    kept = read_mind({"train": folder})
    assert kept.items["item_id"].to_list() == ["N1", "N2", "N3", "N8", "N9"]
    assert kept.items.filter(kept.items["item_id"] == "N9").row(0) == ("N9", *[""] * 6)
    assert names(kept, kept.splits["train"].history_of(3)) == ["N8", "N1", "N9"]
    dropped = read_mind({"train": folder}, ImpressionConfig(unknown_items="drop"))
    train = dropped.splits["train"]
    assert len(dropped.items) == 3
    assert names(dropped, train.history_of(3)) == ["N1"]
    assert (train.candidates[7:].tolist(), train.labels[7:].tolist(), train.offsets.tolist()) == (
        [1],
        [1],
        [0, 2, 5, 7, 8],
    )
    assert dropped.counts["train"]["history items dropped"] == dropped.counts["train"]["candidates dropped"] == 2
    with pytest.raises(DataError, match=r"behaviors\.tsv, line 4: 'N8' is not in news\.tsv"):
        read_mind({"train": folder}, ImpressionConfig(unknown_items="error"))


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "4\tU1\t11/14/2019 1:00:00 PM\tN1",
            r"line 4: 4 fields, found .*; expected impression id, user, time, history",
        ),
        ("4\tU1\t11/14/2019 1:00:00 PM\tN1\tN2-1\tmore", "line 4: 6 fields"),
        ("\tU1\t11/14/2019 1:00:00 PM\tN1\tN2-1", "line 4: 5 fields"),
        ("4\t \t11/14/2019 1:00:00 PM\tN1\tN2-1", r"line 4: found ' '; expected the id of a user"),
        ("4\tU1\t2019-11-14 13:00\tN1\tN2-1", r"line 4: found '2019-11-14 13:00'; expected a time such as '11/12/2019"),
        ("4\tU1\t11/14/2019 1:00:00 PM\tN1\t ", "line 4: found ' '; expected the news that was shown"),
        ("4\tU1\t11/14/2019 1:00:00 PM\tN1\tN2-2 N3-0", r"line 4: found 'N2-2 N3-0'; expected 'N123-1' for a click"),
        ("4\tU1\t11/14/2019 1:00:00 PM\tN1\tN2-1 N3", "line 4: found 'N2-1 N3'; expected a label, -0 or -1, for every"),
    ],
)
def test_malformed_lines(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        read_mind({"train": write(tmp_path / "a", [*BEHAVIORS, line])})


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no such folder; give a folder of MIND"):
        read_mind({"train": tmp_path / "nowhere"})
    with pytest.raises(DataError, match=r"no behaviors\.tsv or behaviors\.tsv\.gz in it"):
        read_mind({"train": tmp_path})
    with pytest.raises(DataError, match=r"behaviors\.tsv: there is no impression in it"):
        read_mind({"train": write(tmp_path / "empty", [])})
    with pytest.raises(DataError, match=r"news\.tsv: there is no news in it"):
        read_mind({"train": write(tmp_path / "no_news", news=[])})
    with pytest.raises(DataError, match=r"news\.tsv, line 2: 2 fields"):
        read_mind({"train": write(tmp_path / "news", news=[NEWS[0], "N2\tnews"])})
    folder = write(tmp_path / "latin")
    (folder / "news.tsv").write_bytes(NEWS[0].encode() + b"\nN2\tnews\t\tcaf\xe9\t\t\t\t\n")
    with pytest.raises(DataError, match=r"news\.tsv, line 2: the byte 0xe9 at offset \d+ is not UTF-8"):
        read_mind({"train": folder})


def test_same_history_of_two_users_stays_apart(tmp_path):
    lines = ["1\tU1\t11/12/2019 2:14:46 PM\tN1\tN2-0", "2\tU2\t11/12/2019 2:14:46 PM\tN1\tN2-0"]
    histories = read_mind({"train": write(tmp_path / "a", lines)}).splits["train"].histories
    assert (histories.user.tolist(), histories.items.tolist()) == ([0, 1], [0, 0])


@pytest.mark.real_data
@pytest.mark.skipif(not FRAGMENT.is_dir(), reason="mind-fragment is not under $GEN_REC_DATA")
def test_the_fragment():
    """Against a plain loop over the lines, and the counts in the fragment's SOURCE.md."""
    data = read_mind({"train": FRAGMENT})
    train = data.splits["train"]
    ids = data.items["item_id"].to_numpy()
    with gzip.open(FRAGMENT / "behaviors.tsv.gz", "rt", encoding="utf-8") as file:
        for i, line in enumerate(file):
            name, user, _, history, shown = line.rstrip("\n").split("\t")
            assert (train.ids[i], train.user_ids[train.user[i]]) == (name, user)
            assert ids[train.history_of(i)].tolist() == history.split()
            part = slice(train.offsets[i], train.offsets[i + 1])
            labels = train.labels[part].tolist()
            assert [f"{a}-{b}" for a, b in zip(ids[train.candidates[part]], labels, strict=True)] == shown.split()
    assert (len(train), len(train.user_ids)) == (5000, 4637)
    assert data.counts["train"]["without a history"] == 107
    known = 2000
    for rows, n_ids, n_known in ((train.histories.items, 16000, 588), (train.candidates, 7457, 284)):
        distinct = np.unique(rows)
        assert (len(distinct), (distinct < known).sum()) == (n_ids, n_known)
    texts = data.items["text"].str.len_chars().to_numpy() > 0
    assert texts[:known].all()
    assert not texts[known:].any()
    few = read_mind({"train": FRAGMENT}, ImpressionConfig(unknown_items="drop")).splits["train"]
    clicked = np.bincount(few.impression_of[few.labels == 1], minlength=len(few)) > 0
    other = np.bincount(few.impression_of[few.labels == 0], minlength=len(few)) > 0
    assert (clicked & other & (few.histories.lengths[few.history] > 0)).sum() == 73
