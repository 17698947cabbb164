"""All parties of a plan in one process, for tests and demonstrations: whoever runs it sees every secret."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crypto.keys.roster import Identity
from crypto.opening import open_client, open_party
from crypto.planning.norms import exact_norm_square
from crypto.planning.plans import Plan
from crypto.protocols.session import Opened, Session, plan_roles

Shares = npt.NDArray[np.int64]


@dataclass
class OpenerPair:
    """Two `SumOpener`s, for compute0 and compute1, that simply put their shares together.

    The norm check is done on the opened vectors: a stand-in for CrypTen that protects nothing.
    """

    _offers: dict[bytes, dict[int, Shares]] = field(default_factory=dict, repr=False)
    _opened: dict[bytes, Opened] = field(default_factory=dict, repr=False)

    def end(self, rank: int) -> OpenerEnd:
        """The opener of compute0 or compute1."""
        return OpenerEnd(self, rank)

    def offer(self, rank: int, digest: bytes, shares: Shares) -> None:
        """Keep one end's shares."""
        self._offers.setdefault(digest, {})[rank] = shares

    def withdraw(self, rank: int, digest: bytes) -> None:
        """Forget one end's shares."""
        self._offers.get(digest, {}).pop(rank, None)

    def open(self, digest: bytes, bounds: tuple[int, ...], least: int) -> Opened | None:
        """Add the shares of both ends; None if one of them offered nothing of this digest."""
        offers = self._offers.get(digest, {})
        if digest not in self._opened and len(offers) == 2:
            self._opened[digest] = _opened(offers[0] + offers[1], bounds, least)
        return self._opened.get(digest)


@dataclass(frozen=True)
class OpenerEnd:
    """One end of an `OpenerPair`; see `crypto.protocols.session.SumOpener`."""

    pair: OpenerPair
    rank: int

    def offer(self, digest: bytes, shares: Shares) -> None:
        """Keep this end's shares."""
        self.pair.offer(self.rank, digest, shares)

    def withdraw(self, digest: bytes) -> None:
        """Forget this end's shares."""
        self.pair.withdraw(self.rank, digest)

    def open(self, digest: bytes, norm_bounds: tuple[int, ...], least: int) -> Opened | None:
        """Open the sum with the other end."""
        return self.pair.open(digest, norm_bounds, least)


def _opened(vectors: Shares, bounds: tuple[int, ...], least: int) -> Opened:
    accepted = tuple(
        all(exact_norm_square(part) <= bound * bound for part, bound in zip(client, bounds, strict=False))
        for client in vectors.swapaxes(0, 1)
    )
    if sum(accepted) < least:
        return Opened(accepted, None)
    return Opened(accepted, vectors[:, np.array(accepted)].sum(axis=(0, 1), dtype=np.int64))


def rehearse(plan: Plan, identities: dict[str, Identity] | None = None) -> dict[str, Session]:
    """Open every client and role of the plan here, before set-up; call `crypto.set_up` with the result.

    Raises:
        PlanRefused: as `open_client` and `open_party`.
    """
    own = identities or {}
    pair = OpenerPair()
    parties: dict[str, Session] = {name: open_client(plan, name, identity=own.get(name)) for name in plan.clients}
    for role in plan_roles(plan):
        opener = pair.end(int(role[-1])) if role.startswith("compute") else None
        parties[role] = open_party(plan, role, opener=opener, identity=own.get(role))
    return parties
