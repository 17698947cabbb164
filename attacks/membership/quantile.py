"""Membership by quantile regression: one regressor, trained on whom nobody asks about, instead of shadow models.

What log odds would a model that did not train on an example give it? The adversary has examples that nobody trained on,
asks the attacked model about them, and regresses its answers on the examples themselves. A candidate that the model is
surer of than the (1 - alpha) quantile of a non-member like it counts as a member; of non-members that is a share of
alpha. The idea is that of Bertran et al. 2023 (abstract); regressor, calibration and score are this package's choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attacks.errors import CandidatesInvalid
from attacks.games.attack import Candidates, FloatArray, Losses, contents
from attacks.games.judging import purpose_seed
from attacks.games.views import Capability, View
from attacks.membership.losses import log_odds, resolved_at

_FOLDS = 5


def fewest(alpha: float) -> int:
    """Smallest population with which a rate of `alpha` can be fixed: ten of it lie above the quantile."""
    return math.ceil(10.0 / alpha - 1e-9)


def strangers_of(population: Candidates, candidates: Candidates) -> Candidates:
    """The examples of a population that are no candidates themselves, by content."""
    asked = set(contents(candidates))
    return population.take(np.array([key not in asked for key in contents(population)], dtype=np.bool_))


@dataclass(frozen=True, eq=False)
class QuantileMembership:
    """How much surer the final model is of an example than of all but `alpha` of non-members that look like it.

    The quantile is what boosted trees predict from the example and its label, and above that one margin for all, the
    (1 - alpha) quantile of what they miss on examples that they were not fitted on. So the rate holds over all
    non-members together, and follows how hard an example is, but not how widely answers spread at it. The order of the
    scores, and with it the AUC, is the same for every alpha.

    Attributes:
        losses: the model's forward pass.
        population: non-members of the same distribution as the candidates, at least `fewest(alpha)`. No shadow model
            and no knowledge of how the model was trained is needed. Candidates among them are left out.
        alpha: rate of false alarms at a score of 0, in (0, 0.5].

    *Guarantee*: none in theory for cross-fitted margins; measured, candidates that are no members and come from the
    population's distribution score above 0 at the rate alpha.
    """

    losses: Losses = field(repr=False)
    population: Candidates = field(repr=False)
    alpha: float = 0.05
    name: str = "quantile regression"
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha <= 0.5:
            raise CandidatesInvalid(f"alpha={self.alpha} must lie in (0, 0.5]; it is a rate of false alarms")

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Log odds above the predicted quantile, (n,).

        Raises:
            CandidatesInvalid: too few of the population are no candidates themselves, or they are of too few clusters.
            LossesInvalid: rounding has eaten the log odds (`losses.resolved`).
        """
        strangers = strangers_of(self.population, candidates)
        if len(strangers) < fewest(self.alpha):
            raise CandidatesInvalid(
                f"a population of {len(strangers)} beside the candidates fixes no rate of {self.alpha:g} false alarms; "
                f"give at least {fewest(self.alpha)} examples that nobody trained on"
            )
        blocks = len(np.unique(strangers.cluster))
        if blocks < _FOLDS:
            raise CandidatesInvalid(
                f"a population of {blocks} clusters cannot be split into {_FOLDS} parts; give examples of more "
                "clusters, or a cluster number to each"
            )
        weights = view.array("final_model")
        theirs, own = (log_odds(resolved_at(self.losses, weights, part)) for part in (strangers, candidates))
        return own - self._quantiles(strangers, theirs, candidates)

    def _quantiles(self, strangers: Candidates, signal: FloatArray, candidates: Candidates) -> FloatArray:
        """Return the (1 - alpha) quantile of a non-member's log odds for every candidate, (n,)."""
        labels = np.unique(strangers.y)
        features, asked = (_features(part, labels) for part in (strangers, candidates))
        random = np.random.default_rng(purpose_seed(0, "attacks.membership.quantile"))
        # Whole clusters: windows that share readings would make what the trees miss look small.
        cluster = np.unique(strangers.cluster, return_inverse=True)[1]
        fold = random.permutation(int(cluster.max()) + 1)[cluster] % _FOLDS
        misses = np.empty_like(signal)
        for held in np.unique(fold):
            out = fold == held
            misses[out] = signal[out] - _predicted(features[~out], signal[~out], features[out])
        # The candidate itself is one of the exchangeable: hence the plus one.
        place = min(math.ceil((len(misses) + 1) * (1.0 - self.alpha)), len(misses)) - 1
        found: FloatArray = _predicted(features, signal, asked) + np.sort(misses)[place]
        return found


def _predicted(features: FloatArray, signal: FloatArray, asked: FloatArray) -> FloatArray:
    """Return what trees fitted to `features` and `signal` predict for `asked`."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    regressor = HistGradientBoostingRegressor(max_iter=60, max_leaf_nodes=8, random_state=0)
    found: FloatArray = regressor.fit(features, signal).predict(asked)
    return found


def _features(candidates: Candidates, labels: NDArray[np.int64]) -> FloatArray:
    """Return the examples as rows, and their labels as one column for each."""
    flat = candidates.x.reshape(len(candidates), -1).astype(np.float64)
    return np.concatenate([flat, candidates.y[:, None] == labels], axis=1)
