"""The last points of an equal-size assignment: shortest chains of moves through the centres.

The Hungarian method on the graph whose nodes are the centres of a problem: the arc from a to b costs what the
cheapest move of a point from a to b adds, less the fall in price. A point without a place enters somewhere,
each centre on the way hands one point on, and the last one has room; then the prices change such that every
chain taken is a cheapest one. If the assignment it starts from is within a tolerance of its prices, so is the
one it ends with.
"""

import torch
from torch import Tensor

HOPS = 24
"""Moves in a chain, at most."""
MOST_CHAINS = 256
"""Chains per problem, at most; who is still waiting then stays so."""
WORK = 64
"""Arcs looked at, at most, as a multiple of the entries of the cost matrix; bounds the time of many problems."""
QUICK_WORK = 6
"""The same for a quick assignment."""


class _Clusters:
    """Who is in each centre, and the cheapest move between any two of a problem.

    Centres are numbered over all problems. ``members`` (centres, most) holds points, the first ``counts`` of
    them real.
    """

    def __init__(self, flat: Tensor, place: Tensor, held: Tensor, capacity: Tensor, k: int) -> None:
        self.flat, self.k = flat, k
        points = held.nonzero().squeeze(1)
        points = points[place[points].argsort(stable=True)]
        centre = place[points]
        self.counts = torch.bincount(centre, minlength=len(capacity))
        slot = torch.arange(len(points), device=place.device) - (self.counts.cumsum(0) - self.counts)[centre]
        self.members = torch.zeros(len(capacity), int(capacity.max()), dtype=torch.int64, device=place.device)
        self.members[centre, slot] = points
        self.move = torch.empty(len(capacity), k, dtype=flat.dtype, device=flat.device)  # cost of the cheapest move
        self.mover = torch.empty(len(capacity), k, dtype=torch.int64, device=flat.device)  # its slot
        step = max(1, (1 << 22) // (self.members.shape[1] * k))
        for start in range(0, len(capacity), step):
            self.refresh(torch.arange(start, min(start + step, len(capacity)), device=place.device))

    def refresh(self, centres: Tensor) -> None:
        """Find the cheapest moves out of some centres again. centres: (c,)"""
        cost = self.flat[self.members[centres]]  # (c, most, k)
        own = (centres % self.k)[:, None, None].expand(-1, cost.shape[1], 1)
        change = cost - cost.gather(2, own)
        slots = torch.arange(cost.shape[1], device=centres.device)
        change.masked_fill_((slots >= self.counts[centres][:, None])[:, :, None], torch.inf)
        self.move[centres], self.mover[centres] = change.min(dim=1)


def place_by_chains(
    flat: Tensor, place: Tensor, waiting: Tensor, urgency: Tensor, capacity: Tensor, price: Tensor, work: int = WORK
) -> Tensor:
    """Find places for the waiting points, the most urgent first, one in each problem at a time.

    flat:     (problems * m, k) cost of every point at every centre of its problem
    place:    (problems * m,) centre of every point, numbered over all problems; changed in place
    waiting:  (w,) points without a place
    urgency:  (problems * m,) only that of the waiting ones matters
    capacity: (problems * k,)
    price:    (problems, k) changed in place
    work:     arcs looked at, at most, as a multiple of the entries of ``flat``
    returns   the points that are still waiting, if there were more than ``MOST_CHAINS`` and ``work`` allow
    """
    if not len(waiting):
        return waiting
    problems, k = price.shape
    m = len(flat) // problems
    held = torch.ones(len(place), dtype=torch.bool, device=place.device)
    held[waiting] = False
    clusters = _Clusters(flat, place, held, capacity, k)
    order = waiting[urgency[waiting].argsort(descending=True, stable=True)]
    order = order[(order // m).argsort(stable=True)]
    counts = torch.bincount(order // m, minlength=problems)
    turn = torch.arange(len(order), device=place.device) - (counts.cumsum(0) - counts)[order // m]
    now, budget = 0, work * flat.numel()
    while now < MOST_CHAINS and budget > 0:
        points = order[turn == now]
        if not len(points):
            break
        for part in points.split(max(1, (1 << 22) // (k * k))):
            budget -= _chain(clusters, place, part, capacity, price) * len(part) * k * k
        now += 1
    return order[turn >= now].sort().values


def _chain(clusters: _Clusters, place: Tensor, points: Tensor, capacity: Tensor, price: Tensor) -> int:
    """Place one point of each of some problems at the end of the cheapest chain, and give the search's rounds.

    points: (p,) of different problems
    """
    k = clusters.k
    problem = points // (len(clusters.flat) // len(price))
    first = problem * k  # number of the problem's first centre
    row = torch.arange(len(points), device=place.device)
    own = first[:, None] + torch.arange(k, device=place.device)  # (p, k) the problem's centres
    prices = price[problem]  # (p, k)
    arc = clusters.move[own] + prices[:, None, :] - prices[:, :, None]  # (p, k, k)
    arc.clamp_(min=0)  # below zero by the tolerance, at most
    reach = clusters.flat[points] + prices  # (p, k) least cost of a chain that ends here
    reach = reach - reach.amin(dim=1, keepdim=True)
    before = []
    for _ in range(HOPS):
        through, via = (reach[:, :, None] + arc).min(dim=1)
        shorter = through < reach
        if not bool(shorter.any()):
            break
        before.append(torch.where(shorter, via, torch.arange(k, device=place.device)))
        reach = torch.where(shorter, through, reach)
    room = clusters.counts[own] < capacity[own]
    cost, at = torch.where(room, reach, torch.inf).min(dim=1)
    price[problem] = prices - torch.minimum(reach, cost[:, None])
    path = [at]
    for step in reversed(before):
        path.append(step[row, path[-1]])
    stops = torch.stack(path[::-1], dim=1)  # (p, hops + 1); equal neighbours mean no move

    guest = points.clone()
    for hop in range(len(before)):
        here, there = first + stops[:, hop], first + stops[:, hop + 1]
        go = (here != there).nonzero().squeeze(1)
        slot = clusters.mover[here[go], stops[go, hop + 1]]
        leaving = clusters.members[here[go], slot]
        clusters.members[here[go], slot] = guest[go]
        place[guest[go]] = here[go]
        guest[go] = leaving
    last = first + stops[:, -1]
    clusters.members[last, clusters.counts[last]] = guest
    clusters.counts[last] += 1
    place[guest] = last
    clusters.refresh((first[:, None] + stops).unique())
    return len(before) + 1
