"""The bench of canaries: the row's own client code in front of a linear layer, where what one canary adds is known.

Each canary is an example along an axis of its own, so that its clipped gradient is orthogonal to every other's but for
the bias, which all of them share. The weights are zero and hardly move: every gradient stays what it was made to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crypto.keys.randomness import KeyedStream, derive_key
from crypto.vectors.encoding import FixedPoint
from privacy import DistributedSum, DpSgdPlan, RandomBytes
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, StepContext
from secure_fcl.strategies.contribution import UploadSpec
from secure_fcl.strategies.gradient.method import Plain

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PER_DEVICE = 1500
#: Step size of the bench: weights of zero move so little that no gradient changes, and float32 still holds the move.
_STILL = 1e-6
#: Integers per clipping norm of sums whose rounding does not show.
_FINE = 2.0**14


@dataclass(frozen=True, eq=False)
class Bench:
    """The row's strategy in front of a linear layer, and the noise that is added inside its sums, if any is."""

    strategy: GradientStrategy
    noise: DistributedSum | None = None

    @property
    def scale(self) -> float:
        """Length of a canary, such that its gradient is longer than the clipping norm at zero weights."""
        return 10.0 * max(1.0, self.strategy.dpsgd.clipping_norm)

    @property
    def shift(self) -> float:
        """What one canary that is drawn adds along its own direction: nearly the clipping norm."""
        return self.strategy.dpsgd.clipping_norm * self.scale / math.hypot(self.scale, 1.0)

    @property
    def bias_shift(self) -> float:
        """What it adds along the direction of the bias: the rest of its clipped gradient."""
        return self.strategy.dpsgd.clipping_norm / math.hypot(self.scale, 1.0)

    def examples(self, present: Bools) -> Examples:
        """Return the canaries that are there, as examples of class 0."""
        x = np.zeros((int(present.sum()), PER_DEVICE), dtype=np.float32)
        x[np.arange(len(x)), np.flatnonzero(present)] = self.scale
        return Examples(x, np.zeros(len(x), dtype=np.int64))

    def visit(self, current: Bools, memory: Bools, number: int) -> Floats:
        """Return what one round releases along every canary's direction and along the bias, (PER_DEVICE + 1,).

        In units of gradients: the sum over the round's steps of clipped gradients and their noise.
        """
        strategy, plan = self.strategy, self.strategy.dpsgd
        state = {name: np.zeros_like(array) for name, array in strategy.initial().items()}
        view = DeviceView(self.examples(current), self.examples(memory))
        coins = KeyedStream(derive_key(b"canaries of an audit", str(number)))
        made = strategy.contribute(state, view, StepContext(slot=0, round=0, classes=(0, 1)), coins).parts
        if not strategy.shared:
            return _along(made["update"]) * (plan.denominator / plan.learning_rate)
        return -_along(summed(strategy.uploads["train"], made, self.noise, coins)["gradient"])


def summed(
    upload: UploadSpec, made: Mapping[str, Floats], noise: DistributedSum | None, coins: RandomBytes
) -> Mapping[str, Floats]:
    """Return the sum as those see it who know the shares of all but the honest clients: integers and noise."""
    if noise is not None:
        # The steps of the noise: a run rounds coarser where few bits are sent. Its maps turn no canary.
        upload = replace(upload, scale=noise.scale)
    vector, _ = upload.clip(upload.flatten(made))
    total = FixedPoint(scale=upload.scale, clip=upload.largest_bound).encode(vector, coins).values
    if noise is not None:
        total = total + sum(noise.share(len(total), coins) for _ in range(shares_in_a_sum(noise)))
    return upload.split(total / upload.scale)


def shares_in_a_sum(noise: DistributedSum) -> int:
    """Return how many shares of the noise the ledger relies on: those of clients that stay and keep them secret."""
    return noise.honest


def _along(flat: Floats) -> Floats:
    """Return how far a flat vector of the linear layer goes along each canary's descent direction, and the bias's."""
    rows = np.asarray(flat, dtype=np.float64)
    weights, bias = rows[: 2 * PER_DEVICE].reshape(2, PER_DEVICE), rows[2 * PER_DEVICE :]
    return np.append(weights[0] - weights[1], bias[0] - bias[1]) / math.sqrt(2.0)


def still(plan: DpSgdPlan) -> DpSgdPlan:
    """Return a visit whose update is the sum of its noisy gradients, times a step size that moves next to nothing."""
    return replace(plan, learning_rate=_STILL, momentum=0.0, optimizer="sgd")


def bench_strategy(strategy: GradientStrategy) -> GradientStrategy:
    """Return the strategy with a linear layer in place of its network, and nothing that comes after the noise.

    Its optimizer starts afresh, as at a client's first visit, and is plain SGD: what follows the noise is not asked.
    """
    return replace(
        strategy,
        networks=replace(strategy.networks, kind="linear", shape=(PER_DEVICE,), classes=2),
        groups=None,
        last_from=None,
        examples=PER_DEVICE,
        method=Plain(),
        keep_moments=False,
        dpsgd=still(strategy.dpsgd),
        # All canaries of a batch add up in the bias, which no upload of a run has to hold.
        encoding=replace(strategy.encoding, sum_clip=max(strategy.encoding.sum_clip, float(PER_DEVICE))),
    )


def bench_of(plan: RowPlan, strategy: GradientStrategy, fine: bool = False) -> Bench:
    """Return the bench of a row; `fine`: see `resized`."""
    return Bench(bench_strategy(strategy), resized(plan, 2 * PER_DEVICE + 2, fine))


def resized(plan: RowPlan, dimension: int, fine: bool = False) -> DistributedSum | None:
    """Return the noise inside a row's training sums, for vectors of another length; None if there is none.

    `fine`: in integer steps so small that rounding leaves the law of a sum alone, where the run's own are coarser.
    """
    shares = plan.noises.get("train")
    if not isinstance(shares, DistributedSum):
        return None
    least = _FINE / shares.clipping_norm if fine else 0.0
    return replace(shares, dimension=dimension, scale=max(shares.scale, least))


def nobody() -> Bools:
    """Return that no canary is there."""
    return np.zeros(PER_DEVICE, dtype=np.bool_)
