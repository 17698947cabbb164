import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chi2, kstest
from torch import nn

from privacy import DpSgdPlan, DpSgdTrainer, NonPrivate, RandomBytes, SampledGaussian, Stratum
from privacy.batches import cross_entropy, poisson_batch
from privacy.errors import InvalidParameter, UnsuitableModel
from privacy.randomness import key_stream, seed64
from privacy.secure_gaussian import release_noise

FEATURES, CLASSES = 20, 5


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(FEATURES, 100), nn.GroupNorm(4, 100), nn.Tanh(), nn.Linear(100, CLASSES))


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


def stratum(n: int, q: float, seed: int = 0) -> Stratum:
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randn(n, FEATURES, generator=drawn)
    return Stratum(x=x, y=torch.randint(0, CLASSES, (n,), generator=drawn), q=q)


def plan(**changes: Any) -> DpSgdPlan:
    usual = {"steps": 1, "denominator": 16.0, "clipping_norm": 1.0, "noise_multiplier": 0.0, "learning_rate": 0.5}
    return DpSgdPlan(**(usual | changes))


@pytest.fixture(scope="module")
def trainer() -> DpSgdTrainer:
    return DpSgdTrainer(network())


def reference(
    weights: torch.Tensor, strata: list[Stratum], wanted: DpSgdPlan, random: RandomBytes, dtype: torch.dtype
) -> torch.Tensor:
    """DP-SGD without noise, one example at a time, on the batches that the same coins give."""
    model = network().to(dtype)
    parameters = list(model.parameters())
    nn.utils.vector_to_parameters(weights.to(dtype).clone(), parameters)
    coins = torch.Generator().manual_seed(seed64(random))
    velocity = [torch.zeros_like(p) for p in parameters]
    for _ in range(wanted.steps):
        batch = poisson_batch(strata, coins)
        x, y = batch.x, batch.y
        total = [torch.zeros_like(p) for p in parameters]
        for k in range(len(y)):
            loss = nn.functional.cross_entropy(model(x[k : k + 1].to(dtype)), y[k : k + 1])
            gradient = torch.autograd.grad(loss, parameters)
            norm = math.sqrt(sum(float((g**2).sum()) for g in gradient))
            # Opacus divides by the norm plus 1e-6, which only shortens.
            factor = min(1.0, wanted.clipping_norm / (norm + 1e-6))
            total = [t + factor * g for t, g in zip(total, gradient, strict=True)]
        with torch.no_grad():
            for p, v, t in zip(parameters, velocity, total, strict=True):
                v.mul_(wanted.momentum).add_(t / wanted.denominator)
                p.sub_(wanted.learning_rate * v)
    return flat(model)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("clipping_norm", [0.3, 2.0, 1e6])
def test_without_noise_it_is_the_hand_written_algorithm(
    trainer: DpSgdTrainer, clipping_norm: float, momentum: float, keyed
) -> None:
    weights = flat(network())
    strata = [stratum(40, 0.3, 1), stratum(15, 0.6, 2), stratum(0, 0.5)]
    wanted = plan(steps=4, denominator=12.5, clipping_norm=clipping_norm, momentum=momentum)
    after = trainer.visit(weights, strata, wanted, keyed(5))
    moved = (after - weights).abs().max()
    assert moved > 1e-3
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 1e-5)):
        expected = reference(weights, strata, wanted, keyed(5), dtype)
        assert (after - expected).abs().max() < tolerance * max(1.0, float(moved))


def test_one_example_moves_the_step_by_at_most_the_clipping_norm(trainer: DpSgdTrainer, keyed) -> None:
    """The sensitivity, with everything sampled: neighbours differ by one far-out example."""
    weights, base = flat(network()), stratum(10, 1.0)
    outlier = Stratum(x=torch.cat([base.x, 1e3 * base.x[:1]]), y=torch.cat([base.y, (base.y[:1] + 1) % CLASSES]), q=1.0)
    wanted = plan(clipping_norm=0.7)
    a, b = (trainer.visit(weights, [s], wanted, keyed(6)) for s in (base, outlier))
    unit = wanted.learning_rate / wanted.denominator
    assert 0.69 < float((a - b).norm()) / unit < 0.7001


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("strata", [[stratum(0, 0.5)], [stratum(0, 1.0), stratum(0, 0.1)], [stratum(50, 0.0)]])
def test_an_empty_batch_still_adds_its_noise(trainer: DpSgdTrainer, strata: list[Stratum], steps: int, keyed) -> None:
    weights = flat(network())
    wanted = plan(steps=steps, clipping_norm=2.0, noise_multiplier=1.4)
    noise = (trainer.visit(weights, strata, wanted, keyed(7)) - weights).double()
    std = math.sqrt(steps) * 0.5 * 1.4 * 2.0 / 16.0
    assert 1e-6 < chi2.cdf(float((noise**2).sum()) / std**2, len(noise)) < 1 - 1e-6
    assert kstest(noise.numpy() / std, "norm").pvalue > 1e-6


def test_every_parameter_gets_its_own_noise(trainer: DpSgdTrainer, keyed) -> None:
    weights = flat(network())
    wanted = plan(noise_multiplier=1.0)
    first, second = (trainer.visit(weights, [stratum(0, 0.5)], wanted, keyed(key)) - weights for key in (8, 9))
    assert (first != second).all()
    assert len(torch.unique(first)) > 0.99 * len(first)
    half = len(first) // 2
    assert abs(float(np.corrcoef(first[:half], first[half : 2 * half])[0, 1])) < 5 / math.sqrt(half)


def test_the_events_are_what_opacus_ran(trainer: DpSgdTrainer, monkeypatch: pytest.MonkeyPatch, keyed) -> None:
    """Every normal drawn has the charged standard deviation, one for each parameter and step, in double precision."""
    from privacy import secure_optimizer

    drawn: list[tuple[float, torch.Size, torch.dtype]] = []
    real = secure_optimizer.release_noise

    def spy(std: float, shape: torch.Size, random: RandomBytes) -> torch.Tensor:
        found = real(std, shape, random)
        drawn.append((std, found.shape, found.dtype))
        return found

    monkeypatch.setattr(secure_optimizer, "release_noise", spy)
    wanted = plan(steps=3, clipping_norm=0.8, noise_multiplier=1.7)
    trainer.visit(flat(network()), [stratum(30, 0.2), stratum(10, 0.05, 1)], wanted, keyed(10))
    assert drawn == [(1.7 * 0.8, flat(network()).shape, torch.float64)] * 3
    assert wanted.events(0.2) == Counter({SampledGaussian(q=0.2, noise_multiplier=1.7): 3})
    assert wanted.events(0.05) == Counter({SampledGaussian(q=0.05, noise_multiplier=1.7): 3})


def test_the_noise_is_the_key_stream_of_the_visit(trainer: DpSgdTrainer, keyed) -> None:
    """First 8 bytes seed the coins, the next 32 are the key, and nothing else is drawn."""
    weights, asked, source = flat(network()), [], keyed(19)
    wanted = plan(steps=2, noise_multiplier=1.4)
    moved = trainer.visit(weights, [stratum(0, 0.5)], wanted, lambda n: asked.append(n) or source(n)) - weights
    assert asked == [8, 32]
    again = keyed(19)
    seed64(again)
    stream = key_stream(again)
    steps = [release_noise(1.4, weights.shape, stream) for _ in range(2)]
    assert torch.allclose(moved.double(), -0.5 / 16.0 * (steps[0] + steps[1]), atol=1e-6)


def test_float32_normals_would_be_cut_off() -> None:
    """Why the noise is drawn in double precision: of 16 million float32 normals none lies beyond 5.77."""
    generator = torch.Generator().manual_seed(0)
    largest = max(float(torch.normal(0.0, 1.0, (4_000_000,), generator=generator).abs().max()) for _ in range(4))
    assert 5.0 < largest < 5.7681
    assert math.sqrt(-2 * math.log(2.0**-24)) == pytest.approx(5.768, abs=1e-3)
    # The ends of the double-precision grid lie further out.
    assert float(release_noise(1.0, (1,), lambda n: b"\xff" * n)) > 11.5


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_a_visit_warns_of_nothing(mode: str, keyed, recwarn: pytest.WarningsRecorder) -> None:
    """Torch warns of hooks on layers whose inputs need no gradient, which no first layer's do."""
    made = DpSgdTrainer(network(), mode)
    made.visit(flat(network()), [stratum(8, 1.0)], plan(noise_multiplier=1.0), keyed(0))
    assert not [str(warning.message) for warning in recwarn]


def test_the_input_is_neither_changed_nor_shared(trainer: DpSgdTrainer, keyed) -> None:
    weights = flat(network())
    before = weights.clone()
    after = trainer.visit(weights, [stratum(30, 0.5)], plan(noise_multiplier=1.0, steps=2), keyed(11))
    assert torch.equal(weights, before)
    assert after.untyped_storage().data_ptr() != weights.untyped_storage().data_ptr()
    kept = after.clone()
    trainer.visit(torch.zeros_like(weights), [stratum(30, 0.5)], plan(noise_multiplier=1.0), keyed(12))
    assert torch.equal(after, kept)


def test_nothing_passes_from_one_visit_to_the_next(trainer: DpSgdTrainer, keyed) -> None:
    weights = flat(network())
    wanted = plan(steps=3, momentum=0.9, noise_multiplier=0.5)
    fresh = DpSgdTrainer(network()).visit(weights, [stratum(30, 0.5)], wanted, keyed(13))
    trainer.visit(weights + 7.0, [stratum(60, 0.9, 4)], plan(steps=5, momentum=0.5, noise_multiplier=9.0), keyed(14))
    assert torch.equal(trainer.visit(weights, [stratum(30, 0.5)], wanted, keyed(13)), fresh)


class Remembering(nn.Module):
    """A layer without parameters whose output depends on how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        return x * self.runs


def test_a_network_that_remembers_its_inputs_is_refused(keyed) -> None:
    model = nn.Sequential(nn.Linear(FEATURES, CLASSES), Remembering())
    trainer, weights = DpSgdTrainer(model), flat(model)
    with pytest.raises(UnsuitableModel, match=r"a forward pass changes '1\."):
        trainer.visit(weights, [stratum(30, 0.5)], plan(steps=2), keyed(15))


def test_a_failed_visit_leaves_nothing_behind(trainer: DpSgdTrainer, keyed) -> None:
    weights, good = flat(network()), [stratum(30, 0.5)]
    expected = trainer.visit(weights, good, plan(), keyed(16))
    with pytest.raises(InvalidParameter, match="label"):
        trainer.visit(weights, [Stratum(x=good[0].x, y=good[0].y + CLASSES, q=1.0)], plan(), keyed(16))
    assert torch.equal(trainer.visit(weights, good, plan(), keyed(16)), expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_an_example_without_a_finite_gradient_contributes_nothing(trainer: DpSgdTrainer, bad: float, keyed) -> None:
    """Clipping NaN gives NaN: one such example would decide what every weight becomes."""
    weights, base = flat(network()), stratum(8, 1.0)
    broken = Stratum(x=torch.cat([base.x, torch.full((1, FEATURES), bad)]), y=torch.cat([base.y, base.y[:1]]), q=1.0)
    with_it, without = (trainer.visit(weights, [s], plan(), keyed(17)) for s in (broken, base))
    assert torch.isfinite(with_it).all()
    assert float((with_it - without).norm()) <= 0.5 / 16.0 * 1.0001
    if bad != 3e38:
        assert torch.allclose(with_it, without, atol=1e-7)


def test_each_stratum_is_sampled_at_its_own_rate(keyed) -> None:
    """Marked examples, 400 batches: counts are binomial, and the strata do not depend on each other."""
    rates, sizes, batches = (0.25, 0.05, 1.0, 0.0, 1e-4), (60, 200, 7, 9, 500), 400
    strata = [
        Stratum(x=torch.full((n, 1), float(k)), y=torch.full((n,), k), q=q)
        for k, (q, n) in enumerate(zip(rates, sizes, strict=True))
    ]
    coins = torch.Generator().manual_seed(seed64(keyed(18)))
    counts = np.zeros((batches, len(rates)), dtype=int)
    for b in range(batches):
        batch = poisson_batch(strata, coins)
        x, y = batch.x, batch.y
        assert torch.equal(x[:, 0].long(), y)
        counts[b] = np.bincount(y.numpy(), minlength=len(rates))
    for k, (q, n) in enumerate(zip(rates, sizes, strict=True)):
        assert binomtest(int(counts[:, k].sum()), n * batches, q).pvalue > 1e-6
    # Poisson batches have no fixed size: the variance of the count is that of a binomial variable.
    spread = counts[:, 0].var(ddof=1) / (60 * 0.25 * 0.75)
    assert abs(spread - 1) < 5 * math.sqrt(2 / batches)
    assert abs(np.corrcoef(counts[:, 0], counts[:, 1])[0, 1]) < 5 / math.sqrt(batches)


def test_a_coin_resolves_small_rates() -> None:
    """A float32 coin is a multiple of 2^-24, so a rate of 1e-9 would become 6e-8, sixty times what is charged."""

    def coins_at_0(n: int) -> torch.Tensor:
        return torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    assert len(torch.unique(coins_at_0(1_000_000) * 2.0**24 % 1.0)) > 900_000


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(CLASSES),
        nn.BatchNorm1d(CLASSES, affine=False),
        nn.BatchNorm1d(CLASSES).requires_grad_(False),
        nn.SyncBatchNorm(CLASSES),
        nn.InstanceNorm1d(CLASSES, track_running_stats=True),
        nn.LSTM(CLASSES, CLASSES),
    ],
    ids=["trained", "without parameters", "frozen", "synchronised", "running statistics", "no hooks"],
)
def test_a_layer_that_mixes_examples_is_refused(layer: nn.Module) -> None:
    with pytest.raises(UnsuitableModel, match=r"[Rr]eplace"):
        DpSgdTrainer(nn.Sequential(nn.Linear(FEATURES, CLASSES), layer))


def test_a_model_with_nothing_to_train_or_wrapped_twice_is_refused() -> None:
    with pytest.raises(UnsuitableModel, match="nothing to train"):
        DpSgdTrainer(nn.ReLU())
    model = network()
    DpSgdTrainer(model)
    with pytest.raises(UnsuitableModel, match="Opacus cannot take"):
        DpSgdTrainer(model)


class Folding(nn.Module):
    """Folds pieces of an example into the batch, so that Opacus would clip each piece by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES // 4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.reshape(-1, FEATURES // 4)).reshape(len(x), 4, CLASSES).sum(1)


class Bypassing(nn.Module):
    """Uses one layer's weight without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(nn.functional.linear(x, self.first.weight, self.first.bias))


@pytest.mark.parametrize(
    ("model", "said"),
    [(Folding(), r"8 examples has \[32\] rows"), (Bypassing(), "2 of 4 parameters")],
    ids=["folded", "bypassed"],
)
def test_hooks_without_one_gradient_per_example_are_noticed(model: nn.Module, said: str, keyed) -> None:
    trainer = DpSgdTrainer(model)
    batch = poisson_batch([stratum(8, 1.0)], torch.Generator())
    with pytest.raises(UnsuitableModel, match=said):
        trainer.take_gradients(batch, cross_entropy)
    # A visit finds another way: through the whole network.
    assert torch.isfinite(trainer.visit(flat(model), [stratum(8, 1.0)], plan(), keyed(1))).all()


def test_a_model_in_evaluation_mode_is_taken() -> None:
    DpSgdTrainer(network().eval())


def test_weights_must_fit_and_strata_be_given(trainer: DpSgdTrainer, keyed) -> None:
    with pytest.raises(InvalidParameter, match="3 weights for a model of"):
        trainer.visit(torch.zeros(3), [stratum(3, 0.5)], plan(), keyed(1))
    with pytest.raises(InvalidParameter, match="no stratum"):
        trainer.visit(flat(network()), [], plan(), keyed(1))


def test_events_of_unsampled_and_unnoised_visits() -> None:
    assert plan(noise_multiplier=1.0).events(0.0) == Counter()
    assert plan(steps=4).events(0.5) == Counter({NonPrivate("DP-SGD without noise"): 4})
    for q in (-0.1, 1.5, math.nan):
        for noise_multiplier in (0.0, 1.0):
            with pytest.raises(InvalidParameter, match="sampling rate"):
                plan(noise_multiplier=noise_multiplier).events(q)


@pytest.mark.parametrize("field", ["steps", "denominator", "clipping_norm", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_plan_is_positive_and_finite(field: str, value: float) -> None:
    with pytest.raises(InvalidParameter, match=field):
        plan(**{field: value})


@pytest.mark.parametrize("changes", [{"noise_multiplier": v} for v in (-1.0, math.nan, math.inf)] + [{"momentum": 1.0}])
def test_noise_and_momentum_are_in_range(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter):
        plan(**changes)


def test_a_stratum_is_consistent() -> None:
    with pytest.raises(InvalidParameter, match="sampling rate"):
        Stratum(x=torch.zeros(2, 3), y=torch.zeros(2, dtype=torch.int64), q=1.5)
    with pytest.raises(InvalidParameter, match="2 examples but 3 labels"):
        Stratum(x=torch.zeros(2, 3), y=torch.zeros(3, dtype=torch.int64), q=0.5)
