"""DP-SGD visits of many clients at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from privacy.dpsgd import DpSgdPlan, Stratum, poisson_batch
from privacy.errors import InvalidParameter
from privacy.randomness import RandomBytes, seed64
from privacy.stacked.network import StackedNetwork
from privacy.stacked.noise import NoiseSource, SecureNoise


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
        self._noise = noise if noise is not None else SecureNoise()

    def visit(
        self,
        weights: torch.Tensor,
        strata: Sequence[Sequence[Stratum]],
        plan: DpSgdPlan,
        random: Sequence[RandomBytes],
    ) -> torch.Tensor:
        """Return the clients' weights (K, P) after `plan.steps` steps.

        weights: (P,), where all clients start, or (K, P); not changed in place. strata, random: one entry per client.
        No client: an empty (0, P).

        Raises:
            InvalidParameter: the numbers of clients differ, the weights do not fit, or a client has no stratum.
        """
        count = len(strata)
        size = sum(shape.numel() for shape in self._network.shapes)
        if len(random) != count or not all(strata):
            raise InvalidParameter(f"{count} clients but {len(random)} sources of bytes, or a client without a stratum")
        if weights.shape not in {(size,), (count, size)}:
            raise InvalidParameter(f"weights of shape {tuple(weights.shape)} for {count} models of {size} parameters")
        now = weights.detach().expand(count, size).clone()
        if count == 0:
            return now
        # The order of DpSgdTrainer.visit: first the coins' seed, then the noise's.
        coins, noise = [], []
        for source in random:
            coins.append(torch.Generator().manual_seed(seed64(source)))
            noise.append(self._noise(source))
        velocity = torch.zeros_like(now) if plan.momentum else None
        fresh = torch.empty_like(now[0])
        parts = [part[0] for part in self._network.views(fresh.unsqueeze(0))]
        for _ in range(plan.steps):
            x, y, present = _padded([poisson_batch(own, coin) for own, coin in zip(strata, coins, strict=True)])
            sums = self._network.clipped_sums(now, x, y, present, plan.clipping_norm)
            for k, fill in enumerate(noise):
                # Client by client, so that the noise is still in the cache when it is added.
                if plan.noise_multiplier > 0.0:
                    fill(parts, plan.noise_multiplier * plan.clipping_norm)
                else:
                    fresh.zero_()
                for part, own in zip(parts, sums, strict=True):
                    part.add_(own[k])
                step = fresh
                if velocity is not None:
                    step = velocity[k].mul_(plan.momentum).add_(fresh, alpha=1.0 / plan.denominator)
                now[k].sub_(step, alpha=plan.learning_rate / (1.0 if velocity is not None else plan.denominator))
        return now


def _padded(batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x (K, B, ...), y (K, B) and which entries are real, B being the largest batch; padding is zero."""
    lengths = torch.tensor([len(y) for _, y in batches])
    x = torch.nn.utils.rnn.pad_sequence([x for x, _ in batches], batch_first=True)
    y = torch.nn.utils.rnn.pad_sequence([y for _, y in batches], batch_first=True)
    return x, y, torch.arange(y.shape[1]) < lengths.unsqueeze(1)
