"""Precision and processes: what the config says, else what ``accelerate launch`` says."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState

from gen_rec.cli import parse_config
from gen_rec.errors import GenRecError
from gen_rec.training.stage import make_accelerator


@pytest.fixture(autouse=True)
def _own_state() -> Iterator[None]:
    """Accelerate keeps one state a process; each test makes its own, and leaves none."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(
    ("launched_with", "setting", "expected"),
    [
        (None, "null", "no"),
        ("bf16", "null", "bf16"),  # accelerate launch --mixed_precision bf16
        ("bf16", "no", "no"),
        (None, "bf16", "bf16"),
    ],
)
def test_precision(monkeypatch: pytest.MonkeyPatch, launched_with: str | None, setting: str, expected: str) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if launched_with:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched_with)
    config = parse_config(["--training.cpu", "true", "--training.mixed_precision", setting])
    assert make_accelerator(config).mixed_precision == expected
    assert parse_config([]).training.mixed_precision is None


def test_a_training_does_not_inherit_the_precision_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    for setting, expected in (("bf16", "bf16"), ("null", "no"), ("bf16", "bf16")):
        config = parse_config(["--training.cpu", "true", "--training.mixed_precision", setting])
        assert make_accelerator(config).mixed_precision == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "no")])
def test_auto_is_what_the_processor_multiplies(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:
    monkeypatch.setattr("gen_rec.training.stage.multiplies_bfloat16", lambda: native)
    config = parse_config(["--training.cpu", "true", "--training.mixed_precision", "auto"])
    assert make_accelerator(config).mixed_precision == expected


def test_processes_that_do_not_know_of_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun on a machine without a GPU, without --training.cpu: accelerate takes each process for the only one."""
    assert make_accelerator(parse_config(["--training.cpu", "true"])).num_processes == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(GenRecError, match=r"2 processes were started, but 1 would .*; .* add --training\.cpu true"):
        make_accelerator(parse_config(["--training.cpu", "true"]))
