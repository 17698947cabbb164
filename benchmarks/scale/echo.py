"""Federated averaging whose clients train nothing: `Echo` of `flower_run` on this side.

A run of the row `benchmarks.scale.echo:echo` costs what carries, masks, checks and adds vectors, and what the run
writes down; nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from secure_fcl.strategies import Contribution, GradientEntry, GradientSection, Plain
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.choice import Uploads
from secure_fcl.strategies.gradient.uploads.update import UpdateUpload
from secure_fcl.strategies.gradient.uploads.upload import ClientRound
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits


@dataclass(frozen=True, eq=False)
class EchoUpload(UpdateUpload):
    """The update of a client that trained nothing, in the full length of the weights."""

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield an update of zeros for each client."""
        for _ in round.views:
            yield Contribution({"update": np.zeros(self.numbers.size)} | self._weights.fill(1.0), {})


@dataclass(frozen=True)
class Echo(Plain):
    """Federated averaging without training."""

    def uploads(self, numbers: Numbers) -> Uploads:
        """See `SendsOwn.uploads`."""
        visits = LocalVisits(numbers)
        return Uploads(visits, {"train": EchoUpload(numbers, visits)})


echo = GradientEntry(section=GradientSection(), method=lambda section: Echo())
