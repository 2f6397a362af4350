"""Embeddings on disk come back as they were, or say what is wrong."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gen_rec.embeddings.store import load_embeddings, save_embeddings
from gen_rec.errors import DataError

ARRAY = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_round_trip_with_metadata(tmp_path: Path) -> None:
    path = tmp_path / "embeddings" / "behavior.safetensors"
    save_embeddings(path, ARRAY.astype(np.float64), {"kind": "behavior", "model": "DIN"})
    array, metadata = load_embeddings(path, n_items=5)
    np.testing.assert_array_equal(array, ARRAY)
    assert array.dtype == np.float32
    assert {"kind": "behavior", "model": "DIN", "dim": "3", "n_items": "5"}.items() <= metadata.items()
    save_embeddings(tmp_path / "other.safetensors", ARRAY + 1, {})
    assert load_embeddings(tmp_path / "other.safetensors")[1]["hash"] != metadata["hash"]


def test_rows_that_do_not_match_the_data_set(tmp_path: Path) -> None:
    save_embeddings(tmp_path / "a.safetensors", ARRAY, {})
    with pytest.raises(DataError, match=r"a\.safetensors: 5 rows, but the data set has 6 items.*gen-rec embed"):
        load_embeddings(tmp_path / "a.safetensors", n_items=6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.where(np.arange(5)[:, None] >= 3, np.nan, ARRAY),
            "2 of 5 rows hold NaN or infinity, the first is row 3",
        ),
        (ARRAY[0], r"must be \(n_items, dim\)"),
        (ARRAY[:0], r"must be \(n_items, dim\)"),
        (np.ones((2, 2), dtype=np.int64), "must be floats, found int64"),
    ],
)
def test_what_cannot_be_embeddings_is_refused_and_the_old_file_stays(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    path = tmp_path / "a.safetensors"
    save_embeddings(path, ARRAY, {})
    with pytest.raises(DataError, match=message):
        save_embeddings(path, array, {})
    np.testing.assert_array_equal(load_embeddings(path)[0], ARRAY)
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_metadata_must_be_strings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="metadata must be strings, but seed"):
        save_embeddings(tmp_path / "a.safetensors", ARRAY, {"seed": 3})  # type: ignore[dict-item]


def test_missing_cut_short_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(DataError, match=r"there is no such file; make it with: gen-rec embed"):
        load_embeddings(path)
    save_embeddings(path, ARRAY, {})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match="not a whole safetensors file"):
        load_embeddings(path)
    save_file({"codes": ARRAY}, path)
    with pytest.raises(DataError, match=r"holds \['codes'\], expected a tensor 'embeddings'"):
        load_embeddings(path)
