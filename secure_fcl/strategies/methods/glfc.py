"""GLFC: class-aware compensation and relation distillation; with the paper's prototype channel, or without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from privacy import Batch, ExampleLoss
from secure_fcl.strategies.base import DeviceView, Floats, State, StepContext
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.gradient.method import Channel, Plain, Received
from secure_fcl.strategies.gradient.networks import Networks
from secure_fcl.strategies.section import GradientSection, Probability
from secure_fcl.strategies.side_channels import SideChannel

if TYPE_CHECKING:
    import torch

CHANNEL = "glfc.prototype_gradients"
"""Name of the side channel, as the configuration allows it."""

#: Steps on a prototype's own entries before its gradient is taken, and their size (the authors' code).
PERTURBATION_STEPS, PERTURBATION_RATE = 50, 0.1


@dataclass(frozen=True, kw_only=True)
class Glfc(Plain):
    """GLFC-safe: the loss of GLFC on sums alone (Dong et al. 2022, CVPR, arXiv 2203.11473, section 4.1).

    Half of it is class-aware gradient compensation: binary cross-entropy on every class, an example weighing as much
    as its own class's output is wrong, over a public constant for new and for old classes. The paper divides by the
    batch's mean of that error instead, which lets one example change the weights of all others and has no bound under
    clipping. The other half is class-semantic relation distillation: the same with the old model's outputs as targets
    of the old classes. The old model is the server's after the last task. Exemplars follow the run's memory policy;
    the paper herds. Costs nothing beyond the steps.
    """

    memory: bool = True
    teachers: int = 1
    new_error: float = 0.5
    old_error: float = 0.5

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {"old": weights.copy()}

    def teacher_weights(self, state: State, carried: Mapping[str, Floats]) -> Sequence[Floats]:
        """See `Method.teacher_weights`."""
        return (state["old"],)

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """See `Method.loss`."""
        import torch

        announced = _marked(head.classes, (*step.seen, *step.classes))
        old_classes = _marked(head.classes, step.seen)

        def loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
            present = announced & torch.isfinite(head.mask(outputs, batch.y))
            target = torch.nn.functional.one_hot(batch.y, head.classes).to(outputs.dtype)
            error = (torch.sigmoid(outputs.detach()) - target).abs().gather(1, batch.y.unsqueeze(1)).squeeze(1)
            usual = outputs.new_tensor([self.new_error, self.old_error])[old_classes[batch.y].long()]
            if not step.seen:
                return _binary(outputs, target, present)
            taught = torch.where(old_classes, torch.sigmoid(head.teacher(batch, 0)), target)
            compensated = error / usual * _binary(outputs, target, present)
            return 0.5 * compensated + 0.5 * _binary(outputs, taught, present)

        return loss

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        return {"old": received.after.copy() if step.last else state["old"]}


def _marked(classes: int, some: Sequence[int]) -> torch.Tensor:
    import torch

    marked = torch.zeros(classes, dtype=torch.bool)
    marked[list(some)] = True
    return marked


def _binary(outputs: torch.Tensor, targets: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return each example's mean binary cross-entropy over the classes that are present for it, (B,)."""
    import torch

    each = torch.nn.functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return (each * present).sum(1) / present.sum(1).clamp(min=1)


@dataclass(frozen=True)
class PrototypeGradients:
    """The channel of GLFC: one gradient for each class of a client (section 4.3).

    Of each of its classes a client takes the example nearest to the mean feature, moves it by some steps on its own
    loss, and sends the gradient of a public encoder on it. The proxy server rebuilds the example from the gradient and
    keeps the round's model that does best on all of them as the next task's old model. With a linear first layer the
    example follows exactly from one row's gradients of weight and bias, without any optimisation.
    """

    def declared(self, networks: Networks) -> SideChannel:
        """See `Channel.declared`."""
        encoder = _encoder(networks)
        return SideChannel(
            CHANNEL,
            "for each class of a client, the gradient of a public network on one example, which gives the example away",
            (networks.classes, len(encoder.initial)),
        )

    def disclose(self, networks: Networks, weights: Floats, view: DeviceView, step: StepContext) -> Floats:
        """See `Channel.disclose`."""
        examples = view.current
        encoder = _encoder(networks)
        found = np.zeros((networks.classes, len(encoder.initial)), dtype=np.float32)
        for label in np.unique(examples.y).tolist():
            mine = examples.x[examples.y == label]
            features = networks.features(weights, mine)
            nearest = int(np.linalg.norm(features - features.mean(axis=0), axis=1).argmin())
            found[label] = _gradient(encoder, _perturbed(networks, weights, mine[nearest], label), label)
        return found

    def informed(self, networks: Networks, state: State, step: StepContext, disclosed: Floats) -> State:
        """See `Channel.informed`."""
        x, y = rebuilt(networks, disclosed)
        right = float((networks.outputs(state["weights"], x).argmax(axis=1) == y).mean()) if len(y) else 0.0
        best, score = state["best"], state["best_right"]
        if right >= float(score[0]):
            best, score = state["weights"].copy(), np.array([right], dtype=np.float32)
        if not step.last:
            return {"best": best, "best_right": score}
        return {"old": best.copy(), "best": best, "best_right": np.full(1, -1.0, dtype=np.float32)}


@dataclass(frozen=True)
class GlfcWithProxy(Glfc):
    """GLFC with its proxy server: the old model is the one that does best on examples rebuilt from a side channel."""

    channel: Channel | None = field(default_factory=PrototypeGradients)

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {"old": weights.copy(), "best": weights.copy(), "best_right": np.full(1, -1.0, dtype=np.float32)}

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        return {name: state[name] for name in ("old", "best", "best_right")}


def rebuilt(networks: Networks, disclosed: Floats) -> tuple[Floats, Floats]:
    """Return the examples (m, *shape) that prototype gradients (clients, classes, P) give away, and their labels (m,).

    In a first layer h = W x + b the gradient of row i of W is that of b_i times x; the label is the only class whose
    output's gradient is negative.
    """
    rows = disclosed.reshape(-1, disclosed.shape[-1])
    rows = rows[np.abs(rows).max(axis=1) > 0.0]
    shapes = _encoder(networks).shapes
    parts = np.split(rows, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1], axis=1)
    weight, bias = parts[0].reshape(-1, *shapes[0]), parts[1]
    loudest = np.abs(bias).argmax(axis=1)
    each = np.arange(len(rows))
    x = weight[each, loudest] / bias[each, loudest, None]
    return x.reshape(-1, *networks.shape).astype(np.float32), parts[3].argmin(axis=1)


def _encoder(networks: Networks) -> Networks:
    return replace(networks, kind="mlp")


def _perturbed(networks: Networks, weights: Floats, x: Floats, label: int) -> Floats:
    import torch

    from secure_fcl.strategies.gradient.models import load_vector

    model = networks.fresh()
    load_vector(model, weights)
    moved = torch.from_numpy(x[None].copy()).requires_grad_()
    target = torch.nn.functional.one_hot(torch.tensor([label]), networks.classes).float()
    for _ in range(PERTURBATION_STEPS):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(moved), target)
        (slope,) = torch.autograd.grad(loss, moved)
        moved = (moved - PERTURBATION_RATE * slope).detach().requires_grad_()
    return np.asarray(moved.detach().numpy()[0], dtype=np.float32)


def _gradient(encoder: Networks, x: Floats, label: int) -> Floats:
    import torch

    model = encoder.fresh()
    loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x[None])), torch.tensor([label]))
    found = torch.autograd.grad(loss, list(model.parameters()))
    return np.asarray(torch.cat([g.reshape(-1) for g in found]).numpy(), dtype=np.float32)


class GlfcSection(GradientSection):
    """GLFC's loss on sums alone (GLFC-safe)."""

    new_error: Probability = Field(0.5, description="public constant that a new class's error is divided by")
    old_error: Probability = Field(0.5, description="public constant that an old class's error is divided by")


class GlfcProxySection(GlfcSection):
    """GLFC with its proxy server, which reads a side channel."""


glfc = GradientEntry(
    section=GlfcProxySection(),
    method=lambda section: GlfcWithProxy(new_error=section.new_error, old_error=section.old_error),
    channels=(CHANNEL,),
)
glfc_safe = GradientEntry(
    section=GlfcSection(), method=lambda section: Glfc(new_error=section.new_error, old_error=section.old_error)
)
