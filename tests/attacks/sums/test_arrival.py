"""Attacks on sums over clients: class arrival, differencing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attacks import SUMS_ONLY, View, gradients_of
from attacks.errors import FieldNotRevealed, TranscriptInvalid
from attacks.modules.layout import last_linear
from attacks.shadows import BatchedMlp
from attacks.sums.arrival import class_arrival, difference_sums, isolated_clients
from evaluation.roc import auc

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
MLP = BatchedMlp((64, 32, 10))


def _sum_of(weights: np.ndarray, data: Data) -> np.ndarray:
    gradient_of = gradients_of(MLP.module(), weights)
    rows = gradient_of(torch.from_numpy(data[0].copy()), torch.from_numpy(data[1].copy()))
    return np.asarray(rows.detach().numpy().sum(axis=0), dtype=np.float64)


def _arrival_world(digits: Data, clients: int, noise: float, seed: int) -> tuple[View, np.ndarray, np.ndarray]:
    """40 rounds; in half of them client 2 brings 8 examples of class 9; each client is in three rounds of four."""
    x, y = digits
    random, weights = np.random.default_rng(seed), MLP.initial(np.array([seed]))[0]
    old, new = np.flatnonzero(y < 9), np.flatnonzero(y == 9)
    taking = random.random((40, clients)) < 0.75
    taking[:, 0] = True
    arrives = taking[:, 2] & (random.random(40) < 0.7)
    sums = []
    for number in range(40):
        rows = random.choice(old, size=(int(taking[number].sum()), 16)).ravel()
        if arrives[number]:
            rows[:8] = random.choice(new, size=8)
        total = -_sum_of(weights, (x[rows], y[rows]))
        sums.append(total + noise * random.normal(size=total.shape))
    fields = {"sums": np.stack(sums), "sum_clients": taking.sum(axis=1), "participation": taking.astype(np.int64)}
    return View.of(SUMS_ONLY, fields), arrives, taking


def test_a_class_that_arrives_shows_in_the_sum_and_names_its_client(digits: Data) -> None:
    bias = last_linear(MLP.module()).bias
    view, arrives, _ = _arrival_world(digits, 6, 0.0, 1)
    found = class_arrival(view, bias, 9)
    assert auc(found.rounds, arrives) > 0.98
    assert found.top_client() == 2


def test_noise_of_a_clients_size_hides_the_arrival(digits: Data) -> None:
    bias = last_linear(MLP.module()).bias
    view, arrives, _ = _arrival_world(digits, 6, 60.0, 1)
    # Standard deviation of a null AUC of about 20 against 20: .093.
    assert abs(auc(class_arrival(view, bias, 9).rounds, arrives) - 0.5) < 5 * 0.093


def test_arrival_needs_sums_and_a_label_that_exists() -> None:
    with pytest.raises(FieldNotRevealed):
        class_arrival(View.of(SUMS_ONLY, {}), slice(0, 3), 0)
    view = View.of(SUMS_ONLY, {"sums": np.zeros((2, 5)), "sum_clients": np.ones(2)})
    assert class_arrival(view, slice(2, 5), 1).clients.shape == (0,)
    with pytest.raises(TranscriptInvalid, match="label 3"):
        class_arrival(view, slice(2, 5), 3)


def test_two_cohorts_that_differ_by_one_client_give_it_away() -> None:
    updates = np.random.default_rng(0).normal(size=(5, 7))
    cohorts = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    view = View.of(SUMS_ONLY, {"sums": cohorts @ updates, "sum_clients": cohorts.sum(axis=1)})
    (found,) = isolated_clients(cohorts)
    assert found.client == 4
    assert found.noise_gain == pytest.approx(2**0.5)
    assert np.allclose(difference_sums(view, found), updates[4])
    with pytest.raises(TranscriptInvalid, match="rounds"):
        difference_sums(View.of(SUMS_ONLY, {"sums": np.zeros((3, 7)), "sum_clients": np.ones(3)}), found)


def test_three_cohorts_isolate_without_any_two_that_do() -> None:
    cohorts = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    assert [f.client for f in isolated_clients(cohorts)] == [0, 1, 2]
    assert isolated_clients(cohorts[:2]) == ()


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 200))
def test_isolation_is_right_whenever_it_is_claimed(rounds: int, clients: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cohorts = random.integers(0, 2, size=(rounds, clients))
    updates = random.normal(size=(clients, 3))
    found = isolated_clients(cohorts)
    for one in found:
        assert np.allclose(one.rounds @ (cohorts @ updates), updates[one.client], atol=1e-8)
    # Who is not named can be moved without any sum noticing.
    null = np.eye(clients) - np.linalg.pinv(cohorts.astype(float)) @ cohorts
    assert {f.client for f in found} == {j for j in range(clients) if abs(null[j, j]) < 1e-9}


def test_equal_cohorts_and_odd_matrices() -> None:
    assert isolated_clients(np.ones((5, 4))) == ()
    assert isolated_clients(np.zeros((0, 4))) == ()
    with pytest.raises(TranscriptInvalid, match="0 and 1"):
        isolated_clients(np.array([[2, 0]]))
