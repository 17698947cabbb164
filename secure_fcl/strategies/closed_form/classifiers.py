"""Two published classifiers from class sums and a second moment: analytic ridge regression and streaming LDA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secure_fcl.strategies.closed_form.class_rows import Linear
from secure_fcl.strategies.closed_form.moments import Moments

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
