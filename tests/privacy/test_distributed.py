import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from privacy import DpSgdPlan, DpSgdTrainer, RdpAccountant, Stratum
from privacy.distributed import ClippedGradients, DistributedSum, choose_scale
from privacy.errors import BudgetUnreachable, InvalidParameter
from privacy.testing import exact_gaussian

PLAN = DistributedSum(
    parties=6, max_dropouts=2, colluders=1, clipping_norm=0.5, noise_multiplier=1.2, dimension=50_000, scale=4096.0
)


def net() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))


def data(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    return torch.randn(n, 9) * 3, torch.randint(0, 4, (n,))


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def by_hand(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, bound: float) -> np.ndarray:
    total = torch.zeros(sum(p.numel() for p in model.parameters()))
    for i in range(len(y)):
        loss = torch.nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        g = torch.cat([p.reshape(-1) for p in torch.autograd.grad(loss, list(model.parameters()))])
        total += g * min(1.0, bound / float(g.norm()))
    return total.numpy()


def test_the_sum_is_that_of_single_gradients() -> None:
    x, y = data(12)
    found = ClippedGradients(net()).sum(flat(net()), [Stratum(x=x, y=y, q=1.0)], 0.3, np.random.default_rng(0).bytes)
    assert found == pytest.approx(by_hand(net(), x, y, 0.3), abs=1e-6)
    assert found.dtype == np.float64


def test_it_is_opacus_s_step_without_noise() -> None:
    x, y = data(40)
    strata = [Stratum(x=x[:30], y=y[:30], q=0.4), Stratum(x=x[30:], y=y[30:], q=0.1)]
    weights, random = flat(net()), np.random.default_rng(9)
    state = random.bit_generator.state
    found = ClippedGradients(net()).sum(weights, strata, 0.3, random.bytes)
    random.bit_generator.state = state
    after = DpSgdTrainer(net()).visit(
        weights,
        strata,
        DpSgdPlan(steps=1, denominator=1.0, clipping_norm=0.3, noise_multiplier=0.0, learning_rate=1.0),
        random.bytes,
    )
    assert (weights - after).numpy() == pytest.approx(found, abs=3e-6)


def test_one_example_weighs_at_most_the_clipping_norm() -> None:
    x, y = data(8)
    x[0] *= 1e6
    gradients, random = ClippedGradients(net()), np.random.default_rng(1).bytes
    whole = gradients.sum(flat(net()), [Stratum(x=x, y=y, q=1.0)], 0.25, random)
    without = gradients.sum(flat(net()), [Stratum(x=x[1:], y=y[1:], q=1.0)], 0.25, random)
    assert np.linalg.norm(whole - without) <= 0.25 * (1 + 1e-6)


def test_an_example_that_overflows_counts_as_zero() -> None:
    x, y = data(5)
    broken = x.clone()
    broken[2, 0] = math.inf
    gradients, random = ClippedGradients(net()), np.random.default_rng(1).bytes
    found = gradients.sum(flat(net()), [Stratum(x=broken, y=y, q=1.0)], 0.25, random)
    kept = [0, 1, 3, 4]
    assert found == pytest.approx(
        gradients.sum(flat(net()), [Stratum(x=x[kept], y=y[kept], q=1.0)], 0.25, random), abs=1e-7
    )


def test_an_empty_batch_sends_as_much_as_any_other(keyed) -> None:
    gradients = ClippedGradients(net())
    x, y = data(3)
    empty = gradients.sum(flat(net()), [Stratum(x=x, y=y, q=0.0)], 0.25, keyed(1))
    assert empty.shape == (gradients.dimension,)
    assert not empty.any()
    plan = DistributedSum(
        parties=3,
        max_dropouts=0,
        colluders=1,
        clipping_norm=0.25,
        noise_multiplier=1.0,
        dimension=gradients.dimension,
        scale=1000.0,
    )
    sent = plan.encode(empty, keyed(2))
    assert sent.std() == pytest.approx(math.sqrt(plan.share_variance), rel=0.4)


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("dimension", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_the_honest_survivors_deliver_the_charged_variance(missing: int, dimension: int, keyed) -> None:
    """The colluder's own share is not counted; the rest must not fall below what was charged."""
    plan, random = replace(PLAN, dimension=dimension), keyed(100 + missing)
    d, survivors = plan.dimension, plan.parties - missing - plan.colluders
    noise = plan.decode(sum(plan.encode(np.zeros(d), random) for _ in range(survivors)))
    expected = (plan.noise_multiplier * plan.clipping_norm) ** 2 * survivors / plan.honest
    assert survivors >= plan.honest
    assert noise.var() == pytest.approx(expected, rel=5 * math.sqrt(2 / d))
    assert expected >= plan.guaranteed_variance / plan.scale**2
    assert abs(noise.mean()) < 5 * math.sqrt(expected / d)
    for tail in (1.0, 2.0, 3.0):
        share = 2 * norm.sf(tail)
        beyond = (np.abs(noise) > tail * math.sqrt(expected)).mean()
        assert beyond == pytest.approx(share, abs=5 * math.sqrt(share / d) + 1e-3 * share)


def test_one_dropout_too_many_delivers_less_than_charged(keyed) -> None:
    few = sum(PLAN.encode(np.zeros(PLAN.dimension), keyed(i)) for i in range(PLAN.honest - 1))
    assert few.var() < 0.8 * PLAN.guaranteed_variance


def test_rounding_is_unbiased_and_the_sum_comes_back(keyed) -> None:
    plan = DistributedSum(
        parties=4, max_dropouts=1, colluders=1, clipping_norm=1.0, noise_multiplier=1e-9, dimension=2000, scale=8.0
    )
    x = np.random.default_rng(5).normal(size=(4, 2000))
    total = plan.decode(sum(plan.encode(row, keyed(i)) for i, row in enumerate(x)))
    error = total - x.sum(0)
    assert np.abs(error).max() < 4 / 8.0
    assert abs(error.mean()) < 5 * math.sqrt(4 / 4 / 2000) / 8.0


def test_the_event_is_what_ran() -> None:
    event = PLAN.event(0.1)
    assert event.q == 0.1
    assert math.sqrt(event.variance) == pytest.approx(1.2 * 0.5 * 4096)
    scaled = 0.5 * 4096
    assert scaled < event.l2 <= scaled + math.sqrt(PLAN.dimension)
    sure = DistributedSum(
        parties=6,
        max_dropouts=2,
        colluders=1,
        clipping_norm=0.5,
        noise_multiplier=1.2,
        dimension=50_000,
        scale=4096.0,
        failure=0.0,
    )
    assert sure.event(0.1).l2 == pytest.approx(scaled + math.sqrt(50_000))
    # One unsampled round of large scale is the Gaussian mechanism: never below its exact epsilon.
    large = DistributedSum(
        parties=6, max_dropouts=2, colluders=1, clipping_norm=0.5, noise_multiplier=1.2, dimension=10, scale=2.0**20
    )
    assert RdpAccountant().epsilon({large.event(1.0): 1}, 1e-5) >= exact_gaussian(1 / 1.2, 1e-5)


def test_the_planner_finds_the_least_scale_for_65k() -> None:
    start = DistributedSum(
        parties=30, max_dropouts=3, colluders=1, clipping_norm=0.5, noise_multiplier=2.0, dimension=65_000, scale=1.0
    )
    plan = choose_scale(start, {0.05: 300}, 1e-5)
    gaussian = RdpAccountant().epsilon({_gaussian(0.05, 2.0): 300}, 1e-5)

    def inflation(scale: float) -> float:
        event = DistributedSum(
            parties=30,
            max_dropouts=3,
            colluders=1,
            clipping_norm=0.5,
            noise_multiplier=2.0,
            dimension=65_000,
            scale=scale,
        ).event(0.05)
        return RdpAccountant().epsilon({event: 300}, 1e-5) / gaussian - 1

    assert inflation(plan.scale) < 1e-3 < inflation(plan.scale / 2)
    assert plan.scale * 0.5 <= 2.0**14
    with pytest.raises(BudgetUnreachable):
        choose_scale(start, {0.05: 300}, 1e-5, inflation=1e-12)
    with pytest.raises(InvalidParameter):
        choose_scale(start, {}, 1e-5)


@pytest.mark.parametrize("noise", [0.8, 2.0, 30.0])
def test_the_planner_finds_a_scale_for_every_epsilon(noise: float) -> None:
    """At large epsilons the best order is small, and whole orders alone would look like an inflation."""
    plan = choose_scale(
        DistributedSum(
            parties=30,
            max_dropouts=3,
            colluders=1,
            clipping_norm=0.7,
            noise_multiplier=noise,
            dimension=1488,
            scale=1.0,
        ),
        {0.25: 25},
        1e-5,
    )
    assert 2.0**8 <= plan.scale * 0.7 <= 2.0**20


def _gaussian(q: float, sigma: float) -> object:
    from privacy import SampledGaussian

    return SampledGaussian(q=q, noise_multiplier=sigma)


@pytest.mark.parametrize(
    "change",
    [{"colluders": 0}, {"max_dropouts": 5}, {"scale": math.inf}, {"noise_multiplier": 0.0}, {"dimension": 0}],
)
def test_bad_plans_are_refused(change: dict) -> None:
    fields = {
        "parties": 6, "max_dropouts": 2, "colluders": 1, "clipping_norm": 0.5,
        "noise_multiplier": 1.2, "dimension": 10, "scale": 4096.0,
    }  # fmt: skip
    with pytest.raises(InvalidParameter):
        DistributedSum(**{**fields, **change})


def test_bad_sums_are_refused(keyed) -> None:
    plan = DistributedSum(
        parties=3, max_dropouts=0, colluders=1, clipping_norm=0.25, noise_multiplier=1.0, dimension=4, scale=1000.0
    )
    for bad in (np.zeros(3), np.array([0, 0, 0, math.nan]), np.array([0, 0, 0, 1e300])):
        with pytest.raises(InvalidParameter):
            plan.encode(bad, keyed(1))
    with pytest.raises(InvalidParameter):
        ClippedGradients(net()).sum(flat(net()), [], 1.0, keyed(1))
