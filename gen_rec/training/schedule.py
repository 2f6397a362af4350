"""The optimiser and its learning-rate schedule."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from gen_rec.training.config import TrainingConfig

COSINE_FLOOR = 0.02
"""Share of the peak rate that the cosine schedule ends at."""


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and tables but not vectors, with the fused kernel."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


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
