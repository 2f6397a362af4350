"""The optimiser and its learning-rate schedule."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from gen_rec.training.config import TrainingConfig
from gen_rec.training.source import HasRateGroups

COSINE_FLOOR = 0.02
"""Share of the peak rate that the cosine schedule ends at."""


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and tables but not vectors, with the fused kernel.

    A module with ``parameter_groups()`` has each of its groups learn at its own multiple of the rate.
    """
    rates = module.parameter_groups() if isinstance(module, HasRateGroups) else [(list(module.parameters()), 1.0)]
    groups = []
    for parameters, factor in rates:
        trained = [p for p in parameters if p.requires_grad]
        matrices, vectors = [p for p in trained if p.dim() >= 2], [p for p in trained if p.dim() < 2]
        for some, decay in ((matrices, config.weight_decay), (vectors, 0.0)):
            groups.append({"params": some, "weight_decay": decay, "lr": factor * config.learning_rate})
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)


def rate_factor(config: TrainingConfig, total_steps: int) -> Callable[[int], float]:
    """Step number -> share of the peak learning rate.

    constant: 1 after the warm-up. inverse_sqrt: sqrt(warmup / step) after it (arXiv 1706.03762). cosine: half a
    cosine from the end of the warm-up to COSINE_FLOOR at ``total_steps``.
    """
    warmup = max(1, config.warmup_steps)

    def factor(step: int) -> float:
        step += 1  # the first step is not taken at rate zero
        if step < warmup:
            return step / warmup
        if config.schedule == "inverse_sqrt":
            return math.sqrt(warmup / step)
        if config.schedule == "cosine":
            progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
            return COSINE_FLOOR + (1 - COSINE_FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))
        return 1.0

    return factor


def make_scheduler(optimizer: torch.optim.Optimizer, config: TrainingConfig, total_steps: int) -> LambdaLR:
    """The schedule as torch's own scheduler, so that its state is saved like any other."""
    return LambdaLR(optimizer, rate_factor(config, total_steps))
