"""Opacus's optimizer with noise from a cryptographic byte stream instead of a torch generator."""

from __future__ import annotations

from typing import Any

import torch
from opacus.optimizers import DPOptimizer

from privacy.randomness import RandomBytes, system_bytes
from privacy.secure_gaussian import gaussian


class SecureNoiseOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus ships without types.
    """Clips and averages as Opacus does; every normal comes from `random` in double precision.

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
        for parameter in self.params:
            clean = parameter.summed_grad
            total = clean.to(torch.float64) + gaussian(std, clean.shape, self._random).to(clean.device)
            parameter.grad = total.to(parameter.dtype).view_as(parameter)
            # The clean sum must not outlive its noise.
            parameter.summed_grad = None
