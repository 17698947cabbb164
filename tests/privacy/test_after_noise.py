import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from privacy import Batch, Chain, DpSgdPlan, DpSgdTrainer, PrivacyError, Projection, Quadratic, Stratum
from privacy.batches import cross_entropy  # fmt: skip
from privacy.errors import ConformanceError
from privacy.stacked import StackedTrainer
from privacy.testing import check_example_loss

FEATURES, CLASSES = 5, 3


def net(dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(FEATURES, 4), torch.nn.Tanh(), torch.nn.Linear(4, CLASSES)).to(dtype)


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def strata(k: int = 0) -> list[Stratum]:
    drawn = torch.Generator().manual_seed(k)
    x = torch.randn(24, FEATURES, generator=drawn, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (24,), generator=drawn)
    teacher = torch.randn(24, CLASSES, generator=drawn, dtype=torch.float64)
    return [
        Stratum(x=x[:16], y=y[:16], q=0.5, extra=teacher[:16]),
        Stratum(x=x[16:], y=y[16:], q=0.7, extra=teacher[16:]),
    ]


def replay_loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy on the first stratum, distance to the stored logits on the second."""
    stored = (outputs - batch.extra).square().mean(1)
    return torch.where(batch.stratum == 0, cross_entropy(outputs, batch), stored)


def plan(**changes: object) -> DpSgdPlan:
    given_ = {"steps": 4, "denominator": 8.0, "clipping_norm": 0.7, "noise_multiplier": 1.2, "learning_rate": 0.3}
    return DpSgdPlan(**(given_ | changes))  # type: ignore[arg-type]


def penalty() -> Quadratic:
    size = len(flat(net()))
    return Quadratic.around(torch.ones(size, dtype=torch.float64), torch.linspace(0.0, 2.0, size, dtype=torch.float64))


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"optimizer": "adam", "learning_rate": 0.01}])
def test_stacked_equals_opacus_with_a_loss_a_penalty_and_a_path(options: dict, keyed) -> None:
    start, visit = flat(net()), plan(**options)
    reference = torch.linspace(-1, 1, len(start), dtype=torch.float64)
    changes = [penalty(), None, Chain([penalty(), Projection(reference)])]
    path = torch.zeros(3, len(start), dtype=torch.float64)
    stacked = StackedTrainer(net()).visit(
        start, [strata(k) for k in range(3)], visit, [keyed(k) for k in range(3)], replay_loss, changes, path
    )
    for k, change in enumerate(changes):
        own = torch.zeros_like(start)
        alone = DpSgdTrainer(net()).visit(start, strata(k), visit, keyed(k), replay_loss, change, own)
        assert torch.allclose(stacked[k], alone, rtol=1e-6, atol=1e-9)
        assert torch.allclose(path[k], own, rtol=1e-6, atol=1e-9)


def test_a_penalty_in_the_loss_does_nothing_and_after_the_noise_it_acts(keyed) -> None:
    start, visit = flat(net()), plan(noise_multiplier=0.0)
    trainer = DpSgdTrainer(net())
    plain = trainer.visit(start, strata(), visit, keyed(1))

    def with_penalty(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        weights = torch.cat([p.reshape(-1) for p in trainer._parameters])
        return cross_entropy(outputs, batch) + 100.0 * (weights - 1.0).square().sum()

    # What a user would write first: Opacus overwrites the penalty's gradient.
    assert torch.equal(trainer.visit(start, strata(), visit, keyed(1), with_penalty), plain)
    after = trainer.visit(start, strata(), visit, keyed(1), after=penalty())
    assert float((after - plain).norm() / plain.norm()) > 1e-3


def test_a_path_is_gradient_times_step_of_plain_sgd(keyed) -> None:
    start, visit = flat(net()), plan(steps=1)
    path = torch.zeros_like(start)
    after = DpSgdTrainer(net()).visit(start, strata(), visit, keyed(3), path=path)
    # One step of SGD: the step is -rate times the gradient, so the path is step^2 / rate.
    assert torch.allclose(path, (after - start).square() / visit.learning_rate)


@given(st.floats(0, 1e6), st.floats(-5, 5), st.floats(1e-3, 1.0))
def test_a_stiff_penalty_ends_between_start_and_anchor(importance: float, weight: float, rate: float) -> None:
    w, anchor = torch.tensor([weight], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    gradient = Quadratic.around(anchor, importance)(torch.zeros_like(w), w, rate)
    after = float(w - rate * gradient)
    low, high = sorted([weight, 1.0])
    assert low - 1e-9 <= after <= high + 1e-9


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_a_projected_gradient_never_opposes_the_reference(gradient: list[float], reference: list[float]) -> None:
    g, r = torch.tensor(gradient, dtype=torch.float64), torch.tensor(reference, dtype=torch.float64)
    found = Projection(r)(g, g, 1.0)
    assert float(found @ r) >= -1e-9
    assert float(found.norm()) <= float(g.norm()) + 1e-9
    if float(g @ r) >= 0:
        assert torch.equal(found, g)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_penalty_that_could_push_away_is_refused(bad: float) -> None:
    with pytest.raises(PrivacyError, match="diagonal"):
        Quadratic(torch.tensor([1.0, bad]), torch.zeros(2))


def test_unknown_optimizers_and_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PrivacyError, match="optimizer"):
        plan(optimizer="lion")
    with pytest.raises(PrivacyError, match="columns"):
        Stratum(x=torch.zeros(3, 2), y=torch.zeros(3, dtype=torch.int64), q=0.5, extra=torch.zeros(2, 4))


@pytest.mark.parametrize("loss", [cross_entropy, replay_loss])
def test_losses_of_examples_read_their_own_row(loss) -> None:
    check_example_loss(loss, CLASSES, CLASSES)


def test_a_loss_that_normalises_by_the_batch_is_caught() -> None:
    def glfc(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        own = cross_entropy(outputs, batch)
        return own * own.detach() / own.detach().mean()

    with pytest.raises(ConformanceError, match="other rows"):
        check_example_loss(glfc, CLASSES)
    with pytest.raises(ConformanceError, match="shape"):
        check_example_loss(lambda outputs, batch: cross_entropy(outputs, batch).mean(), CLASSES)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_penalty_is_explicit_under_adam(stacked: bool) -> None:
    """Two visits that hand on moments: with the implicit factor the second would differ from torch's own Adam."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    trainer = StackedTrainer(model) if stacked else DpSgdTrainer(model)
    start, anchor = torch.tensor([0.5, -0.3, 0.2, 0.7]), torch.tensor([1.0, 0.0, -1.0, 0.0])
    x, y = torch.tensor([[1.0, 2.0], [0.5, -1.0]]), torch.tensor([0, 1])
    reference = nn.Parameter(start.clone())
    adam = torch.optim.Adam([reference], lr=0.01)
    moments, now = torch.zeros(1, 9), start
    for strength in (0.0, 1e4):
        plan = DpSgdPlan(
            steps=3, denominator=2.0, clipping_norm=100.0, noise_multiplier=0.0, learning_rate=0.01, optimizer="adam"
        )
        after = Quadratic.around(anchor, strength)
        strata = [Stratum(x=x, y=y, q=1.0)]
        if isinstance(trainer, StackedTrainer):
            now = trainer.visit(now, [strata], plan, [bytes], after=[after], moments=moments)[0]
        else:
            now = trainer.visit(now, strata, plan, bytes, after=after, moments=moments[0])
        for _ in range(3):
            loss = nn.functional.cross_entropy(x @ reference.view(2, 2).T, y)
            penalty = strength / 2 * ((reference - anchor) ** 2).sum()
            (reference.grad,) = torch.autograd.grad(loss + penalty, [reference])
            adam.step()
    torch.testing.assert_close(now, reference.detach(), rtol=1e-4, atol=1e-6)
