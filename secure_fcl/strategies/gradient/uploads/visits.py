"""Training at a client with noise of its own: what a visit costs, keeps and makes, whatever is sent of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from privacy import Event
from secure_fcl.strategies.base import DeviceView, Floats, State, Stratum
from secure_fcl.strategies.contribution import Values
from secure_fcl.strategies.gradient.networks import Trained, Visit
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.upload import ClientRound


@dataclass(frozen=True, eq=False)
class Made:
    """What a visit made: new weights minus those it started from, float64 (P,), the path, the arrays kept.

    path: of the client's steps, or of its surrogate's where the method has one; None: the method asks for none.
    """

    update: Values
    path: Values | None
    carried: Mapping[str, Floats]


class Visits(Protocol):
    """Training at a client: what it charges, and what it makes."""

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what a visit charges an example of a stratum."""

    def made(self, round: ClientRound) -> Iterator[Made]:
        """Yield what each client's visit makes, in order."""


@dataclass(frozen=True, eq=False)
class LocalVisits:
    """Visits of `dpsgd` (local DP-SGD), and second visits of the clients' surrogates where the method has them.

    All that is made of a visit is post-processing of its noisy gradients.
    """

    numbers: Numbers

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """The method's arrays, and the optimizer's moments if it goes on."""
        n = self.numbers
        moments = {"moments": (n.dpsgd.moments(n.size),)} if n.keep_moments else {}
        return {**n.method.carried(n.size), **moments}

    def initial(self) -> State:
        """Return no array: the server only takes means."""
        return {}

    def prepared(self, visit: Visit, state: State, view: DeviceView) -> Visit:
        """See `Training.prepared`."""
        moments = view.carried["moments"] if self.numbers.keep_moments else None
        return replace(visit, after=self.numbers.method.after(state, view.carried), moments=moments)

    def events(self, stratum: Stratum) -> Counter[Event]:
        """Return what a visit charges; a surrogate's is charged like the client's own."""
        n = self.numbers
        rate = n.rates.current if stratum == "current" else n.rates.memory
        found = n.dpsgd.events(rate)
        if n.method.surrogate:
            found += n.dpsgd.events(rate)
        return found

    def made(self, round: ClientRound) -> Iterator[Made]:
        """Yield what each client's visit makes, in order."""
        n, state, step = self.numbers, round.state, round.step
        starts = np.stack([n.method.start(state, view.carried, step) for view in round.views])
        walks = "path" in n.method.beside and not n.method.surrogate
        visits = round.trainer.visits(starts, round.visits, n.dpsgd, round.loss, walks)
        for view, start, trained, second in zip(round.views, starts, visits, self._surrogates(round), strict=True):
            local = (start + trained.update).astype(np.float32)
            carried = dict(n.method.carry(view.carried, local, step))
            if trained.moments is not None:
                carried["moments"] = trained.moments
            path = trained.path
            if second is not None:
                path = second[1].path
                carried["surrogate"] = (second[0] + second[1].update).astype(np.float32)
            yield Made(trained.update, path, carried)

    def _surrogates(self, round: ClientRound) -> Iterator[tuple[Floats, Trained] | None]:
        """Yield where each client's surrogate started and what its visit made of it; None where there are none."""
        n = self.numbers
        if not n.method.surrogate:
            yield from [None] * len(round.visits)
            return
        starts = np.stack([n.method.surrogate_start(round.state, view.carried, round.step) for view in round.views])
        after = n.method.surrogate_after(round.state)
        own = [replace(visit, after=after, moments=None) for visit in round.visits]
        yield from zip(starts, round.trainer.visits(starts, own, n.dpsgd, round.loss, path=True), strict=True)
