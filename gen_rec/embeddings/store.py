"""Item embeddings on disk: one safetensors file, row i = item i, with what made them in its metadata."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gen_rec.errors import DataError
from gen_rec.files import atomic_path, content_hash

TENSOR = "embeddings"


def save_embeddings(path: str | Path, array: np.ndarray, metadata: dict[str, str]) -> None:
    """Write embeddings, whole or not at all.

    array:    (n_items, dim) any float type, kept as float32; every number finite
    metadata: strings such as {"kind": "semantic", "encoder": ...}; "dim", "n_items" and "hash" (of the
              numbers) are filled in here
    raises    DataError for an array of another shape or with a number that is not finite, and for metadata
              that are not strings.
    """
    array = checked(array, str(path))
    wrong = [key for key, value in metadata.items() if not isinstance(value, str)]
    if wrong:
        raise DataError(f"{path}: metadata must be strings, but {', '.join(wrong)} are not; convert them")
    described = {
        **metadata,
        "dim": str(array.shape[1]),
        "n_items": str(array.shape[0]),
        "hash": content_hash(list(array.shape), array.tobytes()),
    }
    with atomic_path(path) as temporary:
        save_file({TENSOR: array}, temporary, metadata=described)


def load_embeddings(path: str | Path, n_items: int | None = None) -> tuple[np.ndarray, dict[str, str]]:
    """Read embeddings.

    n_items: how many rows there must be, which is the number of items of the data set they are used with
    returns  (n_items, dim) float32, and the metadata
    raises   DataError when the file is missing, cut short, of another kind, or has another number of rows.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file; make it with: gen-rec embed")
    try:
        with safe_open(path, framework="numpy") as file:
            if TENSOR not in file.keys():  # noqa: SIM118  (safe_open is no dict)
                raise DataError(
                    f"{path}: holds {sorted(file.keys())}, expected a tensor '{TENSOR}'; make it with: gen-rec embed"
                )
            array = file.get_tensor(TENSOR)
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise DataError(f"{path}: not a whole safetensors file ({error}); make it again with: gen-rec embed") from error
    if n_items is not None and len(array) != n_items:
        raise DataError(
            f"{path}: {len(array):,} rows, but the data set has {n_items:,} items; the embeddings were made "
            "from other data, make them again with: gen-rec embed"
        )
    return checked(array, str(path)), metadata


def checked(array: np.ndarray, name: str) -> np.ndarray:
    """Refuse what cannot be item embeddings.

    array:  (n_items, dim)
    returns (n_items, dim) float32, contiguous
    raises  DataError, naming the first bad row.
    """
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"{name}: embeddings must be (n_items, dim) with neither zero, found {array.shape}")
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{name}: embeddings must be floats, found {array.dtype}")
    array = np.ascontiguousarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise DataError(
            f"{name}: {len(bad):,} of {len(array):,} rows hold NaN or infinity, the first is row {bad[0]}; "
            "the encoder's settings (dtype, learning rate) are the likely cause"
        )
    return array
