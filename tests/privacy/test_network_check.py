"""Networks that Opacus takes without a word and gets wrong: right gradients, or one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import nn

from privacy import DpSgdPlan, DpSgdTrainer, Stratum
from privacy.errors import InvalidParameter, UnsuitableModel
from privacy.network_check import batch_of, made_up_inputs
from privacy.stacked import StackedTrainer
from privacy.testing import check_network

CLIP = 0.05


class Prototypes(nn.Module):
    """A weight that its layer uses and something else too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.head(x) - self.head.weight.pow(2).sum(1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.two(torch.tanh(self.one(x)))))


class Reshaped(nn.Module):
    """Fine until a batch is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).view(len(x), -1)


class Centred(nn.Module):
    """Mixes the examples of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x - x.mean(0))


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += x.abs().sum()
        return self.layer(x)


class Tossing(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.rand(())


def padded(mode: str) -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 4, 3, padding=1, padding_mode=mode), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3))


class Folding(nn.Module):
    """Folds pieces of an example into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.reshape(-1, 3)).reshape(len(x), 2, 3).sum(1)


class Bypassing(nn.Module):
    """Uses one layer's weight without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(nn.functional.linear(x, self.one.weight, self.one.bias))


RIGHT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "circular": (lambda: padded("circular"), (2, 12)),
    "reflect": (lambda: padded("reflect"), (2, 12)),
    "replicate": (lambda: padded("replicate"), (2, 12)),
    "prototypes": (Prototypes, (6,)),
    "tied": (Tied, (6,)),
    "folding": (Folding, (6,)),
    "bypassing": (Bypassing, (6,)),
    "plain": (lambda: padded("zeros"), (2, 12)),
}


def step(model: nn.Module, x: torch.Tensor, y: torch.Tensor, mode: str, q: float = 1.0) -> torch.Tensor:
    """The clipped sum that one step without noise releases."""
    plan = DpSgdPlan(steps=1, denominator=1.0, clipping_norm=CLIP, noise_multiplier=0.0, learning_rate=1.0)
    weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    return weights - DpSgdTrainer(model, mode).visit(weights, [Stratum(x=x, y=y, q=q)], plan, os.urandom)


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
@pytest.mark.parametrize("name", RIGHT)
def test_clipped_sums_are_those_of_examples_one_by_one(name: str, mode: str) -> None:
    make, shape = RIGHT[name]
    torch.manual_seed(0)
    model = make()
    x, y = torch.randn(5, *shape), torch.arange(5) % 3
    wanted = torch.zeros(sum(p.numel() for p in model.parameters()))
    for i in range(5):
        loss = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        row = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])
        wanted += row * min(1.0, CLIP / float(row.norm()))
    assert torch.allclose(step(model, x, y, mode), wanted, atol=1e-4 * CLIP)
    assert step(make(), x[:1], y[:1], mode).norm() <= CLIP * (1 + 1e-3)


@pytest.mark.parametrize(
    ("model", "shape", "said"),
    [
        (Centred(), (6,), "one by one"),
        (Counting(), (6,), "a forward pass changes 'seen'"),
        (Tossing(6, 3), (6,), "draws random numbers of its own"),
        (nn.Sequential(nn.Linear(6, 3)).double(), (6,), "weights torch.float64"),
        (nn.Sequential(nn.Linear(6, 3)).half(), (6,), "train in float32"),
        (nn.Sequential(nn.Flatten(0), nn.Linear(6, 3)), (6,), "fails on a batch of 3"),
    ],
)
def test_what_cannot_be_protected_is_refused(model: nn.Module, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises((UnsuitableModel, InvalidParameter), match=said):
        check_network(model, torch.zeros(shape))


def test_rows_that_a_batch_looks_up_are_not_rescaled() -> None:
    table = nn.Sequential(nn.Embedding(16, 6, max_norm=1.0), nn.Flatten(), nn.Linear(30, 3))
    with pytest.raises(UnsuitableModel, match=r"forward pass changes '0\.weight'"):
        check_network(table, torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_an_empty_batch_runs_no_code_of_the_network(mode: str) -> None:
    x, y = torch.randn(4, 6), torch.zeros(4, dtype=torch.int64)
    assert torch.equal(step(Reshaped(), x, y, mode, q=0.0), torch.zeros(21))
    assert step(Reshaped(), x, y, mode).norm() > 0


def test_a_check_leaves_the_weights_and_the_generator_alone() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    before, drawn = [p.clone() for p in model.parameters()], torch.get_rng_state()
    DpSgdTrainer(model).check(torch.Size((6,)), torch.float32)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert model[1].training


@pytest.mark.parametrize(
    "labels",
    [["walk"], torch.tensor([0.0]), torch.tensor([0], dtype=torch.int32), torch.tensor([[0]]), torch.tensor([-100])],
)
def test_labels_that_no_class_has_are_refused(labels: torch.Tensor) -> None:
    with pytest.raises(InvalidParameter, match="label"):
        Stratum(x=torch.zeros(1, 6), y=labels, q=0.5)


def test_a_label_beyond_the_outputs_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="label 3 with 3 outputs"):
        step(nn.Sequential(nn.Linear(6, 3)), torch.zeros(1, 6), torch.tensor([3]), "hooks")


def test_made_up_inputs_lie_where_the_network_does() -> None:
    x = made_up_inputs(nn.Linear(6, 3, device="meta"), (6,), torch.float32, 3)
    assert {x.device.type, batch_of(x).y.device.type, batch_of(x).extra.device.type} == {"meta"}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trained", ["hooks", "ghost", "stacked"])
def test_a_network_of_one_or_two_weights_is_right(trained: str, bias: bool) -> None:
    """Its clipped gradients may cancel whole, and what is left of them is rounding."""
    model = nn.Sequential(nn.Linear(1, 1, bias=bias))
    trainer = StackedTrainer(model) if trained == "stacked" else DpSgdTrainer(model, trained)  # type: ignore[arg-type]
    trainer.check(torch.Size((1,)), torch.float32)


def test_gradients_are_compared_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All 64 of an axis of 64 entries, in double precision, would take gigabytes at a million weights."""
    import weakref

    from privacy import network_check

    taken: list[weakref.ref[torch.Tensor]] = []
    most = 0
    real = network_check._gradient

    def watched(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        nonlocal most
        found = real(model, x).double()
        taken.append(weakref.ref(found))
        most = max(most, sum(ref() is not None for ref in taken))
        return found

    monkeypatch.setattr(network_check, "_gradient", watched)
    model = nn.Linear(64, 3)

    def sums(x: torch.Tensor, clip: float) -> torch.Tensor:
        rows = torch.stack([real(model, x[i : i + 1]) for i in range(len(x))]).double()
        return ((clip / rows.norm(dim=1)).clamp(max=1.0).unsqueeze(1) * rows).sum(0)

    assert network_check.wrong_layer(model, sums, (64,), torch.float32) is None
    assert len(taken) == 2 * (1 + 2 + 3 + 64)
    # The last one still has its name when the next is taken.
    assert most <= 2
    assert network_check.wrong_layer(model, lambda x, clip: 1.01 * sums(x, clip), (64,), torch.float32) is not None
