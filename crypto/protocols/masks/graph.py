"""The neighbour graph: regular, random from a public seed, and checked for expansion.

Everybody computes the same graph from the seed, and nobody can choose it (see `crypto.protocols.masks.members`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from crypto.keys.randomness import KeyedStream, derive_key, uniform64
from crypto.planning.masks import MaskParameters
from crypto.protocols.masks.errors import GraphError

Neighbours = tuple[tuple[int, ...], ...]
_TRIES = 64
_REPAIRS = 400


@lru_cache(maxsize=8)
def neighbour_graph(seed: bytes, n: int, parameters: MaskParameters) -> Neighbours:
    """Return the sorted neighbours of each of the members 0 to n-1.

    Complete if the parameters say so or n <= neighbours + 1 (fewer members than planned came). Otherwise
    random regular of the even degree `neighbours`: layers of random Hamiltonian cycles, repaired by swaps where
    two layers meet, then relabelled by a random permutation, so that any set of corrupt clients
    chosen before the seed meets hypergeometric neighbourhoods. Graphs whose second eigenvalue exceeds
    `parameters.eigenvalue` are skipped.

    *Guarantee*: a function of its arguments alone.

    Raises:
        GraphError: 64 tries give no such graph.
    """
    k = parameters.neighbours
    if parameters.complete or n <= k + 1:
        everyone = range(n)
        return tuple(tuple(v for v in everyone if v != u) for u in everyone)
    for attempt in range(_TRIES):
        stream = KeyedStream(derive_key(seed, "neighbour graph 1", n, k, attempt))
        adjacency = _regular(n, k, stream)
        if adjacency is not None and expands(adjacency, k, parameters.eigenvalue):
            order = _permutation(n, stream)
            shuffled = adjacency[np.ix_(order, order)]
            return tuple(tuple(int(v) for v in np.flatnonzero(row)) for row in shuffled)
    raise GraphError(f"no expanding {k}-regular graph of {n} members in {_TRIES} tries; set up again")


def expands(adjacency: npt.NDArray[np.bool_], k: int, bound: float) -> bool:
    """Whether every eigenvalue of the k-regular graph, the trivial one aside, lies within +-`bound`.

    By Cholesky: bound * I -+ (A - k/n J) must be positive definite.
    """
    n = adjacency.shape[0]
    centred = adjacency.astype(np.float64) - k / n
    for signed in (centred, -centred):
        matrix = -signed
        matrix[np.diag_indices(n)] += bound
        try:
            np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            return False
    return True


def _permutation(n: int, stream: KeyedStream) -> npt.NDArray[np.intp]:
    return np.argsort(uniform64(stream, n), kind="stable")


def _regular(n: int, k: int, stream: KeyedStream) -> npt.NDArray[np.bool_] | None:
    """Lay k/2 cycles over each other; None if a layer cannot be repaired."""
    adjacency = np.zeros((n, n), dtype=np.bool_)
    for _ in range(k // 2):
        order = _permutation(n, stream)
        if not _repair(adjacency, order, stream):
            return None
        following = np.roll(order, -1)
        adjacency[order, following] = True
        adjacency[following, order] = True
    return adjacency


def _repair(adjacency: npt.NDArray[np.bool_], order: npt.NDArray[np.intp], stream: KeyedStream) -> bool:
    """Swap members of the cycle `order` until no two that follow each other are joined already."""
    n = order.size
    for _ in range(_REPAIRS):
        clashes = np.flatnonzero(adjacency[order, np.roll(order, -1)])
        if not clashes.size:
            return True
        others = (uniform64(stream, clashes.size) % np.uint64(n)).astype(np.intp)
        for place, other in zip(((clashes + 1) % n).tolist(), others.tolist(), strict=True):
            before = _clashes_at(adjacency, order, (place, other))
            order[place], order[other] = order[other], order[place]
            if _clashes_at(adjacency, order, (place, other)) > before:
                order[place], order[other] = order[other], order[place]
    return False


def _clashes_at(adjacency: npt.NDArray[np.bool_], order: npt.NDArray[np.intp], places: tuple[int, int]) -> int:
    n = order.size
    starts = {start % n for place in places for start in (place - 1, place)}
    return sum(bool(adjacency[order[start], order[(start + 1) % n]]) for start in starts)
