"""What a figure was measured on."""

import platform
import resource
from pathlib import Path

import torch

from gen_rec.evaluation.result import versions

PACKAGES = (
    "torch", "numpy", "polars", "pyarrow", "transformers", "pandas", "scikit-learn", "faiss-cpu",
    "k-means-constrained", "ray",
)  # fmt: skip


def hardware() -> dict[str, object]:
    """Processor, cores, memory, and the threads that torch uses here."""
    cpus = _values("/proc/cpuinfo", "model name")
    memory = _values("/proc/meminfo", "MemTotal")
    flags = (_values("/proc/cpuinfo", "flags") or [""])[0].split()
    return {
        "processor": cpus[0] if cpus else platform.processor() or platform.machine(),
        "cores": len(cpus) or None,
        "memory_gib": round(int(memory[0].split()[0]) / 2**20) if memory else None,
        "instructions": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags],
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def measured_versions() -> dict[str, str]:
    """Versions of Python and of the packages that were measured, where they are installed."""
    return versions(PACKAGES)


def peak_mb() -> float:
    """Most memory that this process has held, in MB.

    Linux's own count of it: that of ``getrusage`` begins with what the process that started this one held.
    """
    own = _values("/proc/self/status", "VmHWM")
    if own:
        return int(own[0].split()[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if platform.system() == "Darwin" else peak * 1024 / 1e6


def _values(path: str, name: str) -> list[str]:
    file = Path(path)
    if not file.is_file():
        return []
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return [value.strip() for key, _, value in lines if key.strip() == name]
