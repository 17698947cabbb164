"""Optimizers that go on at the next visit: two visits are one longer visit, in both trainers."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from privacy import DpSgdPlan, DpSgdTrainer, Stratum
from privacy.errors import InvalidParameter
from privacy.stacked import StackedTrainer

FEATURES, CLASSES = 6, 3
SIZE = FEATURES * CLASSES + CLASSES
OPTIMIZERS = [("adam", 0.0), ("sgd", 0.9), ("sgd", 0.0)]


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(FEATURES, CLASSES))


def everyone() -> list[Stratum]:
    drawn = torch.Generator().manual_seed(1)
    x = torch.randn(12, FEATURES, generator=drawn)
    return [Stratum(x=x, y=torch.randint(0, CLASSES, (12,), generator=drawn), q=1.0)]


def plan(steps: int, optimizer: str, momentum: float, **changes: float) -> DpSgdPlan:
    usual = {"denominator": 12.0, "clipping_norm": 5.0, "noise_multiplier": 0.0, "learning_rate": 0.05}
    return DpSgdPlan(steps=steps, optimizer=optimizer, momentum=momentum, **(usual | changes))  # type: ignore[arg-type]


def begin() -> torch.Tensor:
    """Weights with no gradient that is zero but for rounding: Adam's first step would be its sign."""
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(7))


def draw(n: int) -> bytes:
    return bytes(n)


def visit(
    stacked: bool, weights: torch.Tensor, wanted: DpSgdPlan, moments: torch.Tensor | None, clients: int = 1
) -> torch.Tensor:
    if not stacked:
        return DpSgdTrainer(network()).visit(weights, everyone(), wanted, draw, moments=moments)
    own = None if moments is None else moments.expand(clients, -1).clone()
    found = StackedTrainer(network()).visit(
        weights, [everyone()] * clients, wanted, [draw] * clients, moments=own
    )  # fmt: skip
    if moments is not None and own is not None:
        moments.copy_(own[0])
    return found[0]


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(("optimizer", "momentum"), OPTIMIZERS)
def test_visits_that_hand_on_moments_are_one_long_visit(stacked: bool, optimizer: str, momentum: float) -> None:
    start = begin()
    whole = visit(stacked, start, plan(6, optimizer, momentum), None)
    moments = torch.zeros(plan(1, optimizer, momentum).moments(SIZE))
    now, steps = start, [0, 1, 3, 6]
    for before, after in pairwise(steps):
        now = visit(stacked, now, plan(after - before, optimizer, momentum), moments)
    torch.testing.assert_close(now, whole, rtol=1e-5, atol=1e-6)
    afresh = visit(
        stacked, visit(stacked, start, plan(3, optimizer, momentum), None), plan(3, optimizer, momentum), None
    )
    assert torch.allclose(afresh, whole, rtol=1e-5, atol=1e-6) == (optimizer == "sgd" and momentum == 0.0)


@pytest.mark.parametrize(("optimizer", "momentum"), OPTIMIZERS)
def test_both_trainers_leave_the_same_moments(optimizer: str, momentum: float) -> None:
    size = plan(1, optimizer, momentum).moments(SIZE)
    assert size == {"adam": 2 * SIZE + 1, "sgd": SIZE if momentum else 0}[optimizer]
    left = [torch.zeros(size), torch.zeros(size)]
    ends = [visit(k == 1, begin(), plan(4, optimizer, momentum), left[k], clients=1 + k) for k in range(2)]
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(left[0], left[1], rtol=1e-4, atol=1e-7)
    if optimizer == "adam":
        assert left[0][-1] == 4.0


def test_a_model_of_one_weight_has_moments_too() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    x = Stratum(x=torch.ones(1, 1), y=torch.zeros(1, dtype=torch.int64), q=1.0)
    moments = torch.zeros(1, 3)
    StackedTrainer(model).visit(torch.ones(1), [[x]], plan(2, "adam", 0.0), [draw], moments=moments)
    assert moments[0, -1] == 2.0


def test_moments_hold_what_torch_holds() -> None:
    """Against torch's own optimizer on the same mean gradient."""
    model = network()
    nn.utils.vector_to_parameters(torch.zeros(SIZE), model.parameters())
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    (stratum,) = everyone()
    for _ in range(3):
        adam.zero_grad()
        nn.functional.cross_entropy(model(stratum.x), stratum.y).backward()  # type: ignore[no-untyped-call]
        adam.step()
    moments = torch.zeros(2 * SIZE + 1)
    visit(False, torch.zeros(SIZE), plan(3, "adam", 0.0), moments)
    first = torch.cat([adam.state[p]["exp_avg"].reshape(-1) for p in model.parameters()])
    second = torch.cat([adam.state[p]["exp_avg_sq"].reshape(-1) for p in model.parameters()])
    torch.testing.assert_close(moments[:SIZE], first, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(moments[SIZE:-1], second, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("stacked", [False, True])
def test_moments_of_another_length_are_refused(stacked: bool) -> None:
    with pytest.raises(InvalidParameter, match=r"21 moments .* keeps 43"):
        visit(stacked, torch.zeros(SIZE), plan(1, "adam", 0.0), torch.zeros(SIZE))


def test_moments_of_another_number_of_clients_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="moments of 3 clients for 2"):
        StackedTrainer(network()).visit(
            torch.zeros(SIZE), [everyone()] * 2, plan(1, "adam", 0.0), [draw] * 2, moments=torch.zeros(3, 2 * SIZE + 1)
        )
