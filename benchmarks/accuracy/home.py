"""Where the files of benchmark runs lie and what they are called, so that no run writes over another's.

    results/<name>.json     figures of the test split, as the protocol has them
    configs/<name>.yaml     the settings that made them
    ranks/<name>.parquet    where the target of every user ranks, for paired comparisons (``ranks``)
    evidence/<name>.json    whatever else the run found

``<name>`` is ``<set>-<names of the configs>[-<stage>]-seed<seed>``, that of a rival ``<set>-<method>-seed<seed>``, and
the set of a run over shuffled ties is ``<set>-shuffled``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy.rivals.grid import flat
from gen_rec.config import Config
from gen_rec.errors import DataError
from gen_rec.evaluation.result import read_results
from gen_rec.training.stage import NOT_LEARNT_BY

TIGER = "tiger"
"""The overlay, and the method that it makes of the semantic stream, which is its only one."""
REDRAWN = "redrawn-ties"
"""The overlay that draws the order within a moment anew in every epoch; what it adds to the name of a method."""


@dataclass(frozen=True)
class Home:
    """folder: holds a folder a kind of file"""

    folder: Path = Path(__file__).parent

    def result(self, name: str) -> Path:
        return self.folder / "results" / f"{name}.json"

    def config(self, name: str) -> Path:
        return self.folder / "configs" / f"{name}.yaml"

    def ranks(self, name: str) -> Path:
        return self.folder / "ranks" / f"{name}.parquet"

    def evidence(self, name: str) -> Path:
        return self.folder / "evidence" / f"{name}.json"


HOME = Home()
"""Of the committed runs."""


def set_label(config: Config) -> str:
    """The set as file names have it: over shuffled ties it is another question, with files of its own."""
    return config.data.name if config.data.tie_order == "input" else f"{config.data.name}-shuffled"


def run_name(config: Config, names: Sequence[str], stage: str = "") -> str:
    """Of the files that a run leaves, without a suffix.

    names: the config files, the first and its overlays
    stage: which part of a run, where it is not the search
    """
    parts = [set_label(config), "+".join(Path(name).stem for name in names), stage, f"seed{config.seed}"]
    return "-".join(part for part in parts if part)


def method_name(method: str, names: Sequence[str]) -> str:
    """The method as tables have it, with what the overlays of ``configs/ablations`` change: eager-fused/no-transfer."""
    paths = [Path(name) for name in names]
    whole = TIGER if TIGER in {path.stem for path in paths} else method
    return "/".join([whole, *(path.stem for path in paths if path.parent.name == "ablations")])


def refuse_other_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Look, before a run begins, whether its result would take the place of another one's.

    path:     of the result
    settings: of the run, as ``settings_of`` gives them; those that the file does not know are newer than it
    raises    DataError where the file has other settings.
    """
    if not path.is_file():
        return
    as_stored = json.loads(json.dumps(settings))  # with lists for tuples
    old, new = flat(read_results(path)[0]["settings"]), flat(as_stored)
    known = [name for name in sorted(old.keys() & new.keys()) if name.rpartition(".")[2] not in NOT_LEARNT_BY]
    other = [name for name in known if old[name] != new[name]]
    if other:
        told = ", ".join(f"{name} {old[name]!r}, now {new[name]!r}" for name in other[:3])
        raise DataError(
            f"{path} holds a result with other settings ({told}); give what is changed as an overlay with a name "
            "of its own, or move that file away if this run is to take its place"
        )
