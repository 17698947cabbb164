"""Class sums: one private sum of bounded features per class and task, nearest mean direction, no replay memory.

Each example lies in one task and in one class, its feature vector has Euclidean norm at most 1, and its sum is
released once, so one example costs one release whatever the number of tasks. Only directions are used: a count
would have to be released too, and nearest mean by direction is the better classifier anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privacy import RandomBytes
from secure_fcl.features.choice import FeatureMap, feature_map, width_of
from secure_fcl.features.kinds import features
from secure_fcl.strategies.base import (
    Contribution,
    DeviceView,
    Floats,
    Phase,
    State,
    StepContext,
)
from secure_fcl.strategies.closed_form.summed_once import SummedOnce
from secure_fcl.strategies.contribution import Part, UploadSpec
from secure_fcl.strategies.entry import SumsEntry, SumsNumbers
from secure_fcl.strategies.section import OTHER_FEATURES, PlainFeatures, SumsSection


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassSums(SummedOnce):
    """Sums of bounded features by class (as in Snell et al. 2017, section 2.1, with directions for means).

    Attributes:
        classes: size of the public label set.
        widest_slot: most classes that the calendar announces for one slot; the upload has a row for each.
        examples: public bound on the examples of one chunk; a sum beyond it is clipped coordinatewise, which
            never raises the sensitivity.
        scale: integer steps per unit norm.
        noisy: whether noise is added inside the sum; without it the release is charged as non-private.
        own: public function of examples, rows of norm at most 1; None: the plain features of their kind.
    """

    shape: tuple[int, ...]
    classes: int
    widest_slot: int
    examples: int
    scale: float
    noisy: bool
    name: str = "class_sums"
    own: FeatureMap | None = None

    def features(self, x: Floats) -> NDArray[np.float64]:
        """Return the public features of examples, float64 (n, d), rows of norm at most 1."""
        return features(x) if self.own is None else self.own(x)

    @cached_property
    def dimension(self) -> int:
        """Number of features."""
        return width_of(self.features if self.own is None else self.own, self.shape)

    @cached_property
    def uploads(self) -> Mapping[Phase, UploadSpec]:
        """One row of features per class of the slot; an example touches one row and weighs at most 1 there."""
        spec = UploadSpec(
            name=self.name,
            parts=(Part("sums", (self.widest_slot, self.dimension), float(self.examples)),),
            scale=self.scale,
            sensitivity_l2=1.0,
            sensitivity_entries=self.dimension,
            unit="one example lies in one class row, with Euclidean norm at most 1",
        )
        return {"train": spec}

    def noise_inside(self) -> bool:
        """See `SummedOnce.noise_inside`."""
        return self.noisy

    def initial(self) -> State:
        """See `Strategy.initial`."""
        return {"sums": np.zeros((self.classes, self.dimension), dtype=np.float32)}

    def contribute(self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes) -> Contribution:
        """See `Strategy.contribute`."""
        rows = self.features(view.current.x)
        sums = np.zeros((self.widest_slot, self.dimension))
        for row, label in enumerate(step.classes):
            sums[row] = rows[view.current.y == label].sum(axis=0)
        return Contribution({"sums": sums})

    def apply(self, state: State, step: StepContext, total: dict[str, NDArray[np.float64]], clients: int) -> State:
        """See `Strategy.apply`."""
        sums = state["sums"].copy()
        sums[list(step.classes)] += total["sums"][: len(step.classes)].astype(np.float32)
        return {"sums": sums}

    def scores(self, state: State, x: Floats) -> Floats:
        """See `Strategy.scores`: cosine between features and class sums."""
        sums = state["sums"].astype(np.float64)
        norms = np.linalg.norm(sums, axis=1)
        released = norms > 0
        directions = sums[released] / norms[released, None]
        out = np.full((len(x), self.classes), -np.inf, dtype=np.float32)
        out[:, released] = (self.features(x) @ directions.T).astype(np.float32)
        return out


class ClassSumsSection(SumsSection):
    """Class sums of bounded features."""

    features: PlainFeatures = Field("plain", description=f"plain: by kind of data; {OTHER_FEATURES}")


def _class_sums(section: ClassSumsSection, numbers: SumsNumbers) -> ClassSums:
    return ClassSums(
        shape=numbers.shape,
        classes=numbers.classes,
        widest_slot=numbers.widest_slot,
        examples=numbers.examples,
        scale=2.0**section.scale_bits,
        noisy=numbers.noisy,
        own=None if section.features == "plain" else feature_map(section.features),
    )


class_sums = SumsEntry(section=ClassSumsSection(), build=_class_sums)
