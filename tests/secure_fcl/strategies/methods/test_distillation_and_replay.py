from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from privacy import Batch, ExampleLoss
from privacy.testing import check_example_loss
from secure_fcl.strategies import GradientStrategy, Method, Plain, StepContext
from secure_fcl.strategies.course import play
from secure_fcl.strategies.gradient.losses import Head, distillation
from secure_fcl.strategies.methods import AveragedGradientMemory, DarkReplay, LwF, NotTrue, TwoTeachers

LATER = StepContext(slot=1, round=0, classes=(2, 3), seen=(0, 1))
DRAWN = torch.Generator().manual_seed(0)
OUTPUTS, EXTRA = (torch.randn(6, n, generator=DRAWN, dtype=torch.float64) for n in (4, 8))
BATCH = Batch(OUTPUTS, torch.tensor([2, 3, 2, 3, 0, 1]), EXTRA, torch.tensor([0, 0, 0, 0, 1, 1]))
TEMPERATURE = 2.0


def gradient(loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    outputs = OUTPUTS.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(outputs).sum(), outputs)
    return found


def kl(outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Torch's divergence from the teacher over classes 0 and 1, times T squared."""
    student, target = (torch.log_softmax(o[:, :2] / TEMPERATURE, dim=1) for o in (outputs, teacher))
    return torch.nn.functional.kl_div(student, target, reduction="none", log_target=True).sum(1) * TEMPERATURE**2


def cross_entropy(outputs: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(outputs, BATCH.y, reduction="none")


def same(loss: ExampleLoss, expected: Callable[[torch.Tensor], torch.Tensor]) -> None:
    torch.testing.assert_close(gradient(lambda o: loss(o, BATCH)), gradient(expected))


def test_distillation_is_the_divergence_up_to_the_teachers_entropy() -> None:
    teacher = EXTRA[:, :4]
    apart = distillation(OUTPUTS, teacher, (0, 1), TEMPERATURE) - kl(OUTPUTS, teacher)
    target = torch.softmax(teacher[:, :2] / TEMPERATURE, dim=1)
    torch.testing.assert_close(apart, -(target * target.log()).sum(1) * TEMPERATURE**2)


@pytest.mark.parametrize(("balanced", "new", "old"), [(False, 1.0, 3.0), (True, 0.5, 0.5)])
def test_lwf(balanced: bool, new: float, old: float) -> None:
    loss = LwF(weight=3.0, balanced=balanced).loss(Head(4), {}, LATER)
    same(loss, lambda o: new * cross_entropy(o) + old * kl(o, EXTRA[:, :4]))


def test_lwf_in_the_first_task_is_cross_entropy() -> None:
    same(LwF(balanced=True).loss(Head(4), {}, StepContext(slot=0, round=0, classes=(0, 1))), cross_entropy)


def test_two_teachers() -> None:
    loss = TwoTeachers(alpha=0.5, beta=0.3).loss(Head(4), {}, LATER)
    same(loss, lambda o: 0.5 * cross_entropy(o) + 0.3 * kl(o, EXTRA[:, :4]) + 0.2 * kl(o, EXTRA[:, 4:]))


def test_dark_replay() -> None:
    loss = DarkReplay(alpha=0.3, beta=0.7).loss(Head(4), {}, LATER)
    memory = (BATCH.stratum == 1).double()

    def expected(outputs: torch.Tensor) -> torch.Tensor:
        apart = torch.nn.functional.mse_loss(outputs, EXTRA[:, :4], reduction="none").mean(1)
        old = 0.3 * apart + 0.7 * cross_entropy(outputs)
        return memory * old + (1 - memory) * cross_entropy(outputs)

    same(loss, expected)


def test_not_true_distillation_leaves_the_own_class_to_the_labels() -> None:
    loss = NotTrue(weight=3.0, temperature=TEMPERATURE).loss(Head(4), {}, LATER)

    def others(outputs: torch.Tensor, row: int) -> torch.Tensor:
        kept = [c for c in range(4) if c != int(BATCH.y[row])]
        return torch.log_softmax(outputs[row, kept] / TEMPERATURE, dim=0)

    def expected(outputs: torch.Tensor) -> torch.Tensor:
        apart = [
            torch.nn.functional.kl_div(others(outputs, r), others(EXTRA[:, :4], r), reduction="sum", log_target=True)
            for r in range(len(outputs))
        ]
        return cross_entropy(outputs) + 3.0 * TEMPERATURE**2 * torch.stack(apart)

    same(loss, expected)


METHODS = {"plain": Plain(), "lwf": LwF(), "two teachers": TwoTeachers(), "dark": DarkReplay(), "not true": NotTrue()}


@pytest.mark.parametrize("groups", [None, (0, 0, 1, 1)], ids=["class", "task"])
@pytest.mark.parametrize("name", METHODS)
def test_every_loss_is_of_one_example(name: str, groups: tuple[int, ...] | None) -> None:
    method: Method = METHODS[name]
    columns = 4 * (method.teachers + method.stored)
    check_example_loss(method.loss(Head(4, groups), {}, LATER), 4, columns)


def test_the_reference_is_the_mean_gradient_of_the_memories(
    make: Callable[..., GradientStrategy],
    course: Callable,  # type: ignore[type-arg]
) -> None:
    s = make(AveragedGradientMemory(), norm=1e3, shared=True)
    s = replace(s, encoding=replace(s.encoding, sum_clip=1e3))
    rounds = course(s)
    before, carried = play(s, rounds, 0, 2)
    state, _ = play(s, rounds, 2, 3, before, carried)
    network = s.network(before)
    network.zero_grad()
    for client in range(rounds.clients):
        memory = rounds.view(s, client, rounds.steps[2], {}).memory
        x, y = torch.from_numpy(memory.x), torch.from_numpy(memory.y)
        torch.autograd.backward(torch.nn.functional.cross_entropy(network(x), y, reduction="sum"))
    total = torch.cat([p.grad.reshape(-1) for p in network.parameters() if p.grad is not None]).numpy()
    np.testing.assert_allclose(state["reference"], total / (4.0 * rounds.clients), rtol=1e-3, atol=1e-5)
