"""The exact equal-size assignment, by min-cost flow: what the fast one is held against.

A point sends one unit to a centre; every centre takes floor(n/k) units, and at most one more, of which there are
n mod k in all. OR-tools solves it in integers; it comes with ``k-means-constrained``, which solves such a flow in every
round.
"""

import numpy as np

STEPS = 10_000_000
"""Integers between the least and the largest cost; rounding moves the total by half a step a point at most."""


def exact_assignment(cost: np.ndarray) -> np.ndarray:
    """Centre of every point such that sizes differ by at most one and the total cost is the least possible.

    cost: (n, k) finite, n at least k
    returns (n,) int64. Raises RuntimeError where the solver gives up.
    """
    from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

    n, k = cost.shape
    regret = cost - cost.min(axis=1, keepdims=True)  # the same assignment is best
    scale = STEPS / max(float(regret.max()), 1e-30)
    points, centres = np.arange(n, dtype=np.int32), np.arange(n, n + k, dtype=np.int32)
    flow = SimpleMinCostFlow()
    arcs = flow.add_arcs_with_capacity_and_unit_cost(
        np.repeat(points, k), np.tile(centres, n), np.ones(n * k, dtype=np.int64),
        np.rint(regret * scale).astype(np.int64).ravel(),
    )  # fmt: skip
    rest = np.full(k, n + k, dtype=np.int32)  # takes the one more of the larger centres
    flow.add_arcs_with_capacity_and_unit_cost(centres, rest, np.ones(k, dtype=np.int64), np.zeros(k, dtype=np.int64))
    supplies = np.concatenate([np.ones(n), np.full(k, -(n // k)), [-(n % k)]]).astype(np.int64)
    flow.set_nodes_supplies(np.arange(n + k + 1, dtype=np.int32), supplies)
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise RuntimeError(f"min-cost flow of {n} points and {k} centres ended with {status}, expected an optimum")
    return flow.flows(arcs).reshape(n, k).argmax(axis=1)
