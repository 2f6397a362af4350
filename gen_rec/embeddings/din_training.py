"""Training DIN on who took what next, for the sake of its item table."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from gen_rec.data.interactions import Cases, Dataset
from gen_rec.embeddings.config import DINConfig
from gen_rec.embeddings.din import DIN
from gen_rec.embeddings.sampling import NegativeSampler, sampled_softmax_loss
from gen_rec.embeddings.unseen import fill_unseen
from gen_rec.embeddings.windows import batches, cut_windows, padded
from gen_rec.errors import DataError, GenRecError

logger = logging.getLogger(__name__)

VALID_NEGATIVES = 512


def train_din(
    dataset: Dataset,
    config: DINConfig,
    seed: int,
    device: str | torch.device = "cpu",
    semantic: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train DIN on the training part and return its item table.

    Each item of a training sequence is predicted from the (at most ``max_history``) items before it, against
    negatives common to the batch (see sampling.py). After every epoch the same loss is taken over a fixed
    sample of validation users and fixed negatives; training stops when it has not fallen for ``patience``
    epochs, and the table of the best epoch is kept. (Ranking the whole catalogue with DIN costs more than the
    epoch itself, and a sample small enough to afford is too noisy to stop on.) Without validation cases all
    ``max_epochs`` run and the last table is kept. Rows of items that training never saw are filled by
    ``fill_unseen``.

    seed:     decides the initial weights, the order of batches, the negatives and the validation sample
    semantic: (n_items, any) text embeddings, for ``unseen: from_text``
    returns   (n_items, dim) float32, and {"history": [{"epoch", "loss", "valid_loss"}, ...], "best_epoch",
              "unseen": how many rows were filled, "filled": by what, "seconds"}
    raises    DataError when no training sequence has two items; GenRecError when the loss is no number.
    """
    with seeded(seed, device):
        return _train(dataset, config, seed, torch.device(device), semantic)


def _train(
    dataset: Dataset, config: DINConfig, seed: int, device: torch.device, semantic: np.ndarray | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """The body of ``train_din``, under its seed."""
    began = time.perf_counter()
    sequences, counts = dataset.train_sequences(), dataset.train_counts()
    start, length, first = cut_windows(sequences, config.max_history)
    if len(start) == 0:
        raise DataError(
            "no user has two interactions in the training part, so DIN has nothing to predict; "
            "use a set with longer histories, or train the semantic stream alone"
        )
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    model = make_din(dataset.n_items, config).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    sampler = NegativeSampler(torch.from_numpy(counts), config.negative_power)
    validation = Validation(dataset.cases("valid"), sampler, config, rng, generator)

    history: list[dict[str, float]] = []
    best_loss, best_epoch, best_table = math.inf, 0, model.table.weight.detach().clone()
    for epoch in range(1, config.max_epochs + 1):
        groups = list(batches(length, config.batch_positions, rng))
        total, predicted = 0.0, 0
        model.train()
        for number, group in enumerate(tqdm(groups, desc=f"DIN epoch {epoch}", unit="batch")):
            done = (epoch - 1 + number / len(groups)) / config.max_epochs
            for settings in optimizer.param_groups:
                settings["lr"] = config.learning_rate * (1 - 0.9 * done)
            items, real = padded(sequences.items, start[group], length[group])
            asked = np.arange(1, items.shape[1]) >= first[group, None]
            negatives, log_expected = sampler.draw(config.negatives, generator)
            loss, n = next_item_loss(model, items, real, asked, negatives, log_expected)
            if not torch.isfinite(loss):
                raise GenRecError(
                    f"DIN, epoch {epoch}, batch {number + 1}: the loss is {loss.item()}; "
                    f"lower embeddings.behavior.learning_rate (now {config.learning_rate})"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total, predicted = total + loss.item() * n, predicted + n
        row = {"epoch": epoch, "loss": total / predicted}
        if len(validation):
            row["valid_loss"] = validation.loss(model)
        history.append(row)
        logger.info("DIN %s", ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
        if "valid_loss" not in row or row["valid_loss"] < best_loss:
            best_loss, best_epoch = row.get("valid_loss", math.inf), epoch
            best_table = model.table.weight.detach().clone()
        elif epoch - best_epoch >= config.patience:
            break
    table, filled = fill_unseen(best_table.cpu().numpy(), counts > 0, config, semantic)
    return table, {
        "history": history,
        "best_epoch": best_epoch,
        "unseen": int((counts == 0).sum()),
        "filled": filled,
        "seconds": time.perf_counter() - began,
    }


@contextmanager
def seeded(seed: int, device: str | torch.device) -> Iterator[None]:
    """Seed torch's global generators (initial weights and dropout use them) and put them back after."""
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def make_din(n_items: int, config: DINConfig) -> DIN:
    """A fresh DIN with these settings."""
    return DIN(
        n_items,
        config.dim,
        activation_size=config.activation_size,
        mlp_sizes=config.mlp_sizes,
        score=config.score,
        max_history=config.max_history,
        dropout=config.dropout,
    )


def next_item_loss(
    model: DIN,
    items: np.ndarray,
    real: np.ndarray,
    asked: np.ndarray,
    negatives: Tensor,
    log_expected: Tensor,
) -> tuple[Tensor, int]:
    """The loss of a batch of windows, and how many predictions it is the mean of.

    items, real:             (b, L + 1)
    asked:                   (b, L) True where the following item is this window's to predict
    negatives, log_expected: (n,)
    """
    device = model.table.weight.device
    tensor, negatives = torch.from_numpy(items).to(device), negatives.to(device)
    positive, negative, follows = model.score_sequences(tensor, torch.from_numpy(real).to(device), negatives)
    wanted = follows & torch.from_numpy(asked).to(device)
    hit = tensor[:, 1:, None] == negatives  # (b, L, n)
    return sampled_softmax_loss(positive, negative, log_expected.to(device), hit, wanted), int(wanted.sum())


class Validation:
    """A fixed sample of validation cases and fixed negatives, so that epochs can be compared.

    Cases without a history, or whose target training never saw, are left out.
    """

    def __init__(
        self,
        cases: Cases,
        sampler: NegativeSampler,
        config: DINConfig,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> None:
        known = sampler.probabilities.numpy()[cases.target] > 0  # of other targets there is nothing to learn
        usable = np.flatnonzero(known & (np.diff(cases.offsets) > 0))
        chosen = np.sort(rng.permutation(usable)[: config.valid_cases])
        ends = cases.offsets[chosen + 1]
        lengths = np.minimum(ends - cases.offsets[chosen], config.max_history)
        self.items, self.starts, self.lengths = cases.items, ends - lengths, lengths
        self.target = torch.from_numpy(cases.target[chosen].astype(np.int64))
        self.groups = list(batches(lengths, config.batch_positions, rng))
        self.negatives, self.log_expected = sampler.draw(VALID_NEGATIVES, generator)

    def __len__(self) -> int:
        return len(self.target)

    @torch.no_grad()
    def loss(self, model: DIN) -> float:
        """Mean sampled-softmax loss of the cases; the model is left in evaluation mode."""
        model.eval()
        device, total = model.table.weight.device, 0.0
        negatives, log_expected = self.negatives.to(device), self.log_expected.to(device)
        for group in self.groups:
            items, real = (
                torch.from_numpy(x).to(device) for x in padded(self.items, self.starts[group], self.lengths[group])
            )
            target = self.target[group].to(device)  # (b,)
            positive = model(items, real, target[:, None]).squeeze(-1)  # (b,)
            negative = model(items, real, negatives)  # (b, n)
            loss = sampled_softmax_loss(
                positive, negative, log_expected, target[:, None] == negatives, torch.ones_like(target).bool()
            )
            total += loss.item() * len(group)
        return total / len(self)
