"""Class sums and one second moment shared by all classes: what analytic learning and streaming LDA send.

An example with features f, |f| <= 1, adds to its class's row a constant (which counts) and f, and to the second moment
the products of its features. Both blocks are scaled so that one example changes the whole upload by at most 1; how a
classifier is made of the sums is post-processing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from privacy import RandomBytes
from secure_fcl.features.choice import width_of
from secure_fcl.strategies.base import (
    Contribution,
    DeviceView,
    Floats,
    Phase,
    State,
    StepContext,
)
from secure_fcl.strategies.closed_form.class_rows import (
    ClassMoments,
    Linear,
    Values,
    class_rows,
    fold,
    noise_edge,
    read_rows,
    split_exactly,
    triangle,
    unfold,
    whole,
)
from secure_fcl.strategies.closed_form.summed_once import SummedOnce
from secure_fcl.strategies.contribution import Part, UploadSpec


@dataclass(frozen=True, eq=False)
class Moments:
    """What the server knows, in the features' own units.

    gram (d, d): sum of products of features. gram_noise: standard deviation of the noise on its diagonal; off the
    diagonal it is smaller by sqrt 2.
    """

    classes: ClassMoments
    gram: Values
    gram_noise: float

    @property
    def edge(self) -> float:
        """Largest eigenvalue that the noise alone has."""
        return noise_edge(self.gram_noise, len(self.gram))


class Classifier(Protocol):
    """Makes a linear classifier of released sums: post-processing, free of charge."""

    def fit(self, moments: Moments) -> Linear:
        """Return the classifier; rows of classes that were never released are ignored."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MomentSums(SummedOnce):
    """A closed-form strategy: one round per chunk, sums only, a classifier after every release.

    Attributes:
        features: public function of examples, rows of norm at most 1.
        classes: size of the public label set.
        widest_slot: most classes that the calendar announces for one slot; the upload has a row for each.
        examples: public bound on the examples of one chunk.
        gram_share: part of the squared sensitivity that goes to the second moment.
        scale: integer steps per unit norm.
        noise: standard deviation of the noise in an entry of the sum, in units of the sensitivity; public. 0: none,
            and the release is charged as non-private.
    """

    name: str
    classifier: Classifier
    features: Callable[[Floats], Values]
    shape: tuple[int, ...]
    classes: int
    widest_slot: int
    examples: int
    gram_share: float
    scale: float
    noise: float

    @cached_property
    def dimension(self) -> int:
        """Number of features."""
        return width_of(self.features, self.shape)

    @property
    def _weights(self) -> tuple[float, float]:
        """Scales of class rows and products, whose squares add up to 1."""
        return math.sqrt(1.0 - self.gram_share), math.sqrt(self.gram_share)

    @cached_property
    def uploads(self) -> Mapping[Phase, UploadSpec]:
        """A row of count and features per class of the slot, and the triangle of the second moment.

        The row has norm at most sqrt(1 - gram_share). The triangle holds off-diagonal products times sqrt 2, so its
        norm is |f|^2 <= 1, times sqrt(gram_share). Together at most 1.
        """
        bound, entries = float(self.examples), triangle(self.dimension)
        rows = Part("sums", (self.widest_slot, 1 + self.dimension), bound)
        unit = "one example lies in one class row and in the second moment, together with Euclidean norm at most 1"
        spec = UploadSpec(
            name=self.name,
            parts=(rows, Part("gram", (entries,), bound)),
            scale=self.scale,
            sensitivity_l2=1.0,
            sensitivity_entries=1 + self.dimension + entries,
            unit=unit,
        )
        return {"train": spec}

    def noise_inside(self) -> bool:
        """See `SummedOnce.noise_inside`."""
        return self.noise > 0

    def initial(self) -> State:
        """See `Strategy.initial`. Sums keep their low parts, so the order of adding does not show."""
        return {
            "sums": np.zeros((2, self.classes, 1 + self.dimension), dtype=np.float32),
            "gram": np.zeros((2, triangle(self.dimension)), dtype=np.float32),
            "class_releases": np.zeros(self.classes, dtype=np.float32),
            "releases": np.zeros(1, dtype=np.float32),
        }

    def contribute(self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes) -> Contribution:
        """See `Strategy.contribute`."""
        rows, products = self._weights
        mine = np.isin(view.current.y, step.classes)
        found = self.features(view.current.x[mine])
        sums = class_rows(found, view.current.y[mine], step.classes, self.widest_slot)
        return Contribution({"sums": rows * sums, "gram": products * fold(found.T @ found)})

    def apply(self, state: State, step: StepContext, total: dict[str, Values], clients: int) -> State:
        """See `Strategy.apply`."""
        slots = list(step.classes)
        sums, class_releases = whole(state["sums"]), state["class_releases"].copy()
        sums[slots] += total["sums"][: len(slots)]
        class_releases[slots] += 1.0
        return {
            "sums": split_exactly(sums),
            "gram": split_exactly(whole(state["gram"]) + total["gram"]),
            "class_releases": class_releases,
            "releases": state["releases"] + np.float32(1.0),
        }

    def moments(self, state: State) -> Moments:
        """Return what was released, in the features' own units."""
        rows, products = self._weights
        classes = read_rows(whole(state["sums"]), rows, state["class_releases"].astype(np.float64), self.noise)
        noise = self.noise * math.sqrt(float(state["releases"][0])) / products
        return Moments(classes, unfold(whole(state["gram"]) / products, self.dimension), noise)

    def scores(self, state: State, x: Floats) -> Floats:
        """See `Strategy.scores`."""
        moments = self.moments(state)
        return self.classifier.fit(moments).scores(self.features(x), moments.classes.released)
