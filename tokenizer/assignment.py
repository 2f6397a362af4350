"""Equal-size assignment: points to centres at low total cost, every centre with its capacity.

Every centre has a price, and a point wants the centre where cost plus price is least. At the right prices
every centre is wanted by as many points as it has room for, and then the assignment is optimal (duality of
the transportation problem). Three steps, each for many independent problems of one shape at once:

1. Prices that nearly balance the demand, by Sinkhorn steps of falling temperature on a sample of the points.
2. Auction rounds (Bertsekas and Castanon, Annals of Operations Research 20, 1989), all points bidding at
   once. A point without a place bids for its first choice, and offers as much more as it would lose by going
   to its second choice, plus a small ``tolerance``. A centre keeps the highest bids it has room for; the
   lowest becomes its price. If all points find a place, the total is within ``points * tolerance`` of the
   least possible one.
3. The few that are still without a place when the rounds are over come in by the cheapest chain of moves
   (``tokenizer.repair``); only beyond some hundreds of them, the rest goes where there is room.

Unlike deferred acceptance by distance, where a full centre keeps its nearest points, a centre keeps those
that would suffer most elsewhere; that is why the result is close to min-cost flow.
"""

import torch
from torch import Tensor

from tokenizer.kmeans import row_argmin
from tokenizer.prices import balance_prices, balance_prices_quickly
from tokenizer.repair import QUICK_WORK, WORK, place_by_chains

ENTRIES_AT_ONCE = 1 << 18
"""Entries of the cost matrix looked at in one step, so that they stay in a core's cache."""
AUCTION_ROUNDS = 20
"""Bidding rounds before the rest is placed by chains of moves."""


def child_sizes(n_points: int, n_children: int) -> tuple[int, int]:
    """Size of the smaller children of an even split, and how many children are one larger."""
    return n_points // n_children, n_points % n_children


def large_children(demand: Tensor, n_large: int) -> Tensor:
    """Mark the ``n_large`` children of each problem with the highest demand; ties go to the lower number.

    demand: (problems, k)
    returns (problems, k) bool
    """
    order = demand.argsort(dim=1, descending=True, stable=True)
    large = torch.zeros_like(demand, dtype=torch.bool)
    return large.scatter_(1, order[:, :n_large], True)


def _best_two(cost: Tensor, prices: Tensor, rows: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
    """First choice of each row, and how much its second choice costs beyond the first.

    cost: (all rows, k); prices: (problems, k); rows (r,) ascending, without repeats; problem: (r,)
    returns choice (r,) int64, regret (r,) of cost's type, at least zero
    """
    choice = torch.empty(len(rows), dtype=torch.int64, device=cost.device)
    regret = torch.empty(len(rows), dtype=cost.dtype, device=cost.device)
    step = max(1, ENTRIES_AT_ONCE // cost.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        value = cost[part] if len(rows) == len(cost) else cost.index_select(0, rows[part])  # (step, k)
        value = value + (prices if len(prices) == 1 else prices.index_select(0, problem[part]))
        where = row_argmin(value)
        least = value.gather(1, where[:, None]).squeeze(1)
        value.scatter_(1, where[:, None], torch.inf)
        choice[part] = where
        regret[part] = value.amin(dim=1) - least
    return choice, regret


def balanced_assign(
    cost: Tensor,
    tolerance: Tensor,
    prices: Tensor | None = None,
    large: Tensor | None = None,
    quick: bool = False,
) -> tuple[Tensor, Tensor]:
    """Assign the points of many problems to centres such that sizes differ by at most one.

    cost:      (problems, m, k) float, contiguous; a constant added to a row changes nothing. m at least k, k
               at least 2.
    tolerance: (problems,) positive; what a point may lose against its best choice at the final prices
    prices:    (problems, k) where the bidding starts, such as the prices of a similar problem; zeros when
               None
    large:     (problems, k) bool, which centres take ceil(m / k) points, exactly m mod k of a problem; None:
               those with the highest starting price, or the most wanted ones where prices are None
    quick:     cheaper starting prices and fewer chains, for the rounds of a fit of many points
    returns    labels (problems, m) int64 and prices (problems, k)

    Ties are broken by position, so the result is a function of its input. Raises ValueError when a problem's
    ``large`` does not mark m mod k centres.
    """
    problems, m, k = cost.shape
    small, n_large = child_sizes(m, k)
    flat = cost.view(problems * m, k)
    rows = torch.arange(problems * m, device=cost.device)
    problem = rows // m
    if large is None and n_large:
        if prices is None:
            start = torch.zeros(problems, k, dtype=cost.dtype, device=cost.device)
            wanted = problem * k + _best_two(flat, start, rows, problem)[0]
            demand = torch.bincount(wanted, minlength=problems * k).view(problems, k)
            large = large_children(demand, n_large)
        else:
            large = large_children(prices, n_large)
    capacity = torch.full((problems, k), small, device=cost.device)
    if large is not None:
        if bool((large.sum(dim=1) != n_large).any()):
            raise ValueError(
                f"large must mark {n_large} of {k} centres in each problem (m mod k for m = {m}), "
                f"got {large.sum(dim=1).tolist()[:5]} ..."
            )
        capacity = capacity + large
    price = torch.zeros(problems, k, dtype=cost.dtype, device=cost.device) if prices is None else prices
    balance = balance_prices_quickly if quick else balance_prices
    price = balance(cost, capacity, price, tolerance, warm=prices is not None)
    capacity = capacity.view(-1)  # (problems * k,)
    place = torch.zeros_like(rows)  # centre of each point, numbered over all problems
    bids = torch.zeros(len(rows), dtype=cost.dtype, device=cost.device)
    waiting = rows
    for _ in range(AUCTION_ROUNDS):
        at = problem[waiting]
        choice, regret = _best_two(flat, price, waiting, at)
        centre = at * k + choice
        place[waiting] = centre
        bids[waiting] = price.view(-1)[centre] + regret + tolerance[at]
        wanted = torch.zeros(len(capacity), dtype=torch.bool, device=cost.device)
        wanted[centre] = True
        full = wanted & (torch.bincount(place, minlength=len(capacity)) >= capacity)
        waiting = _keep_highest(place, bids, full, capacity, price.view(-1))
        if not len(waiting):
            break
    waiting = place_by_chains(flat, place, waiting, bids, capacity, price, QUICK_WORK if quick else WORK)
    _place_where_room(flat, price, place, waiting, capacity)
    return (place % k).view(problems, m), price


def _place_where_room(flat: Tensor, price: Tensor, place: Tensor, waiting: Tensor, capacity: Tensor) -> None:
    """Put the waiting points into centres with room; ``place`` is changed in place.

    Each round every one of them asks for its best centre with room, which takes those with the highest
    regret; so a round fills a centre or is the last one.
    """
    k = price.shape[1]
    held = torch.ones(len(place), dtype=torch.bool, device=place.device)
    held[waiting] = False
    room = capacity - torch.bincount(place[held], minlength=len(capacity))
    m = len(place) // price.shape[0]
    while len(waiting):
        at = waiting // m
        closed = torch.where(room.view(-1, k) > 0, price, torch.inf)
        choice, regret = _best_two(flat, closed, waiting, at)
        place[waiting] = at * k + choice
        order = regret.argsort(descending=True, stable=True)
        order = order[place[waiting[order]].argsort(stable=True)]
        asking = waiting[order]
        centre = place[asking]
        counts = torch.bincount(centre, minlength=len(capacity))
        rank = torch.arange(len(asking), device=place.device) - (counts.cumsum(0) - counts)[centre]
        waiting = asking[rank >= room[centre]].sort().values
        room = (room - counts).clamp(min=0)


def _keep_highest(place: Tensor, bids: Tensor, full: Tensor, capacity: Tensor, price: Tensor) -> Tensor:
    """Let the full centres keep their highest bids, raise their prices, and give the points sent away.

    ``price`` (centres,) is changed in place: the lowest bid that a full centre keeps.
    """
    members = full[place].nonzero().squeeze(1)
    members = members[bids[members].argsort(descending=True, stable=True)]
    members = members[place[members].argsort(stable=True)]  # by centre, then by bid from the highest
    centre = place[members]
    counts = torch.bincount(centre, minlength=len(capacity))
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(members), device=place.device) - first[centre]
    last = rank == capacity[centre] - 1
    price[centre[last]] = bids[members[last]]
    return members[rank >= capacity[centre]].sort().values
