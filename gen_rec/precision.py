"""In which type the products of a search run."""

from functools import cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "auto"]

CPU_INFO = Path("/proc/cpuinfo")
FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}
"""Names by which Linux lists instructions that multiply bfloat16, on x86 and on ARM."""


@cache
def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; where it does not, float32 is faster and exact."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        asked = getattr(torch.cpu, name, None)
        if asked is not None and asked():
            return True
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return False
    return any(FLAGS & set(line.split(":", 1)[-1].split()) for line in lines if line.startswith(("flags", "Features")))


def product_type(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The type that operands of products are rounded to; None leaves them in the weights' own."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cpu" and multiplies_bfloat16() else None
    return torch.bfloat16 if precision == "bfloat16" else None
