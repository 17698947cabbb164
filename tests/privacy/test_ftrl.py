import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from privacy import SampledGaussian
from privacy.errors import InvalidParameter
from privacy.ftrl import FtrlPlan, FtrlTrainer
from privacy.matrix import BinaryTree, PrefixStream, RootToeplitz, StreamEnded
from privacy.participation import Participation, ParticipationRefused

FACTORS = [RootToeplitz(6), BinaryTree(6)]
both = pytest.mark.parametrize("factor", FACTORS, ids=lambda f: type(f).__name__)


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def stream(sizes: tuple[int, ...] = (4, 4, 0, 4, 4, 4)) -> list:
    drawn = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 5, generator=drawn), torch.randint(0, 3, (n,), generator=drawn)) for n in sizes]


def numbered(steps: list) -> list[list[int]]:
    """Numbers of the examples of a stream, each of which lies in one step."""
    ends = np.cumsum([len(y) for _, y in steps]).tolist()
    return [list(range(end - len(y), end)) for end, (_, y) in zip(ends, steps, strict=True)]


def plan(factor, noise: float, rate: float = 0.5) -> FtrlPlan:
    return FtrlPlan(
        stream=PrefixStream(factor=factor, clipping_norm=0.4, noise_multiplier=noise),
        denominator=4.0,
        learning_rate=rate,
    )


@both
def test_without_much_noise_it_is_clipped_sgd_in_the_stream_s_order(factor, keyed) -> None:
    found = FtrlTrainer(net()).train(flat(net()), stream(), plan(factor, 1e-9), keyed(1), examples=numbered(stream()))
    now, expected = flat(net()), []
    model = net()
    for x, y in stream():
        nn.utils.vector_to_parameters(now, model.parameters())
        total = torch.zeros_like(now)
        for i in range(len(y)):
            loss = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
            g = torch.cat([p.reshape(-1) for p in torch.autograd.grad(loss, list(model.parameters()))])
            total += g * min(1.0, 0.4 / float(g.norm()))
        now = now - 0.5 / 4.0 * total
        expected.append(now)
    assert torch.allclose(found, torch.stack(expected), atol=1e-6)
    # The third step has no example.
    assert torch.allclose(found[2], found[1], atol=1e-7)


@both
def test_each_prefix_has_the_noise_of_its_factor(factor, keyed) -> None:
    empty = stream((0,) * 6)
    trainer, start, wanted = FtrlTrainer(net()), flat(net()), plan(factor, 1.5)
    runs = torch.stack([trainer.train(start, empty, wanted, keyed(k), examples=[[]] * 6) - start for k in range(60)])
    spread = runs.std((0, 2)).numpy()
    expected = 0.5 / 4.0 * 1.5 * 0.4 * factor.sensitivity() * factor.prefix_errors()
    assert spread == pytest.approx(expected, rel=5 / math.sqrt(2 * 60 * len(start) / 4))


def test_the_whole_stream_is_one_gaussian() -> None:
    assert plan(FACTORS[0], 1.7).stream.event == SampledGaussian(q=1.0, noise_multiplier=1.7)


def test_refusals_and_edges(keyed) -> None:
    trainer, start = FtrlTrainer(net()), flat(net())
    assert trainer.train(start, [], plan(FACTORS[0], 1.0), keyed(1), examples=[]).shape == (0, len(start))
    with pytest.raises(StreamEnded):
        trainer.train(start, stream((1,) * 7), plan(FACTORS[0], 1.0), keyed(1), examples=[[i] for i in range(7)])
    for bad in (0.0, math.nan, math.inf):
        with pytest.raises(InvalidParameter):
            plan(FACTORS[0], 1.0, bad)
    with pytest.raises(InvalidParameter):
        trainer.train(start[1:], stream(), plan(FACTORS[0], 1.0), keyed(1), examples=numbered(stream()))


def test_participation_beyond_the_plan_is_refused_before_anything_is_used(keyed) -> None:
    trainer, start, wanted = FtrlTrainer(net()), flat(net()), plan(FACTORS[0], 1.0)
    steps, own = stream((2, 2, 2)), [[0, 1], [2, 3], [4, 0]]
    with pytest.raises(ParticipationRefused, match="planned for 1"):
        trainer.train(start, steps, wanted, keyed(1), examples=own)
    again = replace(wanted, stream=replace(wanted.stream, participation=Participation(times=2, separation=2)))
    assert trainer.train(start, steps, again, keyed(1), examples=own).shape == (3, len(start))
    with pytest.raises(ParticipationRefused, match="comes 1 steps after"):
        trainer.train(start, steps, again, keyed(1), examples=[[0, 1], [2, 0], [4, 5]])
    for short in (own[:2], [[0], [2, 3], [4, 5]]):
        with pytest.raises(InvalidParameter, match="give each example"):
            trainer.train(start, steps, wanted, keyed(1), examples=short)
