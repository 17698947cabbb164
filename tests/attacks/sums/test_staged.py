"""Rounds that the challenger stages, on the digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attacks import Candidates, Terms, gradients_of
from attacks.errors import GameInvalid, InversionInvalid
from attacks.gradients.extraction import stage_extraction
from attacks.gradients.inversion import InversionSettings
from attacks.gradients.worlds import clipped_gradients
from attacks.modules.layout import last_linear
from attacks.modules.local_updates import clipped_batch_gradients_of
from attacks.own_audit import weights_of
from attacks.shadows import BatchedMlp
from attacks.sums.active_server import before_the_head, probe_suppression
from attacks.sums.channels import expose_prototype_gradients
from attacks.sums.staged import StagedRule, stage_arrival, stage_clear_updates

MLP = BatchedMlp((64, 32, 10))
Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> Data:
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.data / 16).astype(np.float32), data.target.astype(np.int64)


def _arrival(digits: Data, noise: float, rounds: int = 80) -> object:
    x, y = digits
    weights = MLP.initial(np.array([1]))[0]
    pools = ((x[y < 9][:200], y[y < 9][:200]), (x[y == 9][:40], y[y == 9][:40]))
    rule = StagedRule(clip_norm=1.0, rate=0.5, noise=noise)
    bias = last_linear(MLP.module()).bias
    return stage_arrival(
        MLP.module(), weights, bias, 9, pools, (8, 16, 8), rule, Terms(target="digits", seed=1), rounds
    )


def test_arrival_is_seen_without_noise_and_hidden_by_much(digits: Data) -> None:
    clear, who = _arrival(digits, 0.0)  # type: ignore[misc]
    hidden, nobody = _arrival(digits, 100.0)  # type: ignore[misc]
    assert clear.auc.value > 0.95
    assert 0.5 in hidden.auc.interval
    assert (clear.game, clear.view) == ("class arrival from the sum", "sums only")
    assert who.right > 0.9 > 3 * nobody.right
    assert who.interval.low <= who.right <= who.interval.high
    assert who.chance == 1 / 8


def test_arrival_needs_rounds_and_examples(digits: Data) -> None:
    with pytest.raises(GameInvalid, match="at least 20"):
        _arrival(digits, 0.0, rounds=10)
    with pytest.raises(GameInvalid, match="rate in"):
        StagedRule(clip_norm=1.0, rate=0.0, noise=0.0)


def test_updates_in_the_clear_give_members_away_and_noise_hides_them(digits: Data) -> None:
    x, y = digits
    models = MLP.initial(np.arange(6))
    asked = Candidates(x[:80], y[:80], np.arange(80), np.zeros(80, dtype=np.int64))
    truth = np.random.default_rng(0).random(80) < 0.5
    others = [(x[s : s + 40], y[s : s + 40]) for s in range(100, 500, 40)]
    found = {}
    for noise in (0.0, 30.0):
        played = stage_clear_updates(
            MLP.module(),
            models,
            (asked, truth),
            others,
            StagedRule(clip_norm=5.0, rate=0.8, noise=noise),
            Terms(target="digits", seed=4),
        )
        found[noise] = {o.attack: o for o in played}
    assert set(found[0.0]) == {"gradient cosine, per class", "FedMIA, per class"}
    for attack, outcome in found[0.0].items():
        assert outcome.auc.low > 0.5
        assert 0.5 in found[30.0][attack].auc.interval
        assert outcome.view == "all clients in the clear"


def _cnn() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.Sigmoid(), torch.nn.Flatten(), torch.nn.Linear(288, 10)
    )


def _system(module: torch.nn.Module, data: Data, refuse: bool = False):  # type: ignore[no-untyped-def]
    def system(models: np.ndarray) -> np.ndarray:
        if refuse and len(np.unique(models, axis=0)) > 1:
            raise ValueError("clients compared what they were sent")
        rows = [
            clipped_gradients(gradients_of(module, row), data[0][j : j + 1], data[1][j : j + 1], 9.0)[0]
            for j, row in enumerate(models)
        ]
        return torch.stack(rows).sum(dim=0).numpy()

    return system


def test_a_silenced_head_isolates_one_client_of_a_convolutional_network(digits: Data) -> None:
    module, data = _cnn(), (digits[0][:6].reshape(-1, 1, 8, 8), digits[1][:6])
    weights = weights_of(module)
    alone = clipped_gradients(gradients_of(module, weights), data[0][2:3], data[1][2:3], 9.0)[0].numpy()
    probe = probe_suppression(_system(module, data), module, weights, (2, alone), 6)
    assert probe.recovered == 1.0
    assert probe.similarity == pytest.approx(1.0, abs=1e-6)
    honest = _system(module, data)(np.tile(weights, (6, 1)))
    early = before_the_head(module, len(weights))
    cosine = honest[early] @ alone[early] / np.linalg.norm(honest[early]) / np.linalg.norm(alone[early])
    assert cosine < 0.9
    refused = probe_suppression(_system(module, data, refuse=True), module, weights, (2, alone), 6)
    assert refused.refused == "ValueError: clients compared what they were sent"
    with pytest.raises(InversionInvalid, match="not one of 6"):
        probe_suppression(_system(module, data), module, weights, (6, alone), 6)
    with pytest.raises(InversionInvalid, match="one linear layer"):
        before_the_head(torch.nn.Linear(4, 2), 10)


def test_clipped_batches_are_means_of_clipped_rows(digits: Data) -> None:
    module, x, y = _cnn(), torch.from_numpy(digits[0][:6].reshape(2, 3, 1, 8, 8)), torch.from_numpy(digits[1][:6])
    weights = weights_of(module)
    found = clipped_batch_gradients_of(module, weights, 0.1)(x, y.reshape(2, 3))
    rows = clipped_gradients(gradients_of(module, weights), x.flatten(0, 1).numpy(), y.numpy(), 0.1)
    assert torch.allclose(found, rows.reshape(2, 3, -1).mean(dim=1), atol=1e-6)
    with pytest.raises(InversionInvalid, match="clip norm"):
        clipped_batch_gradients_of(module, weights, 0.0)


def test_replayed_examples_come_out_of_small_batches_and_not_through_noise(digits: Data) -> None:
    module, (x, y) = _cnn(), digits
    # One example of each class in a batch, so that labels tell examples apart.
    index = np.array([[int(np.flatnonzero(y == c)[b]) for c in (0, 1)] for b in range(3)])
    batches = (x[index].reshape(3, 2, 1, 8, 8), y[index])
    reference = (x[1000:].reshape(-1, 1, 8, 8), y[1000:])
    settings = InversionSettings(steps=150, total_variation=1e-3)
    found = [
        stage_extraction(
            module, weights_of(module), batches, 1, reference, clip_norm=1.0, noise=noise, settings=settings
        )
        for noise in (0.0, 5.0)
    ]
    assert [f.noise for f in found] == ["off", "as ran"]
    assert found[0].correlation.value > found[1].correlation.value + 0.3
    assert found[0].n == 3
    assert found[0].gain.value == pytest.approx(found[0].correlation.value - found[0].blind.value)
    with pytest.raises(InversionInvalid, match="replayed"):
        stage_extraction(module, weights_of(module), batches, 3, reference, clip_norm=1.0, noise=0.0)


def test_a_prototypes_gradient_is_the_prototype(digits: Data) -> None:
    """GLFC's channel: a gradient of one example through a small sigmoid encoder."""
    module, x = _cnn(), digits[0][:3].reshape(-1, 1, 8, 8)
    gradients = gradients_of(module, weights_of(module))(
        torch.from_numpy(x.copy()), torch.from_numpy(digits[1][:3])
    ).detach()
    blind = np.broadcast_to(digits[0].mean(axis=0).reshape(1, 1, 8, 8), x.shape)
    found = expose_prototype_gradients(
        module, weights_of(module), gradients, x, blind, digits[0][500:].reshape(-1, 1, 8, 8),
        InversionSettings(steps=200),
    )  # fmt: skip
    assert found.median > 40
    assert found.identified[0] == 1.0
