"""The result of a run as JSON, in the words of the benchmark protocol: any script can read any result."""

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen_rec.errors import DataError
from gen_rec.evaluation.metrics import CUTS, metric_names
from gen_rec.files import write_json

if TYPE_CHECKING:
    from gen_rec.evaluation.evaluator import Evaluation

try:
    import resource
except ImportError:  # Windows has no resource module; memory is then not measured
    resource = None  # type: ignore[assignment]

Result = dict[str, Any]
"""One result: the keys of ``REQUIRED``, and optionally those of ``OPTIONAL``."""

REQUIRED: dict[str, type | tuple[type, ...]] = {
    "set": str,
    "method": str,
    "seed": int,
    "split": str,
    "n_users": int,
    "metrics": dict,
    "config": str,
    "settings": dict,
    "text_encoder": str,
    "ties": str,
    "commit": str,
    "hardware": str,
    "wall_s": (int, float),
    "cpu_s": (int, float),
    "peak_rss_mb": (int, float),
    "versions": dict,
}
"""The keys of the protocol, in its order, and what each holds."""

OPTIONAL: tuple[str, ...] = ("intervals", "beyond", "slices", "arithmetic")
"""What gen_rec adds: 95 % intervals, figures beyond accuracy, slices, and in which type training and search multiplied,
which ``auto`` settings leave to the processor."""

PACKAGES = ("gen_rec", "torch", "numpy", "polars", "accelerate", "transformers", "sentence-transformers")


class Meter:
    """Wall time, processor time and peak memory of a piece of work.

    >>> with Meter() as meter:
    ...     work()
    >>> meter.wall_s, meter.cpu_s, meter.peak_rss_mb

    Processor time counts this process and the children it has waited for. Peak memory is that of the whole
    process up to now (the operating system keeps no other) or of its largest child, whichever is larger; 0
    where unknown.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mb: float = 0.0

    def __enter__(self) -> "Meter":
        self._wall, self._cpu = time.perf_counter(), self._processor_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.perf_counter() - self._wall
        self.cpu_s = self._processor_time() - self._cpu
        if resource is not None:
            peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            self.peak_rss_mb = peak / (2**20 if sys.platform == "darwin" else 2**10)

    @staticmethod
    def _processor_time() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system


def hardware() -> str:
    """This machine in a line: usable cores, processor, memory, accelerators."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    parts = [f"{cores} x {name}"]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")
    torch = sys.modules.get("torch")  # a run that never loaded torch used no accelerator
    if torch is not None and torch.cuda.is_available():
        parts.append(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    return ", ".join(parts)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages that can change a figure; those not installed are left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


CODE = (":/*.py", ":/pyproject.toml", ":/configs")
"""What a figure depends on in a checkout, for git: pages and committed results may differ."""


def commit() -> str:
    """The git commit of the code, with ``-dirty`` where code or configs differ from it; empty outside a checkout."""
    package = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # installed inside somebody else's checkout: not ours
        head = git("rev-parse", "HEAD")
        return head + ("-dirty" if git("status", "--porcelain", "--untracked-files=no", "--", *CODE) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def make_result(
    *,
    set: str,
    method: str,
    seed: int,
    split: str,
    n_users: int,
    metrics: Mapping[str, Mapping[str, float]],
    config: str,
    settings: Mapping[str, Any],
    text_encoder: str,
    ties: str = "input-order",
    meter: Meter | None = None,
    **extra: Any,
) -> Result:
    """A result with the machine, the versions and the commit filled in.

    ties:    ``"input-order"``, or ``"shuffled"`` where items with one timestamp were shuffled within a user
    meter:   what the run took; a finished ``Meter``
    extra:   any of ``OPTIONAL``
    raises   DataError where the figures cannot be (see ``check_result``).
    """
    result: Result = {
        "set": set,
        "method": method,
        "seed": seed,
        "split": split,
        "n_users": n_users,
        "metrics": {mode: dict(table) for mode, table in metrics.items()},
        "config": config,
        "settings": dict(settings),
        "text_encoder": text_encoder,
        "ties": ties,
        "commit": commit(),
        "hardware": hardware(),
        "wall_s": round(meter.wall_s, 3) if meter else 0,
        "cpu_s": round(meter.cpu_s, 3) if meter else 0,
        "peak_rss_mb": round(meter.peak_rss_mb, 1) if meter else 0,
        "versions": versions(),
        **extra,
    }
    return check_result(result, f"result of {method}")


def make_results(evaluation: "Evaluation", **common: Any) -> list[Result]:
    """One result a method of an evaluation, with intervals, figures beyond accuracy and slices.

    common: what ``make_result`` needs beside the method, its figures and the number of users
    """
    return [
        make_result(
            method=method,
            n_users=len(evaluation.rows),
            metrics=found.metrics,
            intervals=found.intervals,
            beyond=found.beyond,
            slices=found.slices,
            **common,
        )
        for method, found in evaluation.methods.items()
    ]


def check_result(value: Any, where: str) -> Result:
    """Refuse what is not a result of the protocol.

    value:   a decoded JSON object
    where:   the file, to begin error texts with
    returns  the same object
    raises   DataError: a missing key, a value of the wrong kind, figures outside 0..1, a recall that falls as
             the cut grows, an NDCG above its recall.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: found {type(value).__name__}, expected a JSON object with the keys of a result")
    missing = [key for key in REQUIRED if key not in value]
    if missing:
        raise DataError(f"{where}: the key{'s' * (len(missing) > 1)} {', '.join(missing)} missing from the result")
    for key, kind in REQUIRED.items():
        if not isinstance(value[key], kind) or isinstance(value[key], bool):
            raise DataError(f"{where}: '{key}' is {value[key]!r}, expected {_kind_name(kind)}")
    for key, allowed in (("split", ("valid", "test")), ("ties", ("input-order", "shuffled"))):
        if value[key] not in allowed:
            raise DataError(f"{where}: '{key}' is {value[key]!r}, expected one of {', '.join(allowed)}")
    for mode in ("raw", "filtered"):
        if mode not in value["metrics"]:
            raise DataError(f"{where}: metrics have no '{mode}'; the protocol asks for raw and filtered, always")
        _check_metrics(value["metrics"][mode], f"{where}: metrics.{mode}")
    return value


def _check_metrics(table: Mapping[str, Any], where: str) -> None:
    for name in metric_names():
        figure = table.get(name)
        if isinstance(figure, bool) or not isinstance(figure, int | float) or not math.isfinite(figure):
            raise DataError(f"{where}.{name} is {figure!r}, expected a number")
        if not 0.0 <= figure <= 1.0:
            raise DataError(f"{where}.{name} is {figure}, expected a share between 0 and 1 (not per cent)")
    for kind in ("recall", "ndcg"):
        figures = [table[f"{kind}@{cut}"] for cut in CUTS]
        if figures != sorted(figures):
            raise DataError(f"{where}: {kind} falls as the cut grows, {figures} at {list(CUTS)}; that cannot be")
    for cut in CUTS:
        if table[f"ndcg@{cut}"] > table[f"recall@{cut}"] + 1e-9:
            raise DataError(f"{where}: ndcg@{cut} is larger than recall@{cut}; with one target that cannot be")


def _kind_name(kind: type | tuple[type, ...]) -> str:
    names = {str: "a text", int: "a whole number", dict: "an object"}
    return "a number" if isinstance(kind, tuple) else names[kind]


def write_result(path: str | Path, result: Result | Iterable[Result]) -> Path:
    """Write one result, or a list of them, as JSON; checked first, and atomically."""
    path = Path(path)
    if isinstance(result, Mapping):
        write_json(path, check_result(result, str(path)))
    else:
        write_json(path, [check_result(each, f"{path}, result {i}") for i, each in enumerate(result)])
    return path


def read_results(path: str | Path) -> list[Result]:
    """Read a file that holds one result or a list of them, checked.

    raises   DataError: no JSON, or not a result.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not JSON ({error}); write results with gen_rec.evaluation.write_result") from error
    if isinstance(value, list):
        return [check_result(each, f"{path}, result {i}") for i, each in enumerate(value)]
    return [check_result(value, str(path))]


def read_folder(folder: str | Path) -> list[tuple[Path, Result]]:
    """Every result of a folder's JSON files, with the file it stands in, by name of the file.

    raises   DataError: a JSON file that holds no result.
    """
    return [(path, result) for path in sorted(Path(folder).glob("*.json")) for result in read_results(path)]
