"""Prices that nearly balance the demand for centres: where the auction of ``tokenizer.assignment`` starts.

Sinkhorn steps: every point divides itself over the centres by softmax(-(cost + price) / temperature), and a
price moves by temperature * log(demand / share). The temperature falls from the mean cost, or from a little
above the tolerance where prices are nearly right, to the tolerance. Two ways of the same:

- ``balance_prices`` lowers the temperature at every step, so each step takes an exponential of every cost.
- ``balance_prices_quickly`` keeps a temperature for some steps. Then the exponentials are taken once, and a
  step is two products with them: several times less work for prices about as good.
"""

import torch
from torch import Tensor

COLD_STEPS, WARM_STEPS = 100, 30
"""Steps towards balanced prices: when there are none to start from, and when there are."""
SAMPLE_PER_CENTRE = 64
"""Points a centre that balanced prices are sought on."""
COLD_STAGES, WARM_STAGES, STEPS_A_STAGE = 12, 5, 8
"""Temperatures of the quick way, and steps at each of them."""
LEAST_EXPONENT = -80.0
"""Exponentials of less are not normal float32 numbers, which processors compute with ten times slower."""
ENTRIES_AT_ONCE = 1 << 18
"""Entries of the exponentials of several problems that are held at once, so that they stay in a core's cache."""


def balance_prices(cost: Tensor, capacity: Tensor, price: Tensor, tolerance: Tensor, warm: bool) -> Tensor:
    """Move prices until the demand for each centre is about its share of the points.

    cost: (problems, m, k); capacity, price: (problems, k); tolerance: (problems,)
    warm: the price is nearly right, so start at a low temperature
    returns (problems, k), the least price of a problem being zero
    """
    sample, target, hottest, coldest = _sample(cost, capacity, tolerance, warm)
    steps = WARM_STEPS if warm else COLD_STEPS
    choice = torch.empty_like(sample)
    rows = max(1, ENTRIES_AT_ONCE // (len(sample) * sample.shape[2]))
    for step in range(steps):
        share = min(1.0, step / (0.7 * steps))
        temperature = (hottest.log() * (1 - share) + coldest.log() * share).exp()[:, None]
        for start in range(0, sample.shape[1], rows):
            part = slice(start, start + rows)
            value = (sample[:, part] + price[:, None, :]).div_(-temperature[:, :, None])
            torch.softmax(value, dim=2, out=choice[:, part])
        demand = choice.sum(dim=1).clamp(min=1e-30)  # (problems, k)
        price = price + temperature * (demand / target).log()
    return price - price.amin(dim=1, keepdim=True)


def balance_prices_quickly(cost: Tensor, capacity: Tensor, price: Tensor, tolerance: Tensor, warm: bool) -> Tensor:
    """The same as ``balance_prices`` with fewer temperatures, by matrix products."""
    problems, m, k = cost.shape
    rows = min(m, 2 * SAMPLE_PER_CENTRE * k)
    step = max(1, ENTRIES_AT_ONCE // (rows * k))
    found = torch.empty_like(price)
    for start in range(0, problems, step):
        part = slice(start, start + step)
        found[part] = _balance_in_stages(cost[part], capacity[part], price[part], tolerance[part], warm)
    return found


def _balance_in_stages(cost: Tensor, capacity: Tensor, price: Tensor, tolerance: Tensor, warm: bool) -> Tensor:
    sample, target, hottest, coldest = _sample(cost, capacity, tolerance, warm)
    stages = WARM_STAGES if warm else COLD_STAGES
    rows = max(1, ENTRIES_AT_ONCE // (len(sample) * sample.shape[2]))
    for stage in range(stages):
        share = stage / (stages - 1)
        temperature = (hottest.log() * (1 - share) + coldest.log() * share).exp()[:, None]  # (problems, 1)
        weight = sample + price[:, None, :]  # (problems, s, k)
        weight -= weight.amin(dim=2, keepdim=True)
        weight /= -temperature[:, :, None]
        weight.clamp_(min=LEAST_EXPONENT).exp_()  # what a point divides itself by, the largest being one
        factor = torch.ones_like(price)  # exp(-change of price / temperature)
        for _ in range(STEPS_A_STAGE):
            demand = torch.zeros_like(price)
            for part in weight.split(rows, dim=1):  # both products while the part is in a core's cache
                # Row vectors from the left: torch is ten times slower with column vectors from the right.
                portion = torch.bmm(factor[:, None], part.transpose(1, 2)).clamp_(min=1e-30).reciprocal_()
                demand += torch.bmm(portion, part).squeeze(1)  # portion (problems, 1, rows), demand (problems, k)
            demand *= factor
            factor = (factor * target / demand.clamp(min=1e-30)).clamp(1e-15, 1e15)
        price = price - temperature * factor.log()
    return price - price.amin(dim=1, keepdim=True)


def _sample(cost: Tensor, capacity: Tensor, tolerance: Tensor, warm: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What prices are sought on: points (problems, s, k), their share of each centre (problems, k), and the
    highest and lowest temperature (problems,)."""
    m, k = cost.shape[1:]
    sample = cost[:, :: max(1, m // (SAMPLE_PER_CENTRE * k))]
    target = capacity * (sample.shape[1] / m)
    hottest = 4 * tolerance if warm else (sample - sample.amin(dim=2, keepdim=True)).mean(dim=(1, 2))
    coldest = torch.minimum(tolerance, hottest).clamp(min=1e-30)
    return sample, target, hottest.clamp(min=1e-30), coldest
