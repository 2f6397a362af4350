"""What tests share. Its place also makes modules of this folder, such as ``tiny_models``, importable in all tests.

A small shop: interactions in a CSV, a run in which everything before training is done, and a trained run. Texts are
"encoded" as random vectors here; the real encoder is loaded in ``test_end_to_end.py`` only.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gen_rec import stages
from gen_rec.cli import parse_config
from gen_rec.config import Config, to_yaml
from gen_rec.training.stage import make_accelerator, train

ROOT = Path(__file__).resolve().parents[1]
N_USERS, N_ITEMS = 120, 40


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Sums are then made in one order, here and in the processes that tests start."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws from torch's global generator does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with interactions.csv and items.csv: people walk along a ring of items, mostly one step at a time."""
    folder = tmp_path_factory.mktemp("shop")
    rng = random.Random(0)
    with (folder / "interactions.csv").open("w") as file:
        file.write("user_id,item_id,timestamp\n")
        for user in range(N_USERS):
            item = rng.randrange(N_ITEMS)
            for time in range(rng.randrange(4, 12)):
                file.write(f"u{user},i{item},{1000 + time}\n")
                item = (item + rng.choice([1, 1, 1, 2])) % N_ITEMS
    with (folder / "items.csv").open("w") as file:
        file.write("item_id,title\n")
        file.writelines(f"i{item},Thing {item} of group {item // 10}\n" for item in range(N_ITEMS))
    return folder


@pytest.fixture(scope="session")
def options(shop: Path) -> Callable[..., list[str]]:
    """The command line of a small run: ``options(folder, "--training.epochs", "2")``."""

    def make(run: Path, *more: object) -> list[str]:
        own = {
            "run": run,
            "data.table.interactions": shop / "interactions.csv",
            "data.table.items": shop / "items.csv",
            "embeddings.behavior.dim": 8,
            "embeddings.behavior.max_epochs": 1,
            "tokenizer.branching": 4,
            "model.hidden_size": 16,
            "model.num_heads": 2,
            "model.inner_size": 32,
            "model.decoder_layers": 1,
            "model.content_size": 4,
            "training.epochs": 2,
            "training.batch_size": 16,
            "training.warmup_steps": 4,
            "training.learning_rate": 0.003,
            "training.cpu": "true",
            "search.method": "exact",
            "evaluation.resamples": 20,
        }
        return [*(f"--{name}={value}" for name, value in own.items()), *map(str, more)]

    return make


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, options: Callable[..., list[str]]) -> Path:
    """A run that has data, embeddings and codes. Copy it before changing it (``fresh_run``)."""
    run = tmp_path_factory.mktemp("prepared") / "run"
    config = parse_config(options(run))

    def random_vectors(texts: list[str], *_: object) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((len(texts), 12)).astype(np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "encode_texts", random_vectors)
        stages.run_prepare(config)
        stages.run_embed(config)
        stages.run_tokenize(config)
    return run


@pytest.fixture
def fresh_run(prepared: Path, tmp_path: Path) -> Callable[[str], Path]:
    """``fresh_run("a")``: a new run that only lacks training."""

    def make(name: str = "run") -> Path:
        return Path(shutil.copytree(prepared, tmp_path / name))

    return make


@pytest.fixture(scope="session")
def train_here() -> Callable[[Config], bool]:
    """Train in this process."""

    def run(config: Config, force: bool = False) -> bool:
        return train(config, make_accelerator(config), force)

    return run


@pytest.fixture(scope="session")
def trained(
    prepared: Path,
    tmp_path_factory: pytest.TempPathFactory,
    options: Callable[..., list[str]],
    train_here: Callable[[Config], bool],
) -> tuple[Config, Path]:
    """A trained run, and its settings. Only read it."""
    run = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("trained") / "run"))
    config = parse_config(options(run, "--training.epochs=3"))
    (run / "config.yaml").write_text(to_yaml(config))
    train_here(config)
    return config, run


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of processes that tests start: one thread, no hub, their own cache."""
    cache = str(tmp_path_factory.mktemp("cache"))
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": cache}


@pytest.fixture(scope="session")
def start(environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """``start("train_gen.py", "--run", folder)``: Python in a process of its own, at the project's root."""

    def run(*arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return run
