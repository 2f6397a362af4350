"""Poly-embeddings of all items and of a split's users, computed once: partitions that a killed command goes on from.

<run>/embsum/encoded/items.safetensors           vectors (n_items, n, d), weight and log_scale of the score
<run>/embsum/encoded/users_<split>.safetensors   vectors (cases of the split, m, d)
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.embsum.catalogue import encode_cases, encode_items, gap_times, item_tokens
from gen_rec.embsum.model import CONFIG_FILE, EmbSum
from gen_rec.engine import Engine, Job, Partitions, Work
from gen_rec.errors import DataError
from gen_rec.files import atomic_path, content_hash
from gen_rec.precision import multiplies_bfloat16
from gen_rec.run import Run

logger = logging.getLogger(__name__)

Dtype = Literal["float32", "float16"]
Split = Literal["valid", "test"]
What = Literal["items", "valid", "test"]
"""The catalogue, or the users of a split."""
PARTITION_ROWS = 2048
"""Items or users in a partition unless said otherwise: some tens of seconds of work on one core."""


def encoded_folder(run: Run) -> Path:
    return run.embsum / "encoded"


def encoded_file(folder: Path, what: What) -> Path:
    return folder / ("items.safetensors" if what == "items" else f"users_{what}.safetensors")


def run_encode(
    config: Config,
    splits: Sequence[Split] = ("valid", "test"),
    dtype: Dtype = "float32",
    engine: Engine | None = None,
    partition_rows: int = PARTITION_ROWS,
    force: bool = False,
) -> list[Path]:
    """Encode the catalogue and the users of splits with the run's EmbSum; what is there already is kept.

    The products are made as ``embsum.training.mixed_precision`` says, as in training.
    dtype:   of the files; the vectors are computed in float32
    engine:  this process when None
    returns  the files.
    raises   DataError where a split holds no case.
    """
    run = Run(config.run)
    model = run.embsum / "model"
    run.need(model / CONFIG_FILE, "embsum train")
    dataset = Dataset.load(run.need(run.data, "prepare"))
    files = []
    wanted: list[What] = ["items", *splits]
    for what in wanted:
        rows = dataset.n_items if what == "items" else len(dataset.cases(what))
        if not rows:
            raise DataError(f"the {what} split has no interaction; see data.split, or give users three interactions")
        open_work = _Open(model.resolve(), run.data.resolve(), what, rows, partition_rows, dtype, in_bfloat16(config))
        files.append(_encode(open_work, encoded_file(encoded_folder(run), what), engine or Engine(), force))
    return files


def in_bfloat16(config: Config) -> bool:
    """Whether the products are made in bfloat16, as in training."""
    precision = config.embsum.training.mixed_precision
    return precision == "bf16" or (precision == "auto" and multiplies_bfloat16())


def products(bfloat16: bool, device: str) -> AbstractContextManager[object]:
    """Within the block products are made in bfloat16, or as they are."""
    return torch.autocast(device.split(":")[0], torch.bfloat16) if bfloat16 else nullcontext()


def model_key(model: Path) -> str:
    """Hash of a model's folder."""
    return content_hash(*[path for path in sorted(model.rglob("*")) if path.is_file()])


def data_key(data: Path, what: What) -> str:
    """Hash of what the vectors of items, or of a split's users, are made from. data: folder of the prepared data"""
    return content_hash(*(sorted(data.glob("*.parquet")) if what != "items" else [data / "items.parquet"]))


@dataclass(frozen=True)
class _Open:
    """``Job.open``, as a class so that it can be sent to another machine.

    rows: items or users in all
    """

    model: Path
    data: Path
    what: What
    rows: int
    partition_rows: int
    dtype: Dtype
    bfloat16: bool

    def sources(self) -> dict[str, str]:
        """Hashes of the model and of the data: both are read whole for it."""
        return {"model": model_key(self.model), "data": data_key(self.data, self.what)}

    def shape(self) -> tuple[int, int, int]:
        """(rows, codes, d) of the vectors."""
        with safe_open(self.model / "heads.safetensors", "pt") as heads:
            attention = "item_attention" if self.what == "items" else "user_attention"
            codes = heads.get_slice(f"{attention}.codes").get_shape()[0]
            return self.rows, codes, heads.get_slice("score.weight").get_shape()[0]

    def schema(self) -> pa.Schema:
        """A row: its vectors, flat, as bytes."""
        _, codes, size = self.shape()
        return pa.schema([pa.field("vectors", pa.binary(codes * size * np.dtype(self.dtype).itemsize))])

    def __call__(self, device: str) -> Work:
        model = EmbSum.load(self.model).to(device)
        dataset = Dataset.load(self.data)
        tokens = item_tokens(dataset, model)
        cases = None if self.what == "items" else dataset.cases(self.what)
        times = None if cases is None else gap_times(dataset, cases, model.config)
        schema = self.schema()

        def work(number: int) -> Iterator[pa.Table]:
            start = number * self.partition_rows
            rows = np.arange(start, min(start + self.partition_rows, self.rows))
            with products(self.bfloat16, device):
                found = (
                    encode_items(model, tokens, rows)
                    if cases is None
                    else encode_cases(model, tokens, cases, rows, times)
                )
                for vectors in found:
                    flat = vectors.flatten(1).cpu().numpy().astype(self.dtype)
                    yield pa.table([pa.array([row.tobytes() for row in flat], schema.field(0).type)], schema=schema)

        return work


def _encode(open_work: _Open, path: Path, engine: Engine, force: bool) -> Path:
    sources = open_work.sources()
    key = content_hash(open_work.what, open_work.dtype, open_work.bfloat16, *sources.values())
    if not force and _key_of(path) == key:
        logger.info("%s: model, data and settings have not changed, kept", path)
        return path
    n_partitions = -(-open_work.rows // open_work.partition_rows)
    name = "items" if open_work.what == "items" else f"{open_work.what} users"
    job = Job(content_hash(key, open_work.partition_rows), n_partitions, open_work.schema(), open_work, name)
    partitions = Partitions(path.with_suffix(".parts").resolve(), job.key)
    partitions.clean()
    for _ in engine.run(job, partitions, partitions.missing(n_partitions)):
        pass
    vectors = np.empty(open_work.shape(), dtype=open_work.dtype)
    for number in range(n_partitions):
        column = pq.read_table(partitions.path(number))["vectors"].combine_chunks()
        start = number * open_work.partition_rows
        values = np.frombuffer(column.buffers()[1], dtype=open_work.dtype)
        vectors[start : start + len(column)] = values.reshape(len(column), *vectors.shape[1:])
    tensors = {"vectors": torch.from_numpy(vectors)}
    if open_work.what == "items":
        score = EmbSum.load(open_work.model).score
        tensors |= {"weight": score.weight.detach(), "log_scale": score.log_scale.detach()}
    metadata = {"format": "pt", "key": key, **sources, "of": open_work.what}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
    shutil.rmtree(partitions.folder)
    return path


def _key_of(path: Path) -> str | None:
    """The key in a file's metadata; None where there is no whole file."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("key")
    except (SafetensorError, OSError):
        return None
