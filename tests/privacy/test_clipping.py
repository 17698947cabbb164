"""Opacus by hooks and by ghost norms; flat, per-layer and adaptive clipping; replay weights; empty batches in all."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from privacy import DpSgdPlan, DpSgdTrainer, SampledGaussian, Stratum
from privacy.batches import cross_entropy, poisson_batch
from privacy.clipping import Clipping, ClippingState
from privacy.distributed import ClippedGradients, DistributedSum
from privacy.errors import InvalidParameter, UnsuitableModel
from privacy.stacked import StackedTrainer

RULES = [Clipping(), Clipping(kind="per_layer"), Clipping(kind="adaptive")]
MODES = ["hooks", "ghost"]
COMBINED = [(m, r) for m, r in itertools.product(MODES, RULES) if (m, r.kind) != ("ghost", "per_layer")]
every = pytest.mark.parametrize(("mode", "rule"), COMBINED, ids=lambda v: v if isinstance(v, str) else v.kind)


def signal_net() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv1d(3, 5, 3), nn.GroupNorm(1, 5), nn.Tanh(), nn.Flatten(), nn.Linear(30, 4))


def dense_net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 4))


NETS = {"signal": (signal_net, (3, 8)), "dense": (dense_net, (24,))}
nets = pytest.mark.parametrize("net", NETS)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


def stratum(net: str, n: int, q: float, weight: float = 1.0, seed: int = 0) -> Stratum:
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *NETS[net][1], generator=drawn)
    return Stratum(x=x, y=torch.randint(0, 4, (n,), generator=drawn), q=q, weight=weight)


def plan(rule: Clipping, **changes: float) -> DpSgdPlan:
    usual = {"steps": 1, "denominator": 8.0, "clipping_norm": 0.5, "noise_multiplier": 0.0, "learning_rate": 1.0}
    return DpSgdPlan(**(usual | changes), clipping=rule)


def visit(net: str, mode: str, strata: list[Stratum], wanted: DpSgdPlan, random) -> torch.Tensor:
    model = NETS[net][0]()
    start = flat(model)
    return DpSgdTrainer(model, mode).visit(start, strata, wanted, random) - start


def by_hand(net: str, strata: list[Stratum], norm: float, per_layer: bool) -> torch.Tensor:
    """The clipped, weighted sum of everything, example by example."""
    model = NETS[net][0]()
    parameters = list(model.parameters())
    total = torch.zeros_like(flat(model))
    for s in strata:
        for i in range(len(s.y)):
            loss = nn.functional.cross_entropy(model(s.x[i : i + 1]), s.y[i : i + 1])
            grads = torch.autograd.grad(loss, parameters)
            whole = math.sqrt(sum(float(g.square().sum()) for g in grads))
            for k, g in enumerate(grads):
                bound, size = (norm / math.sqrt(len(grads)), float(g.norm())) if per_layer else (norm, whole)
                grads[k].mul_(s.weight * min(1.0, bound / (size + 1e-6)))
            total += torch.cat([g.reshape(-1) for g in grads])
    return total


@every
@nets
def test_one_step_is_the_weighted_clipped_sum(net: str, mode: str, rule: Clipping, keyed) -> None:
    strata = [stratum(net, 7, 1.0), stratum(net, 5, 1.0, 0.25, 1)]
    moved = visit(net, mode, strata, plan(rule), keyed(1))
    assert torch.allclose(moved, -by_hand(net, strata, 0.5, rule.kind == "per_layer") / 8.0, atol=2e-6)
    assert float(moved.norm()) > 0.05


@every
@nets
@pytest.mark.parametrize("empty", ["no data", "never sampled"])
def test_an_empty_batch_still_takes_its_noise(net: str, mode: str, rule: Clipping, empty: str, keyed) -> None:
    strata = [stratum(net, 0, 1.0)] if empty == "no data" else [stratum(net, 6, 0.0, 0.5)]
    moved = visit(net, mode, strata, plan(rule, noise_multiplier=1.6), keyed(2))
    std = rule.gradient_multiplier(1.6) * 0.5 / 8.0
    assert float(moved.std()) == pytest.approx(std, rel=5 / math.sqrt(2 * len(moved)))
    assert (moved != 0).all()


@nets
def test_ghost_is_hooks_with_the_same_noise(net: str, keyed) -> None:
    strata = [stratum(net, 20, 0.4), stratum(net, 9, 0.7, 0.5, 1)]
    wanted = plan(Clipping(), steps=4, noise_multiplier=1.2, momentum=0.5)
    hooks, ghost = (visit(net, mode, strata, wanted, keyed(3)) for mode in MODES)
    assert torch.allclose(hooks, ghost, atol=2e-6)
    stacked = StackedTrainer(NETS[net][0]())
    start = flat(NETS[net][0]())
    assert torch.allclose(stacked.visit(start, [strata], wanted, [keyed(3)])[0] - start, hooks, atol=2e-6)


@every
def test_one_example_moves_the_sum_by_the_weight_times_the_norm(mode: str, rule: Clipping, keyed) -> None:
    far = stratum("dense", 6, 1.0, 0.3)
    far.x[0] *= 1e5
    without = Stratum(x=far.x[1:], y=far.y[1:], q=1.0, weight=0.3)
    a, b = (visit("dense", mode, [s], plan(rule), keyed(4)) for s in (far, without))
    assert float((a - b).norm()) * 8.0 <= 0.3 * 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, 3e38])
def test_an_example_without_a_finite_gradient_counts_as_zero(mode: str, bad: float, keyed) -> None:
    base = stratum("dense", 6, 1.0)
    broken = Stratum(x=torch.cat([base.x, torch.full((1, 24), bad)]), y=torch.cat([base.y, base.y[:1]]), q=1.0)
    with_it, without = (visit("dense", mode, [s], plan(Clipping()), keyed(5)) for s in (broken, base))
    assert torch.isfinite(with_it).all()
    assert float((with_it - without).norm()) * 8.0 <= 0.5 * (1 + 1e-5)


def state(rule: Clipping, multiplier: float, denominator: float, random) -> ClippingState:
    return ClippingState(rule, 1.0, multiplier, denominator, random)


def test_the_norm_finds_the_quantile(keyed) -> None:
    norms = torch.from_numpy(np.random.default_rng(0).lognormal(0.0, 0.7, 400))
    rule = Clipping(kind="adaptive", target=0.8, rate=0.3)
    found = state(rule, 1.0, 400.0, keyed(6))
    for _ in range(60):
        found.factors(norms[None], None)
        found.advance()
    assert found.norm == pytest.approx(float(norms.quantile(0.8)), rel=0.05)


def test_the_count_has_a_public_denominator(keyed) -> None:
    """One example of 4 moves the fraction by 1/2 over the public 100, whatever the batch; Opacus divides by 4."""
    rule = Clipping(kind="adaptive", target=0.5, rate=1.0)
    small, large = torch.full((1, 4), 0.1), torch.full((1, 4), 9.0)
    logs = []
    for norms in (small, large, torch.cat([small[:, :3], large[:, :1]], 1)):
        found = state(rule, 0.0, 100.0, keyed(7))
        found.factors(norms, None)
        found.advance()
        logs.append(-math.log(found.norm))
    assert logs == pytest.approx([2 / 100, -2 / 100, 1 / 100])
    found = state(rule, 0.0, 100.0, keyed(7))
    found.factors(large, torch.tensor([0.5, 0.5, 1.0, 1.0]))
    found.advance()
    assert -math.log(found.norm) == pytest.approx(-1.5 / 100)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_gradient_and_count_together_are_one_gaussian(share: float) -> None:
    """Sensitivities 1 and 1/2: 1 / s^2 = 1 / s_gradient^2 + (1 / (2 s_count))^2."""
    rule = Clipping(kind="adaptive", count_share=share)
    together = rule.gradient_multiplier(1.3) ** -2 + (2 * rule.count_multiplier(1.3)) ** -2
    assert together**-0.5 == pytest.approx(1.3)
    assert plan(rule, noise_multiplier=1.3).events(0.2) == {SampledGaussian(q=0.2, noise_multiplier=1.3): 1}


def test_the_noise_follows_the_norm(keyed) -> None:
    """With no data the noisy fraction is about 1/2, so a target of 0.9 raises the norm and the noise with it."""
    quick = Clipping(kind="adaptive", target=0.9, rate=1.0, count_share=0.5)
    moved = visit("dense", "hooks", [stratum("dense", 0, 1.0)], plan(quick, steps=8, noise_multiplier=0.5), keyed(8))
    still = visit("dense", "hooks", [stratum("dense", 0, 1.0)], plan(RULES[0], steps=8, noise_multiplier=0.5), keyed(8))
    assert float(moved.std()) > 2 * float(still.std())


def test_weights_are_charged() -> None:
    assert plan(Clipping(), noise_multiplier=1.5).events(0.1, 0.5) == {SampledGaussian(q=0.1, noise_multiplier=3.0): 1}
    shared = DistributedSum(
        parties=6, max_dropouts=2, colluders=1, clipping_norm=0.5, noise_multiplier=1.2, dimension=500, scale=4096.0
    )
    heavy, light = shared.event(0.1), shared.event(0.1, 0.25)
    assert light.variance == heavy.variance
    assert 0.25 * 0.5 * 4096 < light.l2 < heavy.l2


def test_weights_reach_the_distributed_sum(keyed) -> None:
    strata = [stratum("dense", 7, 1.0), stratum("dense", 5, 1.0, 0.25, 1)]
    expected = by_hand("dense", strata, 0.4, False).numpy()
    found = ClippedGradients(dense_net()).sum(flat(dense_net()), strata, 0.4, keyed(9))
    assert found == pytest.approx(expected, abs=1e-5)
    stacked = StackedTrainer(dense_net()).sums(flat(dense_net()), [strata, strata[:1]], 0.4, [keyed(9), keyed(9)])
    assert stacked[0].numpy() == pytest.approx(expected, abs=1e-4)
    assert stacked[1].numpy() == pytest.approx(by_hand("dense", strata[:1], 0.4, False).numpy(), abs=1e-4)


def test_a_failed_ghost_visit_leaves_nothing_behind(keyed) -> None:
    trainer, start = DpSgdTrainer(dense_net(), "ghost"), flat(dense_net())
    good, bad = stratum("dense", 6, 1.0), stratum("dense", 6, 1.0)
    expected = trainer.visit(start, [good], plan(RULES[0]), keyed(10))
    with pytest.raises(InvalidParameter, match="label"):
        trainer.visit(start, [Stratum(x=bad.x, y=bad.y + 4, q=1.0)], plan(RULES[0]), keyed(10))
    assert torch.equal(trainer.visit(start, [good], plan(RULES[0]), keyed(10)), expected)


class Bypassing(nn.Module):
    """Uses one layer's weight without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 24), nn.Linear(24, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(nn.functional.linear(x, self.first.weight, self.first.bias))


class Folding(nn.Module):
    """Folds pieces of an example into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.reshape(-1, 6)).reshape(len(x), 4, 4).sum(1)


@pytest.mark.parametrize("model", [Bypassing(), Folding()], ids=["bypassed", "folded"])
def test_ghost_norms_without_one_gradient_per_example_are_noticed(model: nn.Module, keyed) -> None:
    trainer = DpSgdTrainer(model, "ghost")
    _, optimizer, state = trainer._prepared(plan(RULES[0]), keyed(1))
    batch = poisson_batch([stratum("dense", 6, 1.0)], torch.Generator())
    with pytest.raises(UnsuitableModel):
        trainer._backward(batch, cross_entropy, optimizer, state)
    # A visit finds another way: through the whole network.
    assert torch.isfinite(trainer.visit(flat(model), [stratum("dense", 6, 1.0)], plan(RULES[0]), keyed(1))).all()


def test_what_does_not_exist_is_refused(keyed) -> None:
    start, data = flat(dense_net()), stratum("dense", 3, 1.0)
    with pytest.raises(InvalidParameter, match="hooks"):
        DpSgdTrainer(dense_net(), "functorch")
    with pytest.raises(InvalidParameter, match="hooks"):
        DpSgdTrainer(dense_net(), "ghost").visit(start, [data], plan(Clipping(kind="per_layer")), keyed(1))
    with pytest.raises(InvalidParameter, match="flat"):
        StackedTrainer(dense_net()).visit(start, [[data]], plan(Clipping(kind="adaptive")), [keyed(1)])
    for bad in ({"kind": "median"}, {"target": 1.0}, {"rate": 0.0}, {"count_share": 1.0}):
        with pytest.raises(InvalidParameter):
            Clipping(**bad)
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InvalidParameter, match="weight"):
            Stratum(x=data.x, y=data.y, q=0.5, weight=weight)
