"""Two processes learn what one learns from batches twice the size.

They are started as docs/scale_out.md says: on one machine ``accelerate launch --cpu --num_processes 2`` starts only
one, ``--multi_gpu`` starts two, on processors too.
"""

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gen_rec.cli import parse_config
from gen_rec.config import Config, to_yaml
from gen_rec.run import Run

# Without chance: no dropout, and no loss that draws. 61 validation users do not divide by two, so a sampler that pads
# would count one twice.
CHANGES = (
    "--training.cpu=true", "--model.dropout=0", "--model.embedding_dropout=0", "--objective.transfer=false",
    "--objective.contrastive=smooth_l1", "--training.validation_users=61",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def log() -> Callable[[Path], list[dict[str, float]]]:
    return lambda run: [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_two_processes_equal_one_with_the_doubled_batch(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[[Config], bool],
    start: Callable[..., subprocess.Popen[str]], log: Callable[[Path], list[dict[str, float]]],
) -> None:  # fmt: skip
    one, two = fresh_run("one"), fresh_run("two")
    settings = two / "config.yaml"
    settings.write_text(to_yaml(parse_config(options(two, *CHANGES, "--training.batch_size=4"))))
    process = start(
        "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", 2, "--num_machines", 1,
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", free_port(),
        "train_gen.py", "--config", settings,
    )  # fmt: skip
    train_here(parse_config(options(one, *CHANGES, "--training.batch_size=8")))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "2 process(es)" in errors

    first, second = log(one), log(two)
    assert [line["step"] for line in first] == [1, 10, 15, 20, 30, 30]  # 15 steps of 8 rows an epoch, 2 validations
    assert [line["step"] for line in second] == [line["step"] for line in first]
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"wall_s"}:
            # The same sums in another order, in float32, and what 30 steps of Adam make of the difference.
            assert b[name] == pytest.approx(a[name], rel=2e-5), (a["step"], name)
    mine, theirs = (load_file(run / "model" / "model.safetensors") for run in (one, two))
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        # A gradient that is zero but for rounding (the bias of attention keys) moves by a share of the rate.
        atol = 1e-3 if name.endswith("key_value.bias") else 3e-5
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=atol, msg=lambda m, n=name: f"{n}: {m}")
    assert Run(two).checkpoints.is_dir()


def test_accumulation_equals_the_whole_batch(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[[Config], bool],
    log: Callable[[Path], list[dict[str, float]]],
) -> None:  # fmt: skip
    whole, parts = fresh_run("whole"), fresh_run("parts")
    train_here(parse_config(options(whole, *CHANGES, "--training.batch_size=64")))
    train_here(parse_config(options(parts, *CHANGES, "--training.batch_size=32", "--training.gradient_accumulation=2")))
    for a, b in zip(log(whole), log(parts), strict=True):
        for name in a.keys() - {"wall_s"}:
            assert b[name] == pytest.approx(a[name], rel=1e-5), (a["step"], name)  # float32 sums, other order
    mine, theirs = (load_file(run / "model" / "model.safetensors") for run in (whole, parts))
    for name, value in mine.items():
        atol = 1e-3 if name.endswith("key_value.bias") else 1e-5
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=atol, msg=lambda m, n=name: f"{n}: {m}")
