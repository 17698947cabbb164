"""Opacus's optimizer with noise from a cryptographic byte stream instead of a torch generator."""

from __future__ import annotations

from typing import Any

import torch
from opacus.optimizers import DPOptimizer

from privacy.randomness import RandomBytes, system_bytes
from privacy.secure_gaussian import release_noise


class SecureNoiseOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus ships without types.
    """Clips and averages as Opacus does; every normal comes from `random` in double precision.

    torch makes float32 normals from 24-bit uniforms, so none lies beyond 5.77 standard deviations, and an outcome
    beyond that reveals that some example pushed it there. With 30,000 parameters, sigma 1.4 and 40 steps at q = 0.25
    such outcomes have probability up to 3e-5, more than a delta of 1e-5. Here they reach 11.6 (`release_noise`).

    Takes the arguments of `opacus.optimizers.DPOptimizer` (without `generator` and `secure_mode`). Replaces Opacus's
    secure mode, which needs torchcsprng, a package that no longer installs. The sum is rounded to the parameter's type
    after the noise, which is post-processing.
    """

    def __init__(self, *args: Any, random: RandomBytes = system_bytes, **options: Any) -> None:
        super().__init__(*args, **options)
        self._random = random

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
