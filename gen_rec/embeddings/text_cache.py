"""Vectors of texts on disk, found again by the text's hash; an interrupted run loses at most the shards in work."""

import hashlib
import logging
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from gen_rec.files import atomic_path

logger = logging.getLogger(__name__)

COMPACT_BELOW = 100_000  # rows; larger shards are left alone when shards are joined


def text_key(text: str) -> bytes:
    """The 16 bytes a text is known by."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()[:16]


class TextCache:
    """A folder of safetensors shards, each with `keys` (n, 16) uint8 and `vectors` (n, dim) float32.

    Shards are only ever added (under a name nobody else uses, renamed into place when whole) and joined, so
    two processes may share a folder. One folder belongs to one encoder with one set of settings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors that are there, {key: (dim,) float32}; unreadable shards are left out."""
        wanted, found = set(keys), {}
        for path in self._shards():
            tensors = self._read(path)
            if tensors is None:
                continue
            for row, key in enumerate(_as_bytes(tensors["keys"])):
                if key in wanted:
                    found[key] = tensors["vectors"][row]
        return found

    def add(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Write a shard. vectors: (len(keys), dim)."""
        if len(keys) == 0:
            return
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        packed = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 16)
        with atomic_path(path) as temporary:
            save_file({"keys": packed, "vectors": np.ascontiguousarray(vectors, np.float32)}, temporary)

    def compact(self) -> None:
        """Join the small shards into one; what was joined is removed only when the new one is in place."""
        read = [(path, self._read(path)) for path in self._shards()]
        small = [(path, shard) for path, shard in read if shard and len(shard["keys"]) < COMPACT_BELOW]
        if len(small) < 2:
            return
        rows = {
            key: vector
            for _, shard in small
            for key, vector in zip(_as_bytes(shard["keys"]), shard["vectors"], strict=True)
        }
        self.add(list(rows), np.stack(list(rows.values())))
        for path, _ in small:
            path.unlink(missing_ok=True)

    def _shards(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.safetensors") if not path.name.startswith("."))

    def _read(self, path: Path) -> dict[str, np.ndarray] | None:
        try:
            return load_file(path)
        except FileNotFoundError:  # another process has just joined it with others
            return None
        except SafetensorError as error:
            logger.warning("%s: unreadable shard of the text cache, left out (%s)", path, error)
            return None


def _as_bytes(keys: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in keys]
