"""When a client refuses: the checks between a server's request and an answer that cannot be taken back."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from crypto.keys.roster import Trust
from crypto.planning.masks import signatures_needed
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Released
from crypto.protocols.masks.errors import UnmaskRefused


def check_survivors(plan: Plan, me: int, cohort: Collection[int], survivors: Collection[int]) -> None:
    """Refuse a set without this client, with strangers, or with fewer than clients - dropouts members."""
    if me not in survivors:
        raise UnmaskRefused("the set of survivors does not hold this client, which did send its vector")
    if not set(survivors) <= set(cohort):
        raise UnmaskRefused("the set of survivors holds somebody who is not in the cohort")
    if len(survivors) < plan.min_clients:
        raise UnmaskRefused(
            f"{len(survivors)} survivors are fewer than the {plan.min_clients} of a sum; run another round"
        )


def check_split(cohort: Collection[int], survivors: Collection[int], dropped: Collection[int]) -> None:
    """Refuse if somebody is in both sets, or the two are not the whole cohort."""
    both = set(survivors) & set(dropped)
    if both:
        raise UnmaskRefused(f"{len(both)} clients are listed as survivors and as dropped; both secrets open a vector")
    if set(survivors) | set(dropped) != set(cohort):
        raise UnmaskRefused("survivors and dropped clients together are not the cohort")


def check_proofs(plan: Plan, trust: Trust, corrupt: int, statement: bytes, proofs: Mapping[int, bytes]) -> None:
    """Refuse unless more than (clients + corrupt)/2 members signed this very statement."""
    n = len(plan.clients)
    needed, valid = signatures_needed(n, corrupt), 0
    for index, proof in proofs.items():
        valid += 0 <= index < n and trust.holds(plan.clients[index], statement, proof)
        if valid == needed:
            return
    raise UnmaskRefused(f"{valid} clients confirmed this set of survivors, {needed} of {n} are needed")


def check_released(released: Released, round: int, upload: str, model: bytes, me: str) -> None:
    """Refuse a second sum of this client's vectors at one model (`bookkeeping.Released`)."""
    reason = released.clash(round, upload, model, (me,))
    if reason:
        raise UnmaskRefused(reason)
