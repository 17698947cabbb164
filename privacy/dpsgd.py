"""DP-SGD through Opacus on stratified Poisson batches.

Opacus derives sampling rates from a loader's length, cannot stream, and ignores `expected_batch_size` when its
optimizer is told "sum"; here rates, steps and the denominator are public constants, the module sums, the
optimizer averages over the public denominator, and no DataLoader or PrivacyEngine takes part.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from privacy.after_noise import AfterNoise
from privacy.batches import Batch, ExampleLoss, Stratum, check_rate, check_weight, cross_entropy, poisson_batch
from privacy.clipping import FLAT, Clipping, ClippingState
from privacy.errors import InvalidParameter, UnsuitableModel
from privacy.events import Event, NonPrivate, SampledGaussian
from privacy.ghost import accumulate_ghost, norms_in_double
from privacy.network_check import architecture, batch_of, check_forward, made_up, made_up_loss, wrong_layer
from privacy.per_example import (
    bound_each_example,
    inputs_without_gradients,
    refuse_batch_statistics,
    reset_hooks,
    whole_network_gradients,
)
from privacy.randomness import RandomBytes, key_stream, seed64

if TYPE_CHECKING:
    import torch

    from privacy.secure_optimizer import SecureNoiseOptimizer

Mode = Literal["hooks", "ghost"]


@dataclass(frozen=True, kw_only=True)
class DpSgdPlan:
    """A DP-SGD visit as public numbers: what runs and what it costs, made together.

    Each step releases (sum of per-example gradients clipped to `clipping_norm`, plus Gaussian noise of
    standard deviation `noise_multiplier * clipping_norm`) / `denominator` (Abadi et al. 2016, algorithm 1, with
    Poisson batches and a fixed denominator), and SGD with `momentum`, or Adam, follows it. `noise_multiplier = 0` is
    training without privacy and is charged as such.

    *Guarantee*: for an example of a stratum sampled at rate q with weight w, one visit is `steps` events
    SampledGaussian(q, noise_multiplier / w), as long as it lies in that stratum alone; the other strata do not depend
    on it. An empty batch still adds its noise.

    Raises:
        InvalidParameter: a number is not finite or outside its range.
    """

    steps: int
    denominator: float
    clipping_norm: float
    noise_multiplier: float
    learning_rate: float
    momentum: float = 0.0
    optimizer: Literal["sgd", "adam"] = "sgd"
    clipping: Clipping = FLAT

    def __post_init__(self) -> None:
        for name in ("steps", "denominator", "clipping_norm", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidParameter(f"{name}={getattr(self, name)} must be positive and finite")
        if self.optimizer not in ("sgd", "adam") or (self.optimizer == "adam" and self.momentum):
            raise InvalidParameter(f"optimizer={self.optimizer!r} must be 'sgd', or 'adam' with momentum 0")
        if not 0 <= self.noise_multiplier < math.inf or not 0 <= self.momentum < 1:
            raise InvalidParameter(
                f"noise_multiplier={self.noise_multiplier} must be at least 0 and finite, "
                f"momentum={self.momentum} in [0, 1)"
            )

    def events(self, q: float, weight: float = 1.0) -> Counter[Event]:
        """Return what one visit charges an example of a stratum of rate `q` and `weight`; q = 0 charges nothing.

        Raises:
            InvalidParameter: q is outside [0, 1] or the weight not positive and finite.
        """
        check_rate(q)
        check_weight(weight)
        if q == 0.0:
            return Counter()
        if self.noise_multiplier == 0.0:
            return Counter({NonPrivate("DP-SGD without noise"): self.steps})
        return Counter({SampledGaussian(q=q, noise_multiplier=self.noise_multiplier / weight): self.steps})

    @property
    def proportional_rate(self) -> float:
        """Learning rate where a step is proportional to its gradient, as `AfterNoise` asks; 0 for Adam."""
        return 0.0 if self.optimizer == "adam" else self.learning_rate

    def moments(self, parameters: int) -> int:
        """Return how many numbers the optimizer keeps for a model of so many parameters (`privacy.moments`)."""
        if self.optimizer == "adam":
            return 2 * parameters + 1
        return parameters if self.momentum > 0.0 else 0


class DpSgdTrainer:
    """Visits clients one after the other with one Opacus-wrapped model (it is put into training mode).

    One instance per worker process; nothing passes from one visit to the next but what the caller hands over: weights
    are copied in, buffers are reset and the optimizers are new. The noise comes from an AES-CTR key stream whose
    32-byte key is drawn from the caller's random bytes for each visit; sampling coins from a torch generator seeded
    with 63 bits of them (Mersenne twister on the CPU: research grade); layers that draw, as dropout, use torch's global
    generator. An example whose gradient is not finite (an overflow in its own forward pass) contributes zero, since no
    clipping bounds it.

    mode "hooks" keeps every per-example gradient; "ghost" finds their norms without them and runs a second backward
    pass (Opacus's fast gradient clipping; not for per-layer clipping), which is faster for wide linear layers. Both
    add the same noise from the same bytes.

    Raises:
        InvalidParameter: an unknown mode.
        UnsuitableModel: the model mixes examples or keeps statistics of them (BatchNorm, trainable or not), has
            layers without per-example gradients, or nothing to train.
    """

    def __init__(self, model: torch.nn.Module, mode: Mode = "hooks") -> None:
        from opacus.grad_sample import GradSampleModule
        from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
        from opacus.validators import ModuleValidator

        if mode not in get_args(Mode):
            raise InvalidParameter(f"mode={mode!r} must be one of {get_args(Mode)}")
        model.train()
        refuse_batch_statistics(model)
        problems = ModuleValidator.validate(model, strict=False)
        if problems:
            raise UnsuitableModel(f"{problems[0]} Replace that layer")
        self._mode: Mode | Literal["functorch"] = mode
        # Without hooks, for checks and for gradients through the whole network.
        self._bare = copy.deepcopy(model)
        wrap = GradSampleModule if mode == "hooks" else GradSampleModuleFastGradientClipping
        try:
            self._module = wrap(model, loss_reduction="sum")
        except (NotImplementedError, ValueError) as error:
            raise UnsuitableModel(f"Opacus cannot take this model: {error}") from error
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]
        if not self._parameters:
            raise UnsuitableModel("no parameter of the model asks for a gradient; there is nothing to train")
        if mode == "ghost":
            from privacy.round_off import RoundOff

            self._round_off = RoundOff()
            watched = self._round_off.watched
            # The sizes are those of the slopes' own type, so it is watched before anything becomes double.
            self._module.NORM_SAMPLERS = watched(norms_in_double(self._module.NORM_SAMPLERS))
            self._module.GRAD_SAMPLERS = watched(self._module.GRAD_SAMPLERS)
        self._buffers = {name: b.clone() for name, b in self._module.named_buffers()}
        self._checked: set[tuple[torch.Size, torch.dtype]] = set()

    def visit(
        self,
        weights: torch.Tensor,
        strata: Sequence[Stratum],
        plan: DpSgdPlan,
        random: RandomBytes,
        loss: ExampleLoss = cross_entropy,
        after: AfterNoise | None = None,
        path: torch.Tensor | None = None,
        moments: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the weights after `plan.steps` steps from `weights` (flat float32, not changed in place).

        `after` changes each noisy mean gradient before its step. `path` (flat, as the weights), if given, has
        -gradient * step added for every step, with the noisy gradient before `after`: the path integral of
        Synaptic Intelligence (Zenke et al. 2017, equation 3), which is post-processing. `moments` (flat,
        `plan.moments(P)`), if given, is where the optimizer goes on from and what the visit leaves; else it is fresh.

        Raises:
            InvalidParameter: `weights` or `moments` do not fit the model, or there is no stratum.
            UnsuitableModel: the forward pass leaves out a parameter, or folds another axis into the batch.
        """
        from privacy.moments import hand_back, take_up

        if not strata:
            raise InvalidParameter("no stratum was given; for no data give one with 0 examples")
        self.check(strata[0].x.shape[1:], strata[0].x.dtype)
        if self._mode == "ghost" and plan.clipping.kind == "per_layer":
            raise InvalidParameter("clipping kind='per_layer' needs per-example gradients; use mode='hooks'")
        self._load(weights)
        reset_hooks(self._module)
        self._module.train()
        coins, optimizer, state = self._prepared(plan, random)
        if moments is not None:
            check_moments(moments.numel(), plan, weights.numel())
            take_up(optimizer.original_optimizer, self._parameters, moments)
        noisy: list[torch.Tensor] = []
        if after is not None or path is not None:
            optimizer.attach_step_hook(self._after_noise(after, plan.proportional_rate, noisy))
        for _ in range(plan.steps):
            optimizer.zero_grad(set_to_none=True)
            self._backward(poisson_batch(strata, coins), loss, optimizer, state)
            before = self._flat() if path is not None else None
            optimizer.step()
            if path is not None and before is not None:
                path.sub_(noisy.pop() * (self._flat() - before))
        flat = self._flat()
        if moments is not None:
            hand_back(optimizer.original_optimizer, self._parameters, moments)
        self._forget()
        return flat

    def check(self, shape: torch.Size, dtype: torch.dtype) -> None:
        """Check the network on made-up examples of this shape and type, once; `visit` does so before it trains.

        Where Opacus's hooks are wrong (padding modes, tied weights, a weight used outside its layer), the gradients are
        taken through the whole network by functorch from then on, if those are right.

        Raises:
            InvalidParameter: the inputs' type is not that of the weights.
            UnsuitableModel: no way gives every example a gradient that clipping bounds; names the layer.
        """
        import torch

        if (shape, dtype) in self._checked:
            return
        if self._parameters[0].dtype not in (torch.float32, torch.float64):
            raise UnsuitableModel(
                f"weights are {self._parameters[0].dtype}, in which a clipped gradient is rounded beyond its bound; "
                "train in float32"
            )
        if dtype.is_floating_point and dtype != self._parameters[0].dtype:
            raise InvalidParameter(
                f"examples are {dtype} and weights {self._parameters[0].dtype}; convert the examples, or the model"
            )
        known = architecture(self._bare)
        key = (known, self._mode, shape, dtype)
        self._mode = _FOUND[key] if key in _FOUND else self._right_mode(shape, dtype)
        if known is not None:
            _FOUND[key] = self._mode
        self._checked.add((shape, dtype))

    def _right_mode(self, shape: torch.Size, dtype: torch.dtype) -> Mode | Literal["functorch"]:
        """Return the way of taking gradients that is right for the network, the chosen one if it is."""
        self._bare.load_state_dict(self._module._module.state_dict())
        check_forward(self._bare, shape, dtype)
        wrong = ""
        chosen = self._mode
        for mode in dict.fromkeys((chosen, "functorch")):
            self._mode = mode
            try:
                with made_up(self._bare), made_up(self._module._module):
                    found = wrong_layer(self._bare, self._made_up_sum, shape, dtype)
            # The network's own code runs on inputs it may not expect; whatever it raises is a reason.
            except Exception as error:
                found = next(iter(str(error).splitlines()), type(error).__name__)
            finally:
                self._mode = chosen
                reset_hooks(self._module)
            if found is None:
                return mode
            wrong = wrong or found
        raise UnsuitableModel(
            f"the network's clipped gradients are not those of its examples taken one by one ({wrong}); keep the first "
            "axis for examples, use each weight in its own layer, and replace that layer"
        )

    def _made_up_sum(self, x: torch.Tensor, clip: float) -> torch.Tensor:
        """Return the clipped sum that a step would release, without noise."""
        import torch

        plan = DpSgdPlan(steps=1, denominator=1.0, clipping_norm=clip, noise_multiplier=0.0, learning_rate=1.0)
        # Zeros for random bytes: there is no noise to draw.
        _, optimizer, state = self._prepared(plan, bytes)
        optimizer.zero_grad(set_to_none=True)
        self._backward(batch_of(x), made_up_loss, optimizer, state)
        if self._mode != "ghost":
            optimizer.clip_and_accumulate()
        sums = [p.summed_grad.reshape(-1) for p in self._parameters]
        self._forget()
        return torch.cat(sums).detach()

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad_sample = None
            parameter.summed_grad = None
            parameter.grad = None

    def _prepared(
        self, plan: DpSgdPlan, random: RandomBytes
    ) -> tuple[torch.Generator, SecureNoiseOptimizer, ClippingState]:
        """Return a visit's sampling coins, noisy optimizer and clipping; the bytes are drawn in this order."""
        import torch

        from privacy.secure_optimizer import SecureNoiseOptimizer

        coins = torch.Generator().manual_seed(seed64(random))
        stream, rule = key_stream(random), plan.clipping
        state = ClippingState(rule, plan.clipping_norm, plan.noise_multiplier, plan.denominator, stream)
        optimizer = SecureNoiseOptimizer(
            _optimizer(self._parameters, plan),
            noise_multiplier=rule.gradient_multiplier(plan.noise_multiplier),
            max_grad_norm=plan.clipping_norm,
            # Opacus types this as int and only divides by it; a public denominator may be fractional.
            expected_batch_size=plan.denominator,
            loss_reduction="mean",
            random=stream,
            state=state,
            ghost=self._mode == "ghost",
        )
        return coins, optimizer, state

    def _backward(self, batch: Batch, loss: ExampleLoss, optimizer: SecureNoiseOptimizer, state: ClippingState) -> None:

        if self._mode == "ghost":
            with inputs_without_gradients():
                accumulate_ghost(self._module, self._bare, self._parameters, batch, loss, state, self._round_off)
            return
        self.take_gradients(batch, loss)
        optimizer.weights = batch.weight

    def take_gradients(self, batch: Batch, loss: ExampleLoss) -> None:
        """Leave every example's gradient in each parameter's `grad_sample`, (B, *shape); an empty batch runs no code.

        Raises:
            UnsuitableModel: a parameter has no per-example gradient, or one row is not one example.
        """
        import torch

        if len(batch) == 0:
            for parameter in self._parameters:
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        elif self._mode == "functorch":
            whole_network_gradients(self._bare, self._parameters, batch, loss)
        else:
            with inputs_without_gradients():
                torch.autograd.backward(loss(self._module(batch.x), batch).sum())
        bound_each_example(self._parameters, len(batch))

    def _flat(self) -> torch.Tensor:
        import torch

        return torch.cat([p.detach().reshape(-1) for p in self._parameters])

    def _after_noise(
        self, after: AfterNoise | None, learning_rate: float, noisy: list[torch.Tensor]
    ) -> Callable[[Any], None]:
        """Return the step hook: it runs after noise and scaling, and leaves the noisy gradient in `noisy`."""
        import torch

        def hook(_optimizer: Any) -> None:
            gradient = torch.cat([p.grad.reshape(-1) for p in self._parameters if p.grad is not None])
            noisy[:] = [gradient]
            if after is None:
                return
            changed = after(gradient, self._flat(), learning_rate)
            sizes = [p.numel() for p in self._parameters]
            for parameter, part in zip(self._parameters, torch.split(changed, sizes), strict=True):
                parameter.grad = part.view_as(parameter)

        return hook

    def _load(self, weights: torch.Tensor) -> None:
        import torch

        sizes = [p.numel() for p in self._parameters]
        if weights.numel() != sum(sizes):
            raise InvalidParameter(f"{weights.numel()} weights for a model of {sum(sizes)} parameters")
        with torch.no_grad():
            for parameter, part in zip(self._parameters, torch.split(weights, sizes), strict=True):
                # copy_: a view of `weights` would let the step change the caller's vector.
                parameter.copy_(part.view_as(parameter))
            for name, buffer in self._module.named_buffers():
                buffer.copy_(self._buffers[name])


#: What checks found, by architecture: a process builds many trainers of the same network.
_FOUND: dict[object, Mode | Literal["functorch"]] = {}


def check_moments(size: int, plan: DpSgdPlan, parameters: int) -> None:
    """Raise InvalidParameter unless an optimizer's moments fit a model."""
    if size != plan.moments(parameters):
        raise InvalidParameter(
            f"{size} moments for a model of {parameters} parameters; {plan.optimizer!r} with momentum={plan.momentum} "
            f"keeps {plan.moments(parameters)}"
        )


def _optimizer(parameters: Sequence[torch.nn.Parameter], plan: DpSgdPlan) -> torch.optim.Optimizer:
    import torch

    if plan.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=plan.learning_rate)
    return torch.optim.SGD(parameters, lr=plan.learning_rate, momentum=plan.momentum)
