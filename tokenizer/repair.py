"""The last points of an equal-size assignment: shortest chains of moves through the centres.

The Hungarian method on the graph whose nodes are the centres of a problem: the arc from a to b costs what the
cheapest move of a point from a to b adds, less the fall in price. A point without a place enters somewhere,
each centre on the way hands one point on, and the last one has room; then the prices change such that every
chain taken is a cheapest one. If the assignment it starts from is within a tolerance of its prices, so is the
one it ends with.

Chains are searched one after the other on small arrays, where numpy takes a fraction of the time of torch.
"""

from itertools import pairwise

import numpy as np
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
ENTRIES_AT_ONCE = 1 << 22
"""Entries of the costs of members, and of the arcs of problems, that are counted as one step of work."""


class _Clusters:
    """Who is in each centre, and what the cheapest move between any two of a problem costs.

    Centres are numbered over all problems. ``members`` (centres, most) holds points, the first ``counts`` of
    them real; ``move`` (centres, k) is infinite out of a centre without points.
    """

    def __init__(self, flat: Tensor, place: np.ndarray, held: np.ndarray, capacity: np.ndarray, k: int) -> None:
        self.flat, self.k = flat, k
        points = np.flatnonzero(held)
        points = points[place[points].argsort(kind="stable")]
        centre = place[points]
        self.counts = np.bincount(centre, minlength=len(capacity))
        slot = np.arange(len(points)) - (self.counts.cumsum() - self.counts)[centre]
        self.members = np.zeros((len(capacity), int(capacity.max())), dtype=np.int64)
        self.members[centre, slot] = points
        self.move = np.empty((len(capacity), k), dtype=np.float32)
        step = max(1, ENTRIES_AT_ONCE // (self.members.shape[1] * k))
        for start in range(0, len(capacity), step):
            self.refresh(np.arange(start, min(start + step, len(capacity))))

    def refresh(self, centres: np.ndarray) -> None:
        """Find what the cheapest moves out of some centres cost again. centres: (c,)"""
        members = torch.from_numpy(self.members[centres]).to(self.flat.device)  # (c, most)
        cost = self.flat.index_select(0, members.view(-1)).view(*members.shape, self.k)
        own = torch.from_numpy(centres % self.k).to(self.flat.device)[:, None, None].expand(-1, members.shape[1], 1)
        change = cost.sub_(cost.gather(2, own))
        free = np.arange(self.members.shape[1]) >= self.counts[centres][:, None]  # (c, most)
        if free.any():
            change[torch.from_numpy(free).to(self.flat.device)] = torch.inf
        self.move[centres] = change.amin(dim=1).cpu().numpy()

    def mover(self, centre: int, target: int) -> int:
        """Slot of the point whose move from a centre to the problem's centre ``target`` is the cheapest one, the
        first of equal ones."""
        rows = torch.from_numpy(self.members[centre, : self.counts[centre]]).to(self.flat.device)
        change = self.flat[rows, target] - self.flat[rows, centre % self.k]
        return int(change.cpu().numpy().argmin())


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
    places, prices, room = place.cpu().numpy(), price.cpu().numpy(), capacity.cpu().numpy()
    held = np.ones(len(places), dtype=bool)
    held[waiting.cpu().numpy()] = False
    clusters = _Clusters(flat, places, held, room, k)
    order = waiting[urgency[waiting].argsort(descending=True, stable=True)].cpu().numpy()
    order = order[(order // m).argsort(kind="stable")]
    counts = np.bincount(order // m, minlength=problems)
    turn = np.arange(len(order)) - (counts.cumsum() - counts)[order // m]
    step = max(1, ENTRIES_AT_ONCE // (k * k))
    now, budget = 0, work * flat.numel()
    while now < MOST_CHAINS and budget > 0:
        points = order[turn == now]
        if not len(points):
            break
        for start in range(0, len(points), step):
            part = points[start : start + step]
            rounds = max(_chain(clusters, places, int(point), int(point) // m, room, prices) for point in part)
            budget -= rounds * len(part) * k * k
        now += 1
    place.copy_(torch.from_numpy(places))
    price.copy_(torch.from_numpy(prices))
    return torch.from_numpy(np.sort(order[turn >= now])).to(place.device)


def _chain(
    clusters: _Clusters, place: np.ndarray, point: int, problem: int, capacity: np.ndarray, prices: np.ndarray
) -> int:
    """Place one point of a problem at the end of the cheapest chain, and give the search's rounds."""
    k, first = clusters.k, problem * clusters.k
    own = slice(first, first + k)  # the problem's centres
    price = prices[problem]  # (k,)
    arc = clusters.move[own] + price  # (k, k) from, to
    arc -= price[:, None]
    np.maximum(arc, 0, out=arc)  # below zero by the tolerance, at most
    reach = clusters.flat[point].cpu().numpy() + price  # (k,) least cost of a chain that ends here
    reach -= reach.min()
    reached = [reach]  # by chains of one centre, of two at most, ...
    ends = np.arange(k)  # chains that the last round shortened: only they can shorten others
    for _ in range(HOPS):
        through = ((arc if len(ends) == k else arc[ends]) + reach[ends, None]).min(axis=0)
        ends = np.flatnonzero(through < reach)
        if not len(ends):
            break
        reach = reach.copy()
        reach[ends] = through[ends]
        reached.append(reach)
    open_ends = np.where(clusters.counts[own] < capacity[own], reach, np.float32(np.inf))
    at = int(open_ends.argmin())
    prices[problem] = price - np.minimum(reach, open_ends[at])
    path = [at]
    for before, after in zip(reached[-2::-1], reached[:0:-1], strict=True):
        if after[at] < before[at]:
            at = int((before + arc[:, at]).argmin())
            path.append(at)
    path.reverse()

    guest = point
    for here, there in pairwise(path):
        slot = clusters.mover(first + here, there)
        leaving = int(clusters.members[first + here, slot])
        clusters.members[first + here, slot] = guest
        place[guest] = first + here
        guest = leaving
    end = first + path[-1]
    clusters.members[end, clusters.counts[end]] = guest
    clusters.counts[end] += 1
    place[guest] = end
    clusters.refresh(first + np.array(path))
    return len(reached)
