"""A small shop whose items have texts, and what a tiny EmbSum of it needs."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from tiny_backbone import WORDS, tiny_backbone

from gen_rec.cli import parse_config
from gen_rec.config import Config
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.training import train_embsum
from gen_rec.training.stage import make_accelerator


@pytest.fixture(scope="session")
def item_texts() -> Callable[[int], list[str]]:
    return texts


def texts(n_items: int) -> list[str]:
    """A text of its own for each item: a colour that neighbours on the ring share, and two words."""
    return [f"{WORDS[i * 3 // n_items]} {WORDS[3 + i % 8]} {WORDS[11 + i // 8]}" for i in range(n_items)]


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone") / "tiny"
    folder.mkdir()
    tiny_backbone("t5").save(folder)
    return folder


@pytest.fixture
def embsum_run(fresh_run: Callable[[str], Path]) -> Callable[[str], Path]:
    """``embsum_run("a")``: a run with everything but training, its items with texts of known words."""

    def make(name: str = "run") -> Path:
        run = fresh_run(name)
        path = run / "data" / "items.parquet"
        items = pl.read_parquet(path)
        items.with_columns(text=pl.Series(texts(len(items)))).write_parquet(path)
        return run

    return make


@pytest.fixture(scope="session")
def embsum_options(options: Callable[..., list[str]], backbone_folder: Path) -> Callable[..., list[str]]:
    """The command line of a tiny EmbSum: ``embsum_options(run, "--seed=1")``."""

    def make(run: Path, *more: object) -> list[str]:
        own = {
            "backbone": backbone_folder, "user_codes": 3, "item_codes": 2, "code_size": 8, "session_items": 2,
            "summary_tokens": 6, "uniform_negatives": 8, "training.epochs": 2, "training.batch_size": 30,
            "training.learning_rate": 0.001, "training.warmup_steps": 2, "training.validation_users": 50,
            "training.cpu": "true",
        }  # fmt: skip
        return options(run, *(f"--embsum.{name}={value}" for name, value in own.items()), *more)

    return make


@pytest.fixture
def ready(embsum_run: Callable[[str], Path], embsum_options: Callable[..., list[str]]) -> SimpleNamespace:
    """A run with an EmbSum of random weights: ``run``, ``config``, ``arguments``, ``folder`` (of what is encoded)."""
    run = embsum_run("run")
    arguments = embsum_options(run)
    config = parse_config(arguments)
    model = EmbSum(config.embsum, tiny_backbone("t5"))
    torch.manual_seed(0)
    with torch.no_grad():
        model.score.weight.normal_(std=0.25)
        model.user_attention.codes.normal_()
        for parameter in model.backbone.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.5)  # so that it writes something else of other histories
    model.save(run / "embsum" / "model")
    return SimpleNamespace(run=run, config=config, arguments=arguments, folder=run / "embsum" / "encoded")


@pytest.fixture(scope="session")
def train_embsum_here() -> Callable[..., bool]:
    """Train in this process."""

    def run(arguments: list[str], force: bool = False) -> bool:
        config: Config = parse_config(arguments)
        return train_embsum(config, make_accelerator(config), force)

    return run
