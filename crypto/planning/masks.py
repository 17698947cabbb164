"""How many neighbours and which threshold: the numbers behind a masked sum, computed before it starts.

Bell, Bonawitz, Gascon, Lepoint, Raykova, "Secure single-server aggregation with (poly)logarithmic overhead",
CCS 2020, section 3, with two differences: the threshold also stops a server that asks for both secrets of one
client, and connectivity is not a matter of chance, because clients check the graph's second eigenvalue.

A client's two round secrets are shared among its k neighbours and itself, H = k + 1 holders, threshold t:

- *No double answer*: an honest holder answers once. With x corrupt neighbours both secrets take
  2t <= H + x answers, so 2t > H + x must hold; x is hypergeometric, and the bound is over all clients.
- *No split*: to open an honest client, t holders answer, so at least m = t - x honest clients, itself
  included, stay together. Two honest groups S, T that survive with no edge between them satisfy
  |S||T| / ((n-|S|)(n-|T|)) <= (lambda/k)^2 (expander mixing lemma). With |S| >= m and |S| + |T| >= n - d - c
  that is made impossible, whichever d clients the server declares dropped.
- *Enough answers*: with d dropouts independent of the graph, every client keeps t holders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from crypto.errors import PlanRefused

Mode = Literal["semi-honest", "active"]
Graph = Literal["complete", "sparse"]
LOG2_SECURITY = -40.0
LOG2_CORRECTNESS = -20.0
COMPLETE_BELOW = 50
MOST_CLIENTS = 4096
# A regular graph denser than this costs as much as the complete one.
_DENSEST = 0.6
# How many graphs may turn out unfit, beside those that somebody prevents.
_UNFIT = 3


@dataclass(frozen=True, kw_only=True)
class MaskParameters:
    """The public numbers of a masked sum.

    `corrupt`: how many clients may work with the server. `neighbours`: masks of each client (all others if
    `complete`). `threshold`: how many of the `neighbours` + 1 holders recover a secret. `eigenvalue`: bound on
    the graph's second eigenvalue in absolute value, 0 if complete.
    """

    mode: Mode
    corrupt: int
    neighbours: int
    threshold: int
    complete: bool
    eigenvalue: float = 0.0


def choose_parameters(n: int, corrupt: int, dropouts: int, mode: Mode, complete: bool) -> MaskParameters:
    """Choose the fewest neighbours, and the lowest threshold, that keep 2^-40 security and 2^-20 correctness.

    `complete` asks for all pairs; otherwise a regular graph is used from 50 clients on, where it is sparser.
    Correctness is for one sum, with dropouts that do not depend on the graph.

    Raises:
        PlanRefused: no choice exists; names value, bound and remedy.
    """
    _check(n, corrupt, dropouts, mode)
    if not complete and n >= COMPLETE_BELOW:
        sparse = _sparse(n, corrupt, dropouts, mode)
        if sparse is not None:
            return sparse
    threshold = (n + corrupt) // 2 + 1
    if threshold > n - dropouts:
        raise PlanRefused(
            f"with {n} clients, {corrupt} of them corrupt, {threshold} answers are needed, more than "
            f"(clients + corrupt)/2; {dropouts} dropouts leave {n - dropouts}: allow at most "
            f"{max(0, n - threshold)} dropouts, assume fewer corrupt clients, or add clients"
        )
    return MaskParameters(mode=mode, corrupt=corrupt, neighbours=n - 1, threshold=threshold, complete=True)


def parameters_for(
    protocol: str, graph: Graph | None, n: int, dropouts: int, corrupt: int | None, mode: Mode, pinned: bool
) -> MaskParameters | None:
    """The parameters of a plan; None for protocols without masks (no `graph`). `corrupt` None assumes a tenth.

    Raises:
        PlanRefused: as `choose_parameters`; also a mode for other protocols, and an active mode without a roster.
    """
    if graph is None:
        if mode != "semi-honest":
            raise PlanRefused(f"mode={mode!r} is for secagg and secagg+, not for {protocol}; leave it out")
        return None
    if mode == "active" and not pinned:
        raise PlanRefused("an active server could invent clients: pin their identities, plan(..., roster=...)")
    return choose_parameters(n, n // 10 if corrupt is None else corrupt, dropouts, mode, graph == "complete")


def set_up_attempts(dropouts: int) -> int:
    """How often the nonces may be drawn again: each client that does not open costs one attempt, and is left out.

    Each attempt is one more try for corrupt clients that dislike the graph: the security bound counts them all.
    """
    return dropouts + 1 + _UNFIT


def eigenvalue_bound(neighbours: int) -> float:
    """The bound 2 sqrt(k) that clients check; random k-regular graphs come near 2 sqrt(k-1) (Friedman 2008)."""
    return 2.0 * math.sqrt(neighbours)


def signatures_needed(n: int, corrupt: int) -> int:
    """More than (n + corrupt)/2: two such sets of signatures share an honest client, which signs once."""
    return (n + corrupt) // 2 + 1


def overhead_bytes(parameters: MaskParameters | None) -> int:
    """About what a client sends beside its vector in a steady sum: shares, commitments, boxes, vault, signatures."""
    return 0 if parameters is None else 500 + 268 * (parameters.neighbours + 1)


def _check(n: int, corrupt: int, dropouts: int, mode: Mode) -> None:
    if mode not in ("semi-honest", "active"):
        raise PlanRefused(f"unknown mode {mode!r}; choose 'semi-honest' or 'active'")
    if not 0 <= corrupt < n:
        raise PlanRefused(f"{corrupt} corrupt clients of {n}: assume 0 to {n - 1}")
    honest = n - dropouts - corrupt
    if honest < 2:
        raise PlanRefused(
            f"with {n} clients, {dropouts} dropouts and {corrupt} corrupt, a sum could hold {honest} honest vectors; "
            "at least 2 must remain: allow fewer dropouts or add clients"
        )
    needed = signatures_needed(n, corrupt)
    if mode == "active" and needed > n - dropouts:
        raise PlanRefused(
            f"an active server is stopped by {needed} signatures, more than half of {n} clients and {corrupt} corrupt; "
            f"{dropouts} dropouts leave {n - dropouts}: allow at most {n - needed} dropouts"
        )
    if n > MOST_CLIENTS:
        raise PlanRefused(f"{n} clients exceed {MOST_CLIENTS}, where checking the graph takes too long; split them")


def _sparse(n: int, corrupt: int, dropouts: int, mode: Mode) -> MaskParameters | None:
    secure = LOG2_SECURITY - math.log2(n * set_up_attempts(dropouts))
    correct = LOG2_CORRECTNESS - math.log2(n)
    # Even degrees only: then there is a graph whatever number of members comes.
    for k in range(4, int(_DENSEST * (n - dropouts - 1)) + 1, 2):
        # Members that never set up thin the crowd of the honest, so the fewest members are assumed here.
        worst = _upper_quantile(n - dropouts - 1, corrupt, k, secure)
        threshold = (k + 1 + worst) // 2 + 1
        together = threshold - worst
        if threshold > k + 1 or not _connected(n, k, together, n - dropouts - corrupt):
            continue
        if _log2_shortage(n, dropouts, k, threshold) <= correct:
            return MaskParameters(
                mode=mode,
                corrupt=corrupt,
                neighbours=k,
                threshold=threshold,
                complete=False,
                eigenvalue=eigenvalue_bound(k),
            )
    return None


def _connected(n: int, k: int, least: int, honest: int) -> bool:
    """Whether no two honest groups of at least `least` members, `honest` in all, can lack an edge."""
    if least < 1:
        return False
    if 2 * least > honest:
        return True
    other = honest - least
    return least * other / ((n - least) * (n - other)) > (eigenvalue_bound(k) / k) ** 2


def _log2_shortage(n: int, dropouts: int, k: int, threshold: int) -> float:
    """log2 of the probability that one client keeps fewer than `threshold` answering holders.

    The worse case is a survivor, who is a holder itself, or a dropped client, who is not.
    """
    survivor = _log2_lower_tail(n - 1, n - 1 - dropouts, k, threshold - 2)
    if dropouts == 0:
        return survivor
    return max(survivor, _log2_lower_tail(n - 1, n - dropouts, k, threshold - 1))


def _upper_quantile(population: int, marked: int, draws: int, log2_tail: float) -> int:
    """The smallest x with P(X > x) <= 2^log2_tail, X the marked ones among `draws` without replacement."""
    total, limit = 0.0, 2.0**log2_tail
    for x in range(min(marked, draws), -1, -1):
        total += 2.0 ** _log2_pmf(population, marked, draws, x)
        if total > limit:
            return x
    return 0


def _log2_lower_tail(population: int, marked: int, draws: int, most: int) -> float:
    total = 0.0
    for x in range(most, -1, -1):
        term = 2.0 ** _log2_pmf(population, marked, draws, x)
        total += term
        # Below the mean the terms fall at least geometrically, so the rest is far below rounding.
        if x < draws * marked / population - 1 and term < total * 2.0**-60:
            break
    return math.log2(total) if total > 0 else -math.inf


def _log2_pmf(population: int, marked: int, draws: int, x: int) -> float:
    if x < 0 or x > marked or draws - x < 0 or draws - x > population - marked:
        return -math.inf
    inside = _log2_choose(marked, x) + _log2_choose(population - marked, draws - x)
    return inside - _log2_choose(population, draws)


def _log2_choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
