import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from torch import nn

from privacy import DpSgdPlan, DpSgdTrainer, Stratum
from privacy.distributed import ClippedGradients
from privacy.errors import InvalidParameter, UnsuitableModel
from privacy.stacked import FastNoise, OpacusNoise, SecureNoise, StackedTrainer
from privacy.stacked.noise import normals_from_uniforms
from privacy.stacked.trainer import stacked_length

PLAN = DpSgdPlan(steps=3, denominator=4.0, clipping_norm=0.7, noise_multiplier=1.1, learning_rate=0.3, momentum=0.5)
MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4)), (3, 4)),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 6, bias=False), nn.ReLU(), nn.Linear(6, 4)), (5,)),
    "signal": (
        lambda: nn.Sequential(
            nn.Conv1d(6, 8, 5, stride=2),
            nn.Tanh(),
            nn.Conv1d(8, 5, 3, padding=1),
            nn.GroupNorm(5, 5),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(40, 4),
        ),
        (6, 19),
    ),
    "image": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=(1, 0)),
            nn.GroupNorm(2, 4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 3, 2, bias=False),
            nn.Sequential(nn.Tanh(), nn.AdaptiveAvgPool2d(2)),
            nn.Flatten(),
            nn.Linear(12, 4),
        ),
        (2, 8, 9),
    ),
    "large conv": (lambda: nn.Sequential(nn.Conv1d(30, 40, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4)), (30, 4)),
    "norm": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Flatten(), nn.Linear(40, 4)),
        (5, 6),
    ),
}
both = pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])


def build(name: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(11)
    return MODELS[name][0]().to(dtype)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def clients(name: str, dtype: torch.dtype, count: int = 4) -> list[list[Stratum]]:
    torch.manual_seed(12)
    shape = MODELS[name][1]
    return [
        [
            Stratum(x=torch.randn(10 + k, *shape, dtype=dtype), y=torch.randint(0, 4, (10 + k,)), q=0.4),
            Stratum(x=torch.randn(3, *shape, dtype=dtype) * 3, y=torch.randint(0, 4, (3,)), q=0.8),
        ]
        for k in range(count)
    ]


def sources(count: int) -> list:
    return [np.random.default_rng(50 + k).bytes for k in range(count)]


def one_by_one(model: nn.Module, weights: torch.Tensor, strata: list, plan: DpSgdPlan) -> torch.Tensor:
    trainer = DpSgdTrainer(model)
    return torch.stack([trainer.visit(weights, s, plan, r) for s, r in zip(strata, sources(len(strata)), strict=True)])


def apart(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor) -> float:
    """Difference relative to how far the weights moved."""
    return float((a - b).norm() / (b - start).norm())


@both
@pytest.mark.parametrize("name", MODELS)
def test_equal_to_opacus_on_the_same_batches_and_noise(name: str, dtype: torch.dtype, close: float) -> None:
    strata, weights = clients(name, dtype), flat(build(name, dtype))
    mine = StackedTrainer(build(name, dtype)).visit(weights, strata, PLAN, sources(4))
    theirs = one_by_one(build(name, dtype), weights, strata, PLAN)
    assert mine.dtype == dtype
    assert apart(mine, theirs, weights) < close
    # Without noise to drown a difference of the clipped sums.
    quiet = DpSgdPlan(steps=2, denominator=4.0, clipping_norm=0.05, noise_multiplier=0.0, learning_rate=0.3)
    mine = StackedTrainer(build(name, dtype)).visit(weights, strata, quiet, sources(4))
    assert apart(mine, one_by_one(build(name, dtype), weights, strata, quiet), weights) < close


@pytest.mark.parametrize("name", MODELS)
def test_a_client_is_trained_bit_for_bit_the_same_beside_anybody(name: str) -> None:
    shape, trainer, weights = (
        MODELS[name][1],
        StackedTrainer(build(name, torch.float32)),
        flat(build(name, torch.float32)),
    )
    plan = replace(PLAN, noise_multiplier=0.0)
    torch.manual_seed(13)
    sizes = [0, 1, 7, 40, 90, 300]
    strata = [[Stratum(x=torch.randn(n, *shape), y=torch.randint(0, 4, (n,)), q=0.7)] for n in sizes]
    for others in ([0, 5], [3, 4, 5], [1, 2, 3, 4]):
        together = trainer.visit(weights, [strata[k] for k in others], plan, [sources(6)[k] for k in others])
        sums = trainer.sums(weights, [strata[k] for k in others], 0.7, [sources(6)[k] for k in others])
        for place, k in enumerate(others):
            assert torch.equal(together[place], trainer.visit(weights, [strata[k]], plan, [sources(6)[k]])[0])
            assert torch.equal(sums[place], trainer.sums(weights, [strata[k]], 0.7, [sources(6)[k]])[0])


@given(st.integers(0, 10_000))
def test_a_batch_is_padded_by_less_than_a_fifth_or_eight(examples: int) -> None:
    padding = stacked_length(examples) - examples
    assert 0 <= padding < max(8, stacked_length(examples) / 5)
    assert stacked_length(stacked_length(examples)) == stacked_length(examples)


@both
@pytest.mark.parametrize("name", MODELS)
def test_squares_are_those_of_opacus(name: str, dtype: torch.dtype, close: float) -> None:
    strata, weights = clients(name, dtype)[0], flat(build(name, dtype))
    # One and a half pieces, and a norm that clips some examples and spares others.
    more = [Stratum(x=s.x.repeat(40, *[1] * (s.x.ndim - 1)), y=s.y.repeat(40), q=s.q) for s in strata]
    for drawn, limit in ((strata, 1.0), (more, 3.0), ([Stratum(x=s.x, y=s.y, q=0.0) for s in strata], 1.0)):
        mine = StackedTrainer(build(name, dtype)).squares(weights, drawn, limit, sources(1)[0])
        theirs = torch.from_numpy(ClippedGradients(build(name, dtype)).squares(weights, drawn, limit, sources(1)[0]))
        assert mine.dtype == torch.float64
        # Clipped a part in 100,000 lower.
        assert float((mine - theirs).norm()) <= 5e-5 * float(theirs.norm())


def test_squares_of_embeddings_and_of_examples_that_overflow() -> None:
    def model() -> nn.Module:
        torch.manual_seed(5)
        return nn.Sequential(nn.Embedding(7, 6), nn.LayerNorm(6), nn.Flatten(), nn.Linear(30, 4))

    torch.manual_seed(6)
    strata = [Stratum(x=torch.randint(0, 7, (9, 5)), y=torch.randint(0, 4, (9,)), q=1.0)]
    mine = StackedTrainer(model()).squares(flat(model()), strata, 1.0, sources(1)[0])
    theirs = torch.from_numpy(ClippedGradients(model()).squares(flat(model()), strata, 1.0, sources(1)[0]))
    assert float((mine - theirs).norm()) < 5e-5 * float(theirs.norm())
    (whole,) = ([Stratum(x=s.x, y=s.y, q=1.0) for s in own] for own in clients("signal", torch.float32, 1))
    weights, trainer = flat(build("signal", torch.float32)), StackedTrainer(build("signal", torch.float32))
    rest = [
        Stratum(x=torch.cat([whole[0].x[:4], whole[0].x[5:]]), y=torch.cat([whole[0].y[:4], whole[0].y[5:]]), q=1.0)
    ]
    expected = trainer.squares(weights, [*rest, whole[1]], 1.0, sources(1)[0])
    whole[0].x[4, 0, 0] = math.inf
    found = trainer.squares(weights, whole, 1.0, sources(1)[0])
    assert float((found - expected).norm()) < 1e-5 * float(expected.norm())


@both
def test_embeddings_with_repeated_tokens(dtype: torch.dtype, close: float) -> None:
    def model() -> nn.Module:
        torch.manual_seed(5)
        return nn.Sequential(nn.Embedding(7, 6), nn.LayerNorm(6), nn.Flatten(), nn.Linear(30, 4)).to(dtype)

    torch.manual_seed(6)
    strata = [[Stratum(x=torch.randint(0, 7, (9, 5)), y=torch.randint(0, 4, (9,)), q=0.5)] for _ in range(3)]
    weights = flat(model())
    mine = StackedTrainer(model()).visit(weights, strata, PLAN, sources(3))
    assert apart(mine, one_by_one(model(), weights, strata, PLAN), weights) < close


@both
def test_clients_may_start_apart(dtype: torch.dtype, close: float) -> None:
    strata = clients("signal", dtype)
    weights = torch.stack([flat(build("signal", dtype)) * (1 + 0.1 * k) for k in range(4)])
    before = weights.clone()
    mine = StackedTrainer(build("signal", dtype)).visit(weights, strata, PLAN, sources(4))
    for k in range(4):
        theirs = DpSgdTrainer(build("signal", dtype)).visit(weights[k], strata[k], PLAN, sources(4)[k])
        assert apart(mine[k], theirs, weights[k]) < close
    assert torch.equal(weights, before)


def test_empty_batches_still_take_their_noise() -> None:
    strata = [[Stratum(x=s.x, y=s.y, q=0.0) for s in own] for own in clients("mlp", torch.float64)]
    strata[1] = [Stratum(x=strata[1][0].x[:0], y=strata[1][0].y[:0], q=1.0)]
    weights = flat(build("mlp", torch.float64))
    mine = StackedTrainer(build("mlp", torch.float64)).visit(weights, strata, PLAN, sources(4))
    assert apart(mine, one_by_one(build("mlp", torch.float64), weights, strata, PLAN), weights) < 1e-12
    assert float((mine - weights).abs().min()) > 0


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e30])
def test_an_example_that_overflows_counts_as_zero(value: float) -> None:
    strata = clients("signal", torch.float32)
    strata[2][0].x[4, 0, 0] = value
    everyone = [[Stratum(x=s.x, y=s.y, q=1.0) for s in own] for own in strata]
    weights = flat(build("signal", torch.float32))
    plan = DpSgdPlan(steps=2, denominator=4.0, clipping_norm=0.05, noise_multiplier=0.0, learning_rate=0.3)
    mine = StackedTrainer(build("signal", torch.float32)).visit(weights, everyone, plan, sources(4))
    assert torch.isfinite(mine).all()
    assert apart(mine, one_by_one(build("signal", torch.float32), weights, everyone, plan), weights) < 1e-5


def test_one_example_moves_the_weights_by_the_clipping_norm() -> None:
    strata = [[Stratum(x=s.x * 100, y=s.y, q=1.0) for s in own] for own in clients("image", torch.float64, 2)]
    strata[1] = [Stratum(x=s.x, y=s.y, q=1.0) for s in strata[0]]
    strata[1][0] = Stratum(x=strata[0][0].x[1:], y=strata[0][0].y[1:], q=1.0)
    weights = flat(build("image", torch.float64))
    after = StackedTrainer(build("image", torch.float64)).visit(
        weights,
        strata,
        DpSgdPlan(steps=1, denominator=1.0, clipping_norm=0.3, noise_multiplier=0.0, learning_rate=1.0),
        sources(2),
    )
    assert 0.29 < float((after[0] - after[1]).norm()) <= 0.3


def test_layers_in_place_are_replaced() -> None:
    def model(inplace: bool) -> nn.Module:
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace), nn.Linear(6, 6), nn.ELU(0.5, inplace), nn.Linear(6, 4))

    strata, weights = clients("no bias", torch.float32), flat(model(False))
    trained = [StackedTrainer(model(inplace)).visit(weights, strata, PLAN, sources(4)) for inplace in (True, False)]
    assert torch.equal(*trained)


@pytest.mark.parametrize("source", [FastNoise(), OpacusNoise(), SecureNoise()], ids=lambda s: type(s).__name__)
def test_every_source_is_normal_and_client_s_own(source) -> None:
    parts = [torch.empty(301, 330), torch.empty(7)]
    fill = source(np.random.default_rng(3).bytes)
    fill(parts, 2.0)
    x = parts[0].numpy().ravel() / 2.0
    assert kstest(x, norm.cdf).pvalue > 1e-6
    assert x.var() == pytest.approx(1.0, abs=5 * math.sqrt(2 / len(x)))
    assert (x[: len(x) // 2] * x[-(len(x) // 2) :]).mean() == pytest.approx(0.0, abs=5 / math.sqrt(len(x) / 2))
    strata, weights = clients("mlp", torch.float32), flat(build("mlp", torch.float32))
    trainer = StackedTrainer(build("mlp", torch.float32), source)
    moved = trainer.visit(weights, strata, PLAN, sources(4)) - weights
    assert len({tuple(row.tolist()) for row in moved}) == 4
    assert torch.equal(trainer.visit(weights, strata, PLAN, sources(4)) - weights, moved)


def test_fast_noise_reaches_far_and_is_symmetric() -> None:
    found = normals_from_uniforms(np.array([0.0, 1.0 - 2.0**-53, 0.5, 0.75]), 3.0)
    assert torch.isfinite(found).all()
    assert float(found[0]) == -float(found[1]) == pytest.approx(3.0 * norm.ppf(2.0**-54), rel=1e-3)
    assert found[2:].tolist() == pytest.approx([0.0, 3.0 * norm.ppf(0.75)])


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)),
        nn.Sequential(nn.Linear(3, 3), nn.Dropout()),
        nn.Sequential(nn.Conv1d(4, 4, 3, groups=2)),
        nn.Sequential(nn.Conv1d(4, 4, 3, dilation=2)),
        nn.Sequential(nn.Conv1d(4, 4, 3, padding="same")),
        nn.Sequential(nn.Embedding(4, 4, padding_idx=0)),
        nn.Sequential(nn.Linear(3, 3), nn.Hardtanh(inplace=True)),
        nn.Sequential(nn.Flatten()),
        nn.LSTM(3, 3),
    ],
    ids=str,
)
def test_other_layers_are_refused(model: nn.Module) -> None:
    with pytest.raises(UnsuitableModel):
        StackedTrainer(model)


def test_frozen_and_shared_parameters_are_refused() -> None:
    frozen = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    frozen[0].weight.requires_grad_(False)
    layer = nn.Linear(3, 3)
    for model in (frozen, nn.Sequential(layer, layer)):
        with pytest.raises(UnsuitableModel):
            StackedTrainer(model)


def test_numbers_that_do_not_fit_are_refused() -> None:
    trainer, strata = StackedTrainer(build("mlp", torch.float32)), clients("mlp", torch.float32)
    weights = flat(build("mlp", torch.float32))
    assert trainer.visit(weights, [], PLAN, []).shape == (0, len(weights))
    for w, s, r in ((weights[1:], strata, sources(4)), (weights, strata, sources(3)), (weights, [[]], sources(1))):
        with pytest.raises(InvalidParameter):
            trainer.visit(w, s, PLAN, r)


@pytest.mark.parametrize("method", ["squared_norms", "sums"])
@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
        nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Linear(6, 3)),
    ],
)
def test_a_wrong_layer_is_refused_before_anything_is_trained(
    method: str, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault: norms half as large, or gradients twice as large, as they are."""
    from privacy.stacked import layers, trainer

    real = getattr(layers.ProductTrace, method)

    def wrong(self: object, *given: torch.Tensor) -> object:
        found = real(self, *given)
        return found / 4.0 if method == "squared_norms" else [2.0 * part for part in found]

    x = torch.zeros(3, 6) if isinstance(net[0], nn.Linear) else torch.zeros(3, 2, 3)
    data, weights = (
        Stratum(x=x, y=torch.zeros(3, dtype=torch.int64), q=0.5),
        torch.cat([p.detach().flatten() for p in net.parameters()]),
    )
    trainer._RIGHT.clear()
    StackedTrainer(net).sums(weights, [[data]], 1.0, [bytes])
    trainer._RIGHT.clear()
    monkeypatch.setattr(layers.ProductTrace, method, wrong)
    stacked = StackedTrainer(net)
    for call in (
        lambda: stacked.sums(weights, [[data]], 1.0, [bytes]),
        lambda: stacked.squares(weights, [data], 1.0, bytes),
        lambda: stacked.visit(
            weights,
            [[data]],
            DpSgdPlan(steps=1, denominator=1.0, clipping_norm=1.0, noise_multiplier=1.0, learning_rate=1.0),
            [bytes],
        ),
    ):
        with pytest.raises(UnsuitableModel, match=r"one by one.*use DpSgdTrainer"):
            call()


def test_weights_of_half_precision_are_refused() -> None:

    net = nn.Sequential(nn.Linear(4, 2)).bfloat16()
    data = Stratum(x=torch.zeros(2, 4, dtype=torch.bfloat16), y=torch.zeros(2, dtype=torch.int64), q=0.5)
    with pytest.raises(UnsuitableModel, match="bfloat16"):
        StackedTrainer(net).sums(torch.zeros(10, dtype=torch.bfloat16), [[data]], 1.0, [bytes])
