from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from privacy import Batch
from privacy.errors import ConformanceError
from privacy.testing import check_example_loss
from secure_fcl.strategies import GradientStrategy, Plain, StepContext
from secure_fcl.strategies.course import Course, play
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.methods import Glfc, GlfcWithProxy
from secure_fcl.strategies.methods import glfc as module
from secure_fcl.strategies.methods.glfc import rebuilt
from secure_fcl.testing import check_alive, check_resume, check_storage

Make = Callable[..., GradientStrategy]
Courses = Callable[..., Course]
LATER = StepContext(slot=1, round=0, classes=(2, 3), seen=(0, 1))


def test_the_loss_by_hand() -> None:
    outputs = torch.tensor([[0.5, -1.0, 2.0, 0.0], [1.5, 0.2, -0.3, 0.1]], dtype=torch.float64)
    old = torch.tensor([[1.0, -1.0, 9.0, 9.0], [0.3, 0.4, 9.0, 9.0]], dtype=torch.float64)
    y = torch.tensor([2, 0])
    batch = Batch(outputs, y, old, torch.tensor([0, 1]))
    found = Glfc(new_error=0.4, old_error=0.2).loss(Head(4), {}, LATER)(outputs, batch)
    expected = []
    for row, (label, usual) in enumerate(((2, 0.4), (0, 0.2))):
        p, q = 1 / (1 + np.exp(-outputs[row].numpy())), 1 / (1 + np.exp(-old[row].numpy()))
        hot = np.eye(4)[label]
        taught = np.where([True, True, False, False], q, hot)
        both = [-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean() for t in (hot, taught)]
        expected.append(0.5 * (1 - p[label]) / usual * both[0] + 0.5 * both[1])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_the_first_task_is_binary_cross_entropy_of_its_classes() -> None:
    outputs, y = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 1])
    batch = Batch(outputs, y, torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))
    found = Glfc().loss(Head(4), {}, StepContext(slot=0, round=0, classes=(0, 1)))(outputs, batch)
    hot = torch.nn.functional.one_hot(y, 4).double()[:, :2]
    own = torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, :2], hot, reduction="none").mean(1)
    torch.testing.assert_close(found, own)


@pytest.mark.parametrize("groups", [None, (0, 0, 1, 1)], ids=["class", "task"])
@pytest.mark.parametrize(
    "step", [StepContext(slot=0, round=0, classes=(0, 1, 2, 3)), replace(LATER, classes=(0, 1, 2, 3))]
)
def test_the_loss_is_of_one_example(groups: tuple[int, ...] | None, step: StepContext) -> None:
    check_example_loss(Glfc().loss(Head(4, groups), {}, step), 4, 4)


def test_the_papers_weights_are_not() -> None:
    def published(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        target = torch.nn.functional.one_hot(batch.y, 4).double()
        error = (torch.sigmoid(outputs.detach()) - target).abs().gather(1, batch.y.unsqueeze(1)).squeeze(1)
        each = torch.nn.functional.binary_cross_entropy_with_logits(outputs, target, reduction="none").mean(1)
        return error / error.mean() * each

    with pytest.raises(ConformanceError, match="other rows"):
        check_example_loss(published, 4)


@pytest.mark.parametrize("trainer", ["stacked", "opacus"])
def test_both_halves_are_alive(make: Make, course: Courses, trainer: str) -> None:
    whole, plain = (make(m, trainer=trainer, q=0.9) for m in (Glfc(), Plain(memory=True)))
    check_alive(whole, plain, course(plain))
    # Other public constants weigh old and new classes differently.
    check_alive(whole, make(Glfc(new_error=0.1), trainer=trainer, q=0.9), course(whole))


def test_the_old_model_teaches(make: Make, course: Courses) -> None:
    s = make(Glfc(), q=0.9)
    rounds = course(s)
    state, carried = play(s, rounds, 0, 2)
    np.testing.assert_array_equal(state["old"], state["weights"])
    forgetful = {**state, "old": s.initial()["weights"]}
    taught, untaught = (play(s, rounds, 2, 4, start, carried)[0]["weights"] for start in (state, forgetful))
    assert np.linalg.norm(taught - untaught) > 1e-3 * np.linalg.norm(untaught)


def test_storage_and_resumption(make: Make, course: Courses) -> None:
    check_storage(make(Glfc(), sigma=1.0), course(make(Glfc())))
    check_resume(lambda: make(Glfc(), sigma=1.0), course(make(Glfc())))


def test_a_prototype_gradient_is_the_prototype(make: Make, course: Courses, monkeypatch: pytest.MonkeyPatch) -> None:
    s = make(GlfcWithProxy())
    (channel,) = s.side_channels
    step = course(s).steps[0]
    views = [course(s).view(s, k, step, {}) for k in range(3)]
    for steps, tolerance in ((0, 1e-4), (module.PERTURBATION_STEPS, 1.0)):
        monkeypatch.setattr(module, "PERTURBATION_STEPS", steps)
        sent = np.stack([s.disclose(s.initial(), view, step)[channel.name] for view in views])
        assert sent.shape == (3, *channel.shape)
        assert sent[0].nbytes == channel.size
        x, y = rebuilt(s.networks, sent)
        owners = [k for k, view in enumerate(views) for _ in np.unique(view.current.y)]
        assert len(x) == len(owners)
        for image, label, owner in zip(x, y, owners, strict=True):
            pool = np.concatenate([view.current.x for view in views])
            whose = np.concatenate([np.full(len(view.current), k) for k, view in enumerate(views)])
            labels = np.concatenate([view.current.y for view in views])
            apart = np.abs(pool - image).reshape(len(pool), -1).max(axis=1)
            nearest = int(apart.argmin())
            # The proxy server knows which client has which example of which class, the perturbation notwithstanding.
            assert apart[nearest] < tolerance
            assert (whose[nearest], labels[nearest]) == (owner, label)


def test_an_empty_client_discloses_zeros_and_nothing_is_rebuilt(make: Make, course: Courses) -> None:
    s = make(GlfcWithProxy())
    step = course(s).steps[0]
    empty = replace(course(s), examples=0).view(s, 0, step, {})
    sent = s.disclose(s.initial(), empty, step)["glfc.prototype_gradients"]
    assert not sent.any()
    x, y = rebuilt(s.networks, sent[None])
    assert (len(x), len(y)) == (0, 0)


def test_the_proxy_keeps_the_rounds_best_model(make: Make, course: Courses) -> None:
    s = make(GlfcWithProxy())
    rounds = course(s)
    sent = {}
    for k in range(3):
        made = s.disclose(s.initial(), rounds.view(s, k, rounds.steps[0], {}), rounds.steps[0])
        sent[k] = made["glfc.prototype_gradients"]
    disclosed = {"glfc.prototype_gradients": np.stack(list(sent.values()))}
    good, _ = play(s, rounds, 0, 2)
    ruined = {**good, "weights": np.zeros_like(good["weights"])}
    first, last = rounds.steps[:2]
    state = s.informed({**s.initial(), "weights": good["weights"]}, first, disclosed)
    np.testing.assert_array_equal(state["best"], good["weights"])
    after = s.informed({**state, "weights": ruined["weights"]}, last, disclosed)
    np.testing.assert_array_equal(after["old"], good["weights"])
    assert after["best_right"][0] == -1.0
