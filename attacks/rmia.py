"""RMIA as an attack: the candidate's likelihood ratio against those of population examples."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from attacks.families import rmia_scores
from attacks.games.attack import Candidates, FloatArray
from attacks.games.views import Capability, View
from attacks.shadows.models import ShadowModels


@dataclass(frozen=True, eq=False)
class Rmia:
    """Share of a population whose ratio the candidate's exceeds (Zarifzadeh et al. 2024, `families.rmia_scores`).

    Attributes:
        shadows: as of `ShadowMembership`.
        population: examples that no game asks about and that no model trained on; none may be a candidate.
    """

    shadows: ShadowModels = field(repr=False)
    population: Candidates = field(repr=False)
    name: str = "RMIA"
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Shares, (n,).

        Raises:
            CandidatesInvalid: a candidate is not in the shadow models' pool.
            ShadowsInvalid: the population is empty.
        """
        columns, trainer = self.shadows.locate(candidates), self.shadows.trainer
        attacked = np.asarray(view.array("final_model"), dtype=np.float32)[None]
        last = self.shadows.weights[:, -1]

        def log_probability(weights: np.ndarray, asked: Candidates) -> FloatArray:
            return -np.asarray(trainer.losses(weights, asked.x, asked.y), dtype=np.float64)

        theirs = log_probability(attacked, self.population)[0], log_probability(last, self.population)
        own = log_probability(attacked, candidates)[0]
        shadows = -self.shadows.losses[:, -1, columns].astype(np.float64)
        return rmia_scores(own, shadows, self.shadows.trained[:, columns], theirs)
