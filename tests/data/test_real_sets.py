"""The published benchmark sets, where $GEN_REC_DATA has them: counts and order as published."""

import os
from pathlib import Path

import numpy as np
import pytest

from gen_rec.data.config import DataConfig
from gen_rec.data.filters import k_core
from gen_rec.data.interactions import Dataset
from gen_rec.data.lines import read_lines
from gen_rec.data.prepare import prepare
from gen_rec.data.sources.s3rec import find_file

ROOT = Path(os.environ.get("GEN_REC_DATA", "nowhere"))

# users, items, interactions: table 1 of S3-Rec (arXiv 2008.07873)
SIZES = {
    "amazon-beauty": (22_363, 12_101, 198_502),
    "amazon-sports": (35_598, 18_357, 296_337),
    "amazon-toys": (19_412, 11_924, 167_597),
    "yelp": (30_431, 20_033, 316_354),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", SIZES)
def test_benchmark_set(name, tmp_path):
    if not (ROOT / name).is_dir():
        pytest.skip(f"{name} is not under $GEN_REC_DATA")
    summary = prepare(DataConfig(set=name, root=str(ROOT)), tmp_path)
    dataset = Dataset.load(tmp_path)
    assert (dataset.n_users, dataset.n_items, dataset.n_interactions) == SIZES[name]
    assert summary["splits"]["valid"] == summary["splits"]["test"] == dataset.n_users
    assert summary["share_with_text"] == 1.0
    alive, _ = k_core(dataset.user_of_row, dataset.item_index, 5)
    assert alive.all()  # 5-core already

    # sorting by time must not have moved anything: the files are oldest first, and ties keep their order
    path = find_file(ROOT / name, "sequences.txt")
    assert path is not None
    numbers = np.array([int(field) for _, text in read_lines(path) for field in text.split()[1:]])
    assert (dataset.item_index == numbers - 1).all()  # items are numbered from 1, without gaps


@pytest.mark.real_data
def test_beauty_in_detail(tmp_path):
    if not (ROOT / "amazon-beauty").is_dir():
        pytest.skip("amazon-beauty is not under $GEN_REC_DATA")
    summary = prepare(DataConfig(set="amazon-beauty", root=str(ROOT), tie_order="shuffled"), tmp_path)
    assert round(summary["share_of_users_with_ties"], 2) == 0.88
    dataset = Dataset.load(tmp_path)
    assert dataset.item_ids[:2].tolist() == ["B004756YJA", "B004ZT0SSG"]
    assert dataset.texts[0] == (
        "OPI Nail Lacquer, Simmer and Shimmer, 0.5-Fluid Ounce. Brand: OPI. Beauty > Makeup > Nails > Nail Polish"
    )
    assert not any("Unknown" in text for text in dataset.texts)
