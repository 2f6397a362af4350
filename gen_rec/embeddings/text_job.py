"""Texts encoded as a batch job: longest first, in partitions of whole batches, by whichever engine."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gen_rec.embeddings import encoder as encoders
from gen_rec.embeddings.config import TextConfig
from gen_rec.engine import Engine, Job, Partitions, Work
from gen_rec.files import replace_folder

logger = logging.getLogger(__name__)

INPUT_SCHEMA = pa.schema([pa.field("key", pa.binary(16)), pa.field("text", pa.string())])
OUTPUT_SCHEMA = pa.schema([pa.field("key", pa.binary(16)), pa.field("vector", pa.list_(pa.float32()))])

Keep = Callable[[list[bytes], np.ndarray], None]
"""What is done with the keys of a partition and their vectors, (len(keys), dim) float32."""


def encode_partitions(
    texts: dict[bytes, str],
    encoder: str,
    config: TextConfig,
    engine: Engine,
    folder: Path,
    partition_rows: int,
    keep: Keep,
) -> None:
    """Encode texts and hand over each partition as it is done.

    A batch holds texts of like length, so that little is padded. A partition has whole batches: without the texts of
    any partitions that are done, the rest is cut into the same batches as before. A vector's last bits depend on the
    batch, so an interrupted encoding ends with the same vectors as one that was not.

    texts:   key -> text
    encoder: hash of all that decides a vector
    folder:  for partitions on their way; removed at the end
    """
    ordered = sorted(texts, key=lambda key: -len(texts[key]))
    step = -(-partition_rows // config.batch_size) * config.batch_size
    parts = [ordered[start : start + step] for start in range(0, len(ordered), step)]
    cut = folder.with_name(f"{folder.name}.input")
    with replace_folder(cut) as new:
        for number, keys in enumerate(parts):
            table = pa.table([keys, [config.prompt + texts[key] for key in keys]], schema=INPUT_SCHEMA)
            pq.write_table(table, new / f"{number:05d}.parquet", compression="zstd")
    if Path(config.model).is_dir():
        config = replace(config, model=str(Path(config.model).resolve()))  # a worker may stand elsewhere
    job = Job(encoder, len(parts), OUTPUT_SCHEMA, _Open(config, cut.resolve()), "texts")
    partitions = Partitions(folder.resolve(), encoder)
    try:
        for number in engine.run(job, partitions, range(len(parts))):
            _hand_over(partitions.path(number), keep)
    finally:
        shutil.rmtree(cut, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def finished(folder: Path, encoder: str, keep: Keep) -> None:
    """Hand over the partitions of this encoder that a killed job has left, and remove what else is in the folder."""
    partitions = Partitions(folder, encoder)
    partitions.clean()
    for number in partitions.done():
        _hand_over(partitions.path(number), keep)


def _hand_over(path: Path, keep: Keep) -> None:
    table = pq.read_table(path)
    vectors = table["vector"].combine_chunks().flatten().to_numpy()
    keep(table["key"].to_pylist(), vectors.reshape(len(table), -1))
    path.unlink()


@dataclass(frozen=True)
class _Open:
    """``Job.open``, as a class so that it can be sent to another machine."""

    config: TextConfig
    cut: Path

    def __call__(self, device: str) -> Work:
        encoder = encoders.load_encoder(self.config, device)

        def work(number: int) -> Iterator[pa.Table]:
            table = pq.read_table(self.cut / f"{number:05d}.parquet")
            for batch in table.to_batches(self.config.batch_size):
                vectors = self._encode(encoder, batch["text"].to_pylist())
                offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
                column = pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))
                yield pa.table([batch["key"], column], schema=OUTPUT_SCHEMA)

        return work

    def _encode(self, encoder: Any, texts: Sequence[str]) -> np.ndarray:
        """(texts, dim) float32"""
        encoded = encoder.encode(
            texts,
            batch_size=self.config.batch_size,
            convert_to_tensor=True,
            normalize_embeddings=False,
            show_progress_bar=False,
        ).float()
        if self.config.normalize:
            encoded = torch.nn.functional.normalize(encoded, dim=-1)
        return encoded.cpu().numpy()
