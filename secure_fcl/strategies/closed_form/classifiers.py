"""Two published classifiers from class sums and a second moment: analytic ridge regression and streaming LDA."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from secure_fcl.features.choice import feature_map
from secure_fcl.strategies.closed_form.class_rows import Linear
from secure_fcl.strategies.closed_form.moments import Classifier, Moments, MomentSums
from secure_fcl.strategies.entry import SumsEntry, SumsNumbers
from secure_fcl.strategies.section import Positive, RefinedSection

LEAST_COUNT = 1.0
"""A noisy count below this stands for this: nothing is divided by nothing."""


@dataclass(frozen=True)
class Ridge:
    """Analytic federated continual learning (Tang et al. 2025, arXiv 2505.12245): W = (G + r I)^-1 P.

    G is the sum of products of all features and P that of features by class, over all clients and tasks, so without
    noise the weights are those of ridge regression on all data at once (the paper's objective), whatever the order.
    With noise G loses its negative eigenvalues and r grows by the largest eigenvalue that noise alone has.
    """

    ridge: float = 1.0

    def fit(self, moments: Moments) -> Linear:
        """See `Classifier.fit`."""
        values, vectors = np.linalg.eigh(moments.gram)
        values = np.maximum(values, 0.0) + self.ridge + moments.edge
        weights = moments.classes.sums @ (vectors / values) @ vectors.T
        return Linear(weights, np.zeros(len(weights)))


@dataclass(frozen=True)
class StreamingLda:
    """Streaming linear discriminant analysis as sums (Hayes and Kanan 2020, arXiv 1909.01520, section 3).

    One covariance for all classes, shrunk towards the identity, and class means. With noise the covariance loses its
    negative eigenvalues and shrinkage grows by the largest eigenvalue that noise alone has.
    """

    shrinkage: float = 1e-4

    def fit(self, moments: Moments) -> Linear:
        """See `Classifier.fit`."""
        classes, used = moments.classes, moments.classes.released
        counts = np.maximum(classes.counts, LEAST_COUNT)
        means = classes.sums / counts[:, None]
        total = max(float(counts[used].sum()), LEAST_COUNT)
        # The square of a noisy sum is too large by its noise's variance, which is known and taken off.
        excess = float((classes.variance[used] / counts[used]).sum())
        between = (means[used].T * counts[used]) @ means[used] - excess * np.eye(means.shape[1])
        values, vectors = np.linalg.eigh((moments.gram - between) / total)
        shrinkage = min(0.5, self.shrinkage + moments.edge / total)
        values = (1.0 - shrinkage) * np.maximum(values, 0.0) + shrinkage
        weights = means @ (vectors / values) @ vectors.T
        return Linear(weights, -0.5 * (means * weights).sum(axis=1))


class MomentsSection(RefinedSection):
    """Streaming LDA: class sums and one second moment."""

    gram_share: float = Field(
        0.5, gt=0.0, lt=1.0, description="part of an example's squared weight that goes to the second moment"
    )


class AnalyticSection(MomentsSection):
    """Analytic federated class-incremental learning."""

    ridge: Positive = Field(1.0, description="added to the second moment's eigenvalues, beside what noise asks for")


def _moments(section: MomentsSection, numbers: SumsNumbers, classifier: Classifier) -> MomentSums:
    return MomentSums(
        name=numbers.name, classifier=classifier, features=feature_map(section.features), shape=numbers.shape,
        classes=numbers.classes, widest_slot=numbers.widest_slot, examples=numbers.examples,
        gram_share=section.gram_share, scale=2.0**section.scale_bits, noise=0.0,
    )  # fmt: skip


analytic = SumsEntry(
    section=AnalyticSection(),
    build=lambda section, numbers: _moments(section, numbers, Ridge(section.ridge)),
    told=lambda strategy, std: replace(strategy, noise=std["train"]),
)
slda = SumsEntry(
    section=MomentsSection(),
    build=lambda section, numbers: _moments(section, numbers, StreamingLda()),
    told=lambda strategy, std: replace(strategy, noise=std["train"]),
)
