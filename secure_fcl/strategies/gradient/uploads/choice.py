"""Which uploads a gradient strategy has: the one place that asks where the noise is added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from secure_fcl.strategies.base import Phase
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.fisher import FisherSumUpload, FisherUpload
from secure_fcl.strategies.gradient.uploads.gradient_sum import GradientSumUpload
from secure_fcl.strategies.gradient.uploads.persons import PersonUpload
from secure_fcl.strategies.gradient.uploads.update import NothingUpload, UpdateUpload
from secure_fcl.strategies.gradient.uploads.upload import SummedUpload, Training
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits


@dataclass(frozen=True, eq=False)
class Uploads:
    """The uploads of a strategy by phase, and the training that the first of them is made of."""

    training: Training
    of: Mapping[Phase, SummedUpload]


@runtime_checkable
class SendsOwn(Protocol):
    """A method with uploads of its own, beside what every `Method` has."""

    def uploads(self, numbers: Numbers) -> Uploads:
        """Return them, and the training that they are made of."""


def chosen(numbers: Numbers) -> Uploads:
    """Return the uploads that go with a method and a place of the noise."""
    method: object = numbers.method
    if isinstance(method, SendsOwn):
        return method.uploads(numbers)
    fisher = "fisher" in numbers.method.beside
    if numbers.shared and numbers.persons:
        whole = PersonUpload(numbers)
        return Uploads(whole, {"train": whole})
    if numbers.shared:
        sums = GradientSumUpload(numbers)
        return Uploads(sums, {"train": sums, "close": FisherSumUpload(numbers)} if fisher else {"train": sums})
    visits = LocalVisits(numbers)
    train = (NothingUpload if numbers.method.mean == "none" else UpdateUpload)(numbers, visits)
    return Uploads(visits, {"train": train, "close": FisherUpload(numbers)} if fisher else {"train": train})
