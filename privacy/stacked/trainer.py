"""DP-SGD visits of many clients at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from privacy.after_noise import AfterNoise
from privacy.batches import Batch, ExampleLoss, Stratum, cross_entropy, poisson_batch
from privacy.dpsgd import DpSgdPlan, check_moments
from privacy.errors import InvalidParameter, UnsuitableModel
from privacy.network_check import architecture, batch_of, check_forward, made_up, made_up_loss, wrong_layer
from privacy.randomness import RandomBytes, seed64
from privacy.stacked.network import StackedNetwork
from privacy.stacked.noise import NoiseSource, SecureNoise
from privacy.stacked.optimizers import FlatOptimizer

#: Examples whose squared gradients are summed at once; a convolution holds all of theirs.
SQUARED_AT_ONCE = 256


class StackedTrainer:
    """Visits K clients in one go; the same mechanism and charges as `DpSgdTrainer`, client by client.

    With `SecureNoise`, the default, the weights equal those of `DpSgdTrainer.visit` on the same random bytes up to
    rounding (1e-6 relative in float64, 1e-5 in float32). `OpacusNoise` and `FastNoise` are the same Gaussian from
    other streams; say which on the certificate.

    Supported: (nested) `Sequential` of Linear, Conv1d, Conv2d, LayerNorm, GroupNorm, Embedding and layers without
    parameters that treat every example alone.

    Raises:
        UnsuitableModel: the model holds something else, or frozen or shared parameters.
    """

    def __init__(self, model: torch.nn.Module, noise: NoiseSource | None = None) -> None:
        self._network = StackedNetwork.from_module(model)
        # For checks alone.
        self._bare = copy.deepcopy(model).train()
        self._known: set[tuple[torch.Size, torch.dtype]] = set()
        self._noise = noise if noise is not None else SecureNoise()

    def visit(
        self,
        weights: torch.Tensor,
        strata: Sequence[Sequence[Stratum]],
        plan: DpSgdPlan,
        random: Sequence[RandomBytes],
        loss: ExampleLoss = cross_entropy,
        after: Sequence[AfterNoise | None] | None = None,
        path: torch.Tensor | None = None,
        moments: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the clients' weights (K, P) after `plan.steps` steps.

        weights: (P,), where all clients start, or (K, P); not changed in place. strata, random, after: one entry per
        client; path: (K, P), moments: (K, plan.moments(P)), as in `DpSgdTrainer.visit`. No client: an empty (0, P).

        Raises:
            InvalidParameter: the numbers of clients differ, weights or moments do not fit, a client has no stratum, or
                the plan does not clip flat.
        """
        if plan.clipping.kind != "flat":
            raise InvalidParameter(f"stacked training clips flat, not {plan.clipping.kind!r}; use DpSgdTrainer")
        now = self._checked(weights, strata, random)
        if len(now) == 0:
            return now
        # The order of DpSgdTrainer.visit: first the coins' seed, then the noise's.
        coins, noise = [], []
        for source in random:
            coins.append(torch.Generator().manual_seed(seed64(source)))
            noise.append(self._noise(source))
        changes = after if after is not None else [None] * len(now)
        rules = _rules(plan, now, moments)
        fresh = torch.empty_like(now[0])
        parts = [part[0] for part in self._network.views(fresh.unsqueeze(0))]
        for _ in range(plan.steps):
            batches = [poisson_batch(own, coin) for own, coin in zip(strata, coins, strict=True)]
            sums = self._clipped_sums(now, batches, plan.clipping_norm, loss)
            for k, fill in enumerate(noise):
                # Client by client, so that the noise is still in the cache when it is added.
                if plan.noise_multiplier > 0.0:
                    fill(parts, plan.noise_multiplier * plan.clipping_norm)
                else:
                    fresh.zero_()
                for part, own in zip(parts, sums[k], strict=True):
                    part.add_(own)
                fresh.div_(plan.denominator)
                change = changes[k]
                gradient = fresh if change is None else change(fresh, now[k], plan.proportional_rate)
                step = rules[k].step(gradient)
                now[k].add_(step)
                if path is not None:
                    path[k].sub_(fresh * step)
        return now

    def sums(
        self,
        weights: torch.Tensor,
        strata: Sequence[Sequence[Stratum]],
        clipping_norm: float,
        random: Sequence[RandomBytes],
        loss: ExampleLoss = cross_entropy,
    ) -> torch.Tensor:
        """Return each client's clipped gradient sum (K, P) of one Poisson batch, without noise.

        The same as `ClippedGradients.sum`, client by client, up to the rounding of the weights' own type; to keep one
        example within the clipping norm in spite of that rounding, it is lowered by one part in 10^5.

        Raises:
            InvalidParameter: as `visit`.
        """
        now = self._checked(weights, strata, random)
        if len(now) == 0:
            return now
        coins = [torch.Generator().manual_seed(seed64(source)) for source in random]
        batches = [poisson_batch(own, coin) for own, coin in zip(strata, coins, strict=True)]
        sums = self._clipped_sums(now, batches, clipping_norm * (1.0 - 1e-5), loss)
        return torch.stack([torch.cat([part.flatten() for part in own]) for own in sums])

    def squares(
        self,
        weights: torch.Tensor,
        strata: Sequence[Stratum],
        clipping_norm: float,
        random: RandomBytes,
        loss: ExampleLoss = cross_entropy,
    ) -> torch.Tensor:
        """Return one client's sum of squared clipped gradients of one Poisson batch, entry by entry, float64 (P,).

        The same as `ClippedGradients.squares`, with the rounding of `sums`.

        Raises:
            InvalidParameter: as `visit`.
        """
        now = self._checked(weights, [strata], [random])
        whole = poisson_batch(strata, torch.Generator().manual_seed(seed64(random)))
        total = torch.zeros(now.shape[1], dtype=torch.float64)
        for first in range(0, len(whole), SQUARED_AT_ONCE):
            batch, present = padded([whole.part(first, first + SQUARED_AT_ONCE)])
            found = self._network.clipped_squares(now, batch, present, clipping_norm * (1.0 - 1e-5), loss)
            total += torch.cat([part.reshape(-1) for part in found])
        return total

    def _clipped_sums(
        self, weights: torch.Tensor, batches: Sequence[Batch], clipping_norm: float, loss: ExampleLoss
    ) -> list[list[torch.Tensor]]:
        """Return each client's clipped gradient sums, parameter by parameter; weights: (K, P), one row per client.

        Batches are stacked where their lengths round up to the same one: how a product of matrices is added up
        depends on its size, so a length that followed from the other clients of a stack would show in a client's last
        bits, and what is sent would depend on who is trained beside whom.
        """
        stacks: dict[int, list[int]] = {}
        for k, batch in enumerate(batches):
            stacks.setdefault(stacked_length(len(batch)), []).append(k)
        found: list[list[torch.Tensor]] = [[] for _ in batches]
        for length, members in stacks.items():
            batch, present = padded([batches[k] for k in members], length)
            own = weights if len(stacks) == 1 else weights[members]
            sums = self._network.clipped_sums(own, batch, present, clipping_norm, loss)
            for place, k in enumerate(members):
                found[k] = [part[place] for part in sums]
        return found

    def check(self, shape: torch.Size, dtype: torch.dtype) -> None:
        """Check the network on made-up examples of this shape and type, once; what trains does so before it begins.

        Raises:
            UnsuitableModel: a stacked step is not that of the examples taken one by one, or a forward pass changes what
                it should not; names the layer.
        """
        if (shape, dtype) in self._known:
            return
        known = architecture(self._bare)
        if known is None or (known, shape, dtype) not in _RIGHT:
            model = self._bare.to(dtype) if dtype.is_floating_point else self._bare
            check_forward(model, shape, dtype)
            with made_up(model):
                wrong = wrong_layer(model, lambda x, clip: self._made_up_sum(model, x, clip), shape, dtype)
            if wrong is not None:
                raise UnsuitableModel(
                    f"clipped gradients in a stack are not those of the examples taken one by one ({wrong}); use "
                    "DpSgdTrainer, or replace that layer"
                )
            if known is not None:
                _RIGHT.add((known, shape, dtype))
        self._known.add((shape, dtype))

    def _made_up_sum(self, model: torch.nn.Module, x: torch.Tensor, clip: float) -> torch.Tensor:
        weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).unsqueeze(0)
        batch, present = padded([batch_of(x)])
        sums = self._network.clipped_sums(weights, batch, present, clip, made_up_loss)
        return torch.cat([part.reshape(-1) for part in sums])

    def outputs(self, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (K, B, C) of K models (K, P) for inputs (K, B, ...), without gradients."""
        with torch.no_grad():
            return self._network.forward(x, self._network.views(weights))[0]

    def _checked(
        self, weights: torch.Tensor, strata: Sequence[Sequence[Stratum]], random: Sequence[RandomBytes]
    ) -> torch.Tensor:
        count = len(strata)
        size = sum(shape.numel() for shape in self._network.shapes)
        if len(random) != count or not all(strata):
            raise InvalidParameter(f"{count} clients but {len(random)} sources of bytes, or a client without a stratum")
        if weights.shape not in {(size,), (count, size)}:
            raise InvalidParameter(f"weights of shape {tuple(weights.shape)} for {count} models of {size} parameters")
        if weights.dtype not in (torch.float32, torch.float64):
            raise UnsuitableModel(
                f"weights are {weights.dtype}, in which a clipped gradient is rounded beyond its bound; train in "
                "float32"
            )
        for own in strata:
            for stratum in own:
                self.check(stratum.x.shape[1:], stratum.x.dtype)
        return weights.detach().expand(count, size).clone()


#: Architectures, shapes and types of examples that a check found right: a process builds many trainers of a network.
_RIGHT: set[object] = set()


def _rules(plan: DpSgdPlan, weights: torch.Tensor, moments: torch.Tensor | None) -> list[FlatOptimizer]:
    count, size = weights.shape
    if moments is None:
        return [FlatOptimizer(plan, size, weights.dtype) for _ in range(count)]
    if len(moments) != count:
        raise InvalidParameter(f"moments of {len(moments)} clients for {count}")
    check_moments(moments.shape[1], plan, size)
    return [FlatOptimizer(plan, size, weights.dtype, own) for own in moments]


def stacked_length(examples: int) -> int:
    """Return the length to which a batch is padded: the next of 8, 16, 24, ..., 64, 80, 96, 112, 128, 160, ... or 0.

    Four lengths an octave from 32 on, so that less than a fifth of it is padding there.
    """
    step = max(8, 1 << max(0, (examples - 1).bit_length() - 3)) if examples else 1
    return -(-examples // step) * step


def padded(batches: Sequence[Batch], length: int = 0) -> tuple[Batch, torch.Tensor]:
    """Return one batch (K, B, ...) and which entries are real (K, B); padding is zero.

    B is `length`, or the largest batch where that is longer.
    """
    lengths = torch.tensor([len(batch) for batch in batches])
    widest = max(length, int(lengths.max()))

    def stack(tensors: list[torch.Tensor]) -> torch.Tensor:
        found = torch.zeros(
            len(tensors), widest, *tensors[0].shape[1:], dtype=tensors[0].dtype, device=tensors[0].device
        )
        for own, tensor in zip(found, tensors, strict=True):
            own[: len(tensor)] = tensor
        return found

    weighted = any(b.weight is not None for b in batches)
    joined = Batch(
        stack([b.x for b in batches]), stack([b.y for b in batches]),
        stack([b.extra for b in batches]), stack([b.stratum for b in batches]),
        stack([torch.ones(len(b)) if b.weight is None else b.weight for b in batches]) if weighted else None,
    )  # fmt: skip
    return joined, torch.arange(widest) < lengths.unsqueeze(1)
