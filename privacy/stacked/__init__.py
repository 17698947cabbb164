"""Many clients' models of one architecture, trained in one batch of matrix products with exact per-example norms.

An accelerator of simulations on one machine; deployed clients and the tests' oracle are `DpSgdTrainer` (Opacus).

- layers: what each supported layer does forward, and how it finds norms and clipped sums from its outputs' gradients
- network: a `torch.nn.Sequential` as such layers
- trainer: DP-SGD visits of many clients at once; noise: where its normals come from
"""

from __future__ import annotations

from privacy.stacked.noise import FastNoise, NoiseSource, OpacusNoise, SecureNoise
from privacy.stacked.trainer import StackedTrainer

__all__ = ["FastNoise", "NoiseSource", "OpacusNoise", "SecureNoise", "StackedTrainer"]
