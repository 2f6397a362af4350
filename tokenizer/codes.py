"""Codes: the semantic ID of every item, with lookups both ways, a file format, and room for new items."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tokenizer.nodes import Nodes

FORMAT = 1
"""Version of the file format."""


@dataclass(frozen=True, eq=False)
class Codes:
    """One code sequence an item, all of one length, no two alike.

    codes:     (n_items, depth) int32, row i is item i, entries at least 0 and below ``widths`` of their level
    widths:    children a node of each level may have
    method:    how the codes were made: "balanced", "residual" or "random"
    normalize: whether embeddings were scaled to length one before distances were taken
    centres:   float32 arrays that new items are placed by. Tree: for each level 1..depth-1 the mean embedding
               of every node, (nodes, d), nodes in the order of their code prefixes. Residual: the codebook of
               each level but the last, (codes, d).
    settings:  the settings of the fit, kept for the record

    The arrays are read-only. Raises ValueError on codes that repeat, or that are out of range.
    """

    codes: np.ndarray
    widths: tuple[int, ...]
    method: str = "balanced"
    normalize: bool = False
    centres: tuple[np.ndarray, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        codes = np.ascontiguousarray(self.codes, dtype=np.int32)
        if codes.ndim != 2 or codes.shape[0] == 0 or codes.shape[1] != len(self.widths):
            raise ValueError(
                f"codes must have shape (items, {len(self.widths)}), one column a level and some items, got "
                f"{codes.shape}"
            )
        wrong = ((codes < 0) | (codes >= np.array(self.widths))).any(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"codes, row {row}: {codes[row].tolist()} is outside the widths {list(self.widths)}")
        codes = codes.copy() if codes is self.codes else codes
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        object.__setattr__(self, "centres", tuple(np.asarray(c, dtype=np.float32) for c in self.centres))
        for array in (self.codes, *self.centres):
            array.setflags(write=False)
        leaf = self.item_nodes[:, -1]
        if len(self.nodes.keys[-1]) != len(codes):
            order = np.argsort(leaf, kind="stable")
            repeat = int(np.flatnonzero(np.diff(leaf[order]) == 0)[0])
            first, second = int(order[repeat]), int(order[repeat + 1])
            raise ValueError(
                f"codes, rows {first} and {second}: both are {codes[first].tolist()}; codes must be unique"
            )

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.codes)

    @property
    def depth(self) -> int:
        """Codes an item has."""
        return len(self.widths)

    @cached_property
    def nodes(self) -> Nodes:
        """Numbers of all code prefixes."""
        return Nodes.of(self.codes, self.widths)

    @cached_property
    def item_nodes(self) -> np.ndarray:
        """(n_items, depth) int64: the item's node at levels 1..depth, numbered in the order of code
        prefixes."""
        return self.nodes.find(self.codes)

    @cached_property
    def leaf_items(self) -> np.ndarray:
        """(n_items,) int64: the item of each leaf, leaves in the order of their codes."""
        return np.argsort(self.item_nodes[:, -1], kind="stable")

    def items_of(self, codes: np.ndarray) -> np.ndarray:
        """Item of every code sequence, -1 where no item has it.

        codes: (m, depth) integers, any values; returns (m,) int64. Raises ValueError on another number of
               columns.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.depth:
            raise ValueError(f"codes must have shape (m, {self.depth}), got {codes.shape}")
        leaf = self.nodes.find(codes)[:, -1]
        return np.where(leaf >= 0, self.leaf_items[leaf], -1)

    def of_items(self, items: np.ndarray) -> np.ndarray:
        """Code sequence of every item.

        items: (m,) integers in 0..n_items-1; returns (m, depth) int32. Raises ValueError on any other item.
        """
        items = np.asarray(items)
        wrong = (items < 0) | (items >= self.n_items)
        if wrong.any():
            raise ValueError(
                f"items, place {int(wrong.argmax())}: {items[wrong][0]} is not an item; "
                f"there are {self.n_items}, numbered from 0"
            )
        return self.codes[items]

    def assign(self, new_embeddings: np.ndarray) -> "Codes":
        """Give new items codes of their own without changing anybody's; see ``tokenizer.placement``.

        new_embeddings: (m, d) of the model that the codes were fitted on
        returns Codes of n_items + m items; the first n_items rows are the present ones
        """
        from tokenizer.placement import place_items

        return place_items(self, new_embeddings)

    def save(self, path: str | Path) -> None:
        """Write ``<path>.safetensors`` and ``<path>.json``, each whole or not at all.

        The safetensors file is complete by itself; the JSON says the same about the codes to a person, and
        which tensors it belongs to.
        """
        tensors = {"codes": self.codes}
        tensors |= {f"centres.{i + 1}": np.ascontiguousarray(c) for i, c in enumerate(self.centres)}
        about: dict[str, Any] = {
            "format": FORMAT,
            "method": self.method,
            "n_items": self.n_items,
            "depth": self.depth,
            "widths": list(self.widths),
            "normalize": self.normalize,
            "settings": self.settings,
        }
        stem = _stem(path)
        stem.parent.mkdir(parents=True, exist_ok=True)
        header = {"codes": json.dumps(about)}
        _write(_with(stem, ".safetensors"), lambda name: save_file(tensors, name, metadata=header))
        about["codes_sha256"] = hashlib.sha256(self.codes.tobytes()).hexdigest()
        text = json.dumps(about, indent=2) + "\n"
        _write(_with(stem, ".json"), lambda name: Path(name).write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, path: str | Path) -> "Codes":
        """Read what ``save`` wrote; ``path`` with or without a suffix.

        Raises FileNotFoundError where there is none, ValueError where the file is not codes, or is damaged.
        """
        file = _with(_stem(path), ".safetensors")
        if not file.exists():
            raise FileNotFoundError(f"{file}: no codes there; make them with the tokenize stage (fit_codes)")
        try:
            with safe_open(file, framework="numpy") as reader:
                about = json.loads((reader.metadata() or {})["codes"])
                tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{file}: not a file of codes, or a damaged one ({error}); make it again") from error
        if about["format"] != FORMAT:
            raise ValueError(f"{file}: codes of format {about['format']}, this version reads {FORMAT}; make them again")
        centres = tuple(tensors[f"centres.{i + 1}"] for i in range(len(tensors) - 1))
        return cls(
            codes=tensors["codes"],
            widths=tuple(about["widths"]),
            method=about["method"],
            normalize=about["normalize"],
            centres=centres,
            settings=about["settings"],
        )


def _stem(path: str | Path) -> Path:
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _write(path: Path, write: Callable[[str], Any]) -> None:
    """Write under another name in the same folder, then rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
