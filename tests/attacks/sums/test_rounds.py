from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from attacks import Candidates, Coin, Terms
from attacks.errors import GameInvalid
from attacks.shadows import BatchedMlp
from attacks.sums.rounds import Cohort, StagedNoise, stage_rounds
from attacks.sums.staged import StagedRule

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
MLP = BatchedMlp((64, 16, 10))
TERMS = Terms(target="staged", coin=Coin(), about="staged", repeats=100)
RULE = StagedRule(clip_norm=1.0, rate=0.5, noise=0.0)


def cohort(digits: Data) -> tuple[Cohort, Candidates]:
    """Three clients who may hold 40 digits each, and 60 that nobody holds."""
    x, y = digits
    random = np.random.default_rng(2)
    order = random.permutation(len(x))[:180]
    parts = [
        Candidates(x[part], y[part], part, np.zeros(len(part), dtype=np.int64))
        for part in (*order[:120].reshape(3, 40), order[120:])
    ]
    truths = tuple(random.random(40) < 0.5 for _ in range(3))
    return Cohort(candidates=tuple(parts[:3]), truths=truths, rule=RULE), parts[3]


def noise(std: float) -> StagedNoise:
    named = [replace(TERMS, target=f"{what}, noise {std:g}") for what in ("client", "sum")]
    return StagedNoise(client=std, total=std, of_client=named[0], of_total=named[1])


def test_updates_and_their_sum_tell_what_noise_hides(digits: Data) -> None:
    models = MLP.initial(np.arange(4))
    clients, strangers = cohort(digits)
    outcomes, grown = stage_rounds(MLP.module(), models, clients, strangers, [noise(0.0), noise(4.0)])
    found = {(one.attack.removesuffix(" over rounds"), one.terms.target): one.auc for one in outcomes}
    for what in ("client", "sum"):
        assert found["likelihood ratio", f"{what}, noise 0"].low > 0.75
        assert 0.5 in found["likelihood ratio", f"{what}, noise 4"].interval
    assert {name for name, _ in found} == {"cosine", "FedMIA", "likelihood ratio"}
    assert {(one.noise, one.rounds) for one in grown} == {(False, (1, 2, 4)), (True, (1, 2, 4))}
    assert [one.auc[-1] for one in grown] == [one.auc for one in outcomes]


def test_a_cohort_of_two_is_refused(digits: Data) -> None:
    clients, _ = cohort(digits)
    with pytest.raises(GameInvalid, match="two others, at least"):
        Cohort(candidates=clients.candidates[:2], truths=clients.truths[:2], rule=RULE)
