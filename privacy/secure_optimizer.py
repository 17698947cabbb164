"""Opacus's optimizer with noise from a cryptographic byte stream instead of a torch generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed

from privacy.clipping import ClippingState
from privacy.randomness import RandomBytes, system_bytes
from privacy.secure_gaussian import release_noise


class SecureNoiseOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus ships without types.
    """Clips and averages as Opacus does, by norms in double precision; every normal comes from `random` in the same.

    torch makes float32 normals from 24-bit uniforms, so none lies beyond 5.77 standard deviations, and an outcome
    beyond that reveals that some example pushed it there. With 30,000 parameters, sigma 1.4 and 40 steps at q = 0.25
    such outcomes have probability up to 3e-5, more than a delta of 1e-5. Here they reach 11.6 (`release_noise`).

    The clipping factors are those of `state` (`privacy.clipping`), times `weights` of the batch, and the noise follows
    the state's norm. `ghost`: `summed_grad` is there before `step` (`privacy.ghost`), so nothing is clipped here.

    Takes the arguments of `opacus.optimizers.DPOptimizer` (without `generator` and `secure_mode`). Replaces Opacus's
    secure mode, which needs torchcsprng, a package that no longer installs. The sum is rounded to the parameter's type
    after the noise, which is post-processing.
    """

    def __init__(
        self,
        *args: Any,
        state: ClippingState,
        random: RandomBytes = system_bytes,
        ghost: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._random = random
        self._state = state
        self._ghost = ghost
        self.weights: torch.Tensor | None = None

    @property
    def accumulated_iterations(self) -> int:
        """Number of batches that were clipped since the last step."""
        return 1 if self._ghost else int(super().accumulated_iterations)

    def clip_and_accumulate(self) -> None:
        """Leave the sum of the clipped per-example gradients in every parameter's `summed_grad`."""
        samples = [self._get_flat_grad_sample(p).reshape(-1, p.numel()) for p in self.params]
        if len(samples[0]) == 0:
            self._state.nothing()
            factors = torch.zeros(len(samples), 0)
        else:
            # Opacus takes these norms in float32, where torch's of a million equal entries is .07 % short.
            norms = torch.stack([torch.linalg.vector_norm(s, dim=1, dtype=torch.float64) for s in samples])
            factors = self._state.factors(norms, self.weights)
        for parameter, sample, factor in zip(self.params, samples, factors, strict=True):
            _check_processed_flag(parameter.grad_sample)
            parameter.summed_grad = (factor.to(sample.dtype) @ sample).view_as(parameter)
            _mark_as_processed(parameter.grad_sample)

    def pre_step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Clip, add noise, scale, and call the step hook; see `DPOptimizer.pre_step`."""
        self.max_grad_norm = self._state.norm
        if self._ghost:
            self.add_noise()
            self.scale_grad()
            if self.step_hook:
                self.step_hook(self)
            self._is_last_step_skipped = False
            ready: float | None = True
        else:
            ready = super().pre_step(closure)
        self._state.advance()
        return ready

    def add_noise(self) -> None:
        """Set every parameter's `grad` to its clipped sum plus noise of std noise_multiplier * max_grad_norm."""
        std = self.noise_multiplier * self.max_grad_norm
        # All at once: a draw of a dozen values costs as much as one of a thousand.
        sizes = [parameter.summed_grad.numel() for parameter in self.params]
        noise = torch.split(release_noise(std, (sum(sizes),), self._random), sizes)
        for parameter, own in zip(self.params, noise, strict=True):
            clean = parameter.summed_grad
            total = clean.to(torch.float64) + own.view(clean.shape).to(clean.device)
            parameter.grad = total.to(parameter.dtype).view_as(parameter)
            # The clean sum must not outlive its noise.
            parameter.summed_grad = None
