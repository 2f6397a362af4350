"""Which processors multiply bfloat16, and what a setting makes of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gen_rec import precision
from gen_rec.precision import multiplies_bfloat16, product_type

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    multiplies_bfloat16.cache_clear()
    yield
    multiplies_bfloat16.cache_clear()


def only_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    """A torch that cannot tell, and a processor with these flags."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(precision, "CPU_INFO", file)


@pytest.mark.parametrize(
    ("text", "native"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse2\n", True),
        ("processor\t: 0\nflags\t\t: fpu amx_tile amx_bf16\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\n", False),
        ("model name\t: one with bf16\nflags\t\t: avx2\n", False),
        (None, False),
    ],
)
def test_flags_of_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, native: bool):
    only_flags(monkeypatch, tmp_path, text)
    assert multiplies_bfloat16() is native
    assert product_type("auto", CPU) == (torch.bfloat16 if native else None)
    assert product_type("bfloat16", CPU) == torch.bfloat16
    assert product_type("float32", CPU) is None
    assert product_type("auto", torch.device("meta")) is None


@pytest.mark.parametrize("name", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_torch_is_asked_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str):
    only_flags(monkeypatch, tmp_path, "flags : avx2\n")
    monkeypatch.setattr(torch.cpu, name, lambda: True, raising=False)
    assert multiplies_bfloat16()
