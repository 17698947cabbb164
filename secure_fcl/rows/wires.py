"""What a row that trains a network sends: the maps of its tasks, and public bounds and steps for what they leave."""

from __future__ import annotations

import math

from secure_fcl.compression import Recipe, Wire, wire_of
from secure_fcl.config import Config
from secure_fcl.strategies import GradientStrategy, UploadSpec

#: A rotated entry is clipped at this many times its root mean square: beyond it lie 6 of 100,000 normal entries.
_DEVIATIONS = 4.0


def training_wires(config: Config, strategy: GradientStrategy, together: int = 1) -> tuple[Wire, ...]:
    """Return the way of the training upload in the first task, and in later ones if that differs.

    `together`: of how many rounds a client sums what it sends; its entries may be as many times larger.
    """
    source, c = strategy.uploads["train"], config.compression
    if c.kind == "none" and c.trained == "all" and not c.rotation and c.bits == 0:
        return (wire_of(source, bound=together * source.largest_bound if together > 1 else None),)
    first, later = _recipe(config, strategy, 0), _recipe(config, strategy, 1)
    # One bound for all tasks, so that one scale and one noise serve them.
    bound = max(_bound(strategy, source, recipe) for recipe in (first, later))
    scale = source.scale
    if c.bits:
        # A hair less than whole, or a bound rounded up would take another bit.
        scale = (2 ** (c.bits - 1) - 1) * (1.0 - 2.0**-48) / bound
    elif source.sensitivity_l2 is None:
        scale = source.scale * source.largest_bound / bound
    found = [wire_of(source, first, bound, scale)]
    if later != first:
        found.append(wire_of(source, later, bound, scale, f"{source.name}-last"))
    return tuple(found)


def _recipe(config: Config, strategy: GradientStrategy, slot: int) -> Recipe:
    c = config.compression
    alone = strategy.last_from is not None and slot >= strategy.last_from
    return Recipe(
        shapes=strategy.networks.shapes, frozen=strategy.networks.frozen if alone else 0, kind=c.kind,
        fraction=c.fraction, unbiased=c.unbiased, rotation=c.rotation, seed=config.seed, row=strategy.name,
    )  # fmt: skip


def _bound(strategy: GradientStrategy, source: UploadSpec, recipe: Recipe) -> float:
    """Return the public bound of a sent entry. A rotated one is small: the vector's length is spread over a block.

    Nothing here is read off data. Without rotation the bound is the upload's own.
    """
    if not recipe.rotation:
        return source.largest_bound
    plan = strategy.dpsgd
    if strategy.shared:
        # The public denominator stands for the examples of a batch, each of the clipping norm.
        return _DEVIATIONS * plan.denominator * plan.clipping_norm / math.sqrt(recipe.block)
    # A reference gradient is told like an update of one step at rate 1.
    path = plan.steps if plan.optimizer == "adam" else math.sqrt(plan.steps)
    rate = plan.learning_rate / (1.0 - plan.momentum)
    spread = max(rate * path, 1.0) if "reference" in strategy.method.beside else rate * path
    length = max(rate * plan.steps, 1.0) if "reference" in strategy.method.beside else rate * plan.steps
    step = 1.0 if plan.optimizer == "adam" else plan.noise_multiplier * plan.clipping_norm / plan.denominator
    noise = spread * step
    return _DEVIATIONS * math.hypot(noise, length * plan.clipping_norm / math.sqrt(recipe.block))
