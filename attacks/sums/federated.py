"""Membership in one client's data, from updates in the clear: gradient cosine, and FedMIA with the others as null."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attacks.errors import CandidatesInvalid
from attacks.games.attack import Candidates, FloatArray
from attacks.games.views import Capability, View
from attacks.modules.functions import gradients_of

if TYPE_CHECKING:
    import torch

_CHUNK = 128


def update_cosines(
    module: torch.nn.Module, models: NDArray[np.floating], updates: NDArray[np.floating], candidates: Candidates
) -> FloatArray:
    """Cosine of each candidate's descent direction with each update, at the model the round started from.

    Args:
        module: the architecture.
        models: (R, d), the model at the start of each round.
        updates: (R, k, d), weights gained by k clients in each round.
        candidates: (n,).

    Returns:
        (R, k, n).
    """
    import torch

    rounds, clients, _ = updates.shape
    out = np.zeros((rounds, clients, len(candidates)))
    for number in range(rounds):
        gradient_of = gradients_of(module, np.asarray(models[number], dtype=np.float32))
        sent = torch.from_numpy(np.array(updates[number], dtype=np.float32))
        sent = sent / sent.norm(dim=1, keepdim=True).clamp_min(1e-30)
        for start in range(0, len(candidates), _CHUNK):
            part = slice(start, start + _CHUNK)
            rows = gradient_of(
                torch.from_numpy(candidates.x[part].copy()), torch.from_numpy(candidates.y[part].copy())
            ).detach()
            unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)
            out[number, :, part] = -(sent @ unit.T).numpy()
    return out


def _round_models(view: View, rounds: int) -> NDArray[np.floating]:
    """The model each round started from: the first rows of the sequence."""
    models = view.array("models")
    if len(models) < rounds:
        raise CandidatesInvalid(
            f"{rounds} rounds of updates, but {len(models)} models; record the model at the start of every round"
        )
    return models[:rounds]


@dataclass(frozen=True, eq=False)
class GradientCosine:
    """Mean over rounds of the cosine between a client's update and the candidate's descent direction (Li et al. 2023).

    Needs `client_updates` (R, d) and the model at the start of each of those rounds as the first R of `models`.
    """

    module: torch.nn.Module = field(repr=False)
    name: str = "gradient cosine"
    requires: frozenset[Capability] = frozenset({Capability.CLIENT_CLEAR, Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Mean cosine, (n,).

        Raises:
            CandidatesInvalid: there are fewer models than rounds.
        """
        updates = view.array("client_updates")
        table = update_cosines(self.module, _round_models(view, len(updates)), updates[:, None], candidates)
        mean: FloatArray = table[:, 0].mean(axis=0)
        return mean


@dataclass(frozen=True, eq=False)
class FedMia:
    """One-tailed likelihood ratio with the other clients as the null (Zhu et al. 2025, FedMIA, arXiv 2402.06289).

    Other clients did not train on the candidate, so their cosines give the distribution under "not a member"; the score
    adds over rounds the log odds of the target's place in it. Needs `client_updates` (R, d), `other_updates` (R, k, d)
    with k at least 2, and models as `GradientCosine`.
    """

    module: torch.nn.Module = field(repr=False)
    name: str = "FedMIA"
    requires: frozenset[Capability] = frozenset({Capability.ALL_CLIENTS_CLEAR, Capability.MODEL_SEQUENCE})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Sum over rounds of log(F / (1 - F)), F the normal distribution of the others' cosines, (n,).

        Raises:
            CandidatesInvalid: fewer models than rounds, or fewer than two other clients.
        """
        own, others = view.array("client_updates"), view.array("other_updates")
        if others.ndim != 3 or others.shape[1] < 2 or len(others) != len(own):
            raise CandidatesInvalid(
                f"other_updates has shape {others.shape} for {len(own)} rounds; updates of at least two other clients "
                "are needed for every round"
            )
        everyone = np.concatenate([own[:, None], others], axis=1)
        table = update_cosines(self.module, _round_models(view, len(own)), everyone, candidates)
        mean, spread = table[:, 1:].mean(axis=1), table[:, 1:].std(axis=1, ddof=1) + 1e-9
        z = (table[:, 0] - mean) / spread
        total: FloatArray = (stats.norm.logcdf(z) - stats.norm.logsf(z)).sum(axis=0)
        return total
