"""The uploads of a gradient strategy: the update or gradient sum, and the sums that a method asks for beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from privacy import Event, ExampleLoss, NonPrivate, SampledGaussian, Stratum
from privacy.secure_gaussian import release_noise
from secure_fcl.strategies.base import Contribution, DeviceView, Floats, State
from secure_fcl.strategies.contribution import Part, UploadSpec, Values
from secure_fcl.strategies.gradient.method import Beside
from secure_fcl.strategies.gradient.networks import Trained, Trainer, Visit

if TYPE_CHECKING:
    from secure_fcl.strategies.gradient.strategy import GradientStrategy

#: Largest |weight| that a product of Fisher information and weights is encoded for.
LARGEST_WEIGHT = 8.0

Means = dict[Beside, Floats]


def update_upload(s: GradientStrategy) -> UploadSpec:
    """Return the upload of an update that is private before it is sent."""
    clip = s.encoding.update_clip
    if s.method.mean == "none":
        return UploadSpec(s.name, (Part("nothing", (1,), clip),), 1.0 / clip, None, None, "a zero from everybody")
    # Every part travels in the update's units, so that all share one scale.
    parts = [Part("update", (s.size,), clip)]
    parts += [Part(name, (s.size,), clip) for name in ("path", "reference") if name in s.method.beside]
    if s.method.mean == "weighted":
        parts.append(Part("weight", (1,), clip))
    steps = 2 ** (s.encoding.update_bits - 1) - 1
    unit = "the update is private before it is sent (local DP-SGD)"
    return UploadSpec(s.name, tuple(parts), steps / clip, None, None, unit)


def gradient_upload(s: GradientStrategy) -> UploadSpec:
    """Return the upload of a clipped gradient sum that gets its noise inside the secure sum."""
    norm = s.plan.clipping_norm
    names = ["gradient", *(["reference"] if "reference" in s.method.beside else [])]
    parts = tuple(Part(name, (s.size,), s.encoding.sum_clip * norm) for name in names)
    unit = "one example adds one gradient clipped to the clipping norm, in each part that reads its stratum"
    return UploadSpec(s.name, parts, 2.0**s.encoding.scale_bits / norm, norm, s.size, unit)


def fisher_upload(s: GradientStrategy) -> UploadSpec:
    """Return the upload of summed Fisher information; one example adds at most the clipping norm's square."""
    bound = s.plan.clipping_norm**2
    largest = s.examples * bound + 12.0 * s.fisher_noise * bound * (not s.shared)
    names = ["fisher", *(["fisher_weights"] if _weighs(s) else [])]
    parts = tuple(Part(name, (s.size,), largest) for name in names)
    if s.shared:
        unit = "one example adds its squared clipped gradient"
        return UploadSpec(f"{s.name}-fisher", parts, 2.0**s.encoding.scale_bits / bound, bound, s.size, unit)
    steps = 2 ** (s.encoding.fisher_bits - 1) - 1
    return UploadSpec(f"{s.name}-fisher", parts, steps / largest, None, None, "private before it is sent")


def _weighs(s: GradientStrategy) -> bool:
    # With shared noise all clients stand at the server's weights, which need no sum of their own.
    return "fisher_weights" in s.method.beside and not s.shared


def update_parts(
    s: GradientStrategy, trainer: Trainer, state: State, visit: Visit, trained: Trained, loss: ExampleLoss
) -> dict[str, Values]:
    """Return the parts of `update_upload`; all of them come from noisy gradients, or from none where there is none."""
    if s.method.mean == "none":
        return {"nothing": np.zeros(1)}
    weight = _weight(s, visit) if s.method.mean == "weighted" else 1.0
    parts = {"update": weight * trained.update}
    if trained.path is not None:
        parts["path"] = trained.path / _path_unit(s)
    if s.method.mean == "weighted":
        parts["weight"] = np.array([weight * s.encoding.update_clip])
    if "reference" in s.method.beside:
        parts["reference"] = _local_reference(s, trainer, state, visit, loss)
    return parts


def _weight(s: GradientStrategy, visit: Visit) -> float:
    """Return a client's noisy number of current examples over its public bound, from 0 to 1."""
    count = float(len(visit.strata[0].y))
    if s.count_noise > 0.0:
        count += float(release_noise(s.count_noise, (1,), visit.coins)[0])
    return min(max(count / s.examples, 0.0), 1.0)


def count_event(s: GradientStrategy) -> Event:
    """Return what one release of a client's number of examples charges."""
    if s.count_noise == 0.0:
        return NonPrivate("number of examples without noise")
    return SampledGaussian(1.0, s.count_noise)


def averaged(s: GradientStrategy, before: Floats, total: Mapping[str, Values], clients: int) -> Floats:
    """Return the new weights: the old ones plus the mean update.

    Weights that sum to less than one example say nothing; the model then stays as it is.
    """
    if s.method.mean == "none":
        return before
    share = float(clients)
    if s.method.mean == "weighted":
        share = float(total["weight"][0]) / s.encoding.update_clip
        if share * s.examples < 1.0:
            return before
    return (before.astype(np.float64) + total["update"] / share).astype(np.float32)


def _path_unit(s: GradientStrategy) -> float:
    # A coordinate that moves by the whole bound in one step has the path clip^2 / rate: that becomes `clip`.
    return s.encoding.update_clip / s.plan.learning_rate


def _local_reference(s: GradientStrategy, trainer: Trainer, state: State, visit: Visit, loss: ExampleLoss) -> Values:
    """Return the noisy mean gradient of the memory: minus the step of one visit at rate 1 on the memory alone."""
    one = replace(s.plan, steps=1, learning_rate=1.0, momentum=0.0, optimizer="sgd")
    memory = replace(visit, strata=[_without(visit.strata[0]), visit.strata[1]], after=None)
    return -next(trainer.visits(state["weights"], [memory], one, loss)).update


def reference_sum(
    s: GradientStrategy, trainer: Trainer, state: State, visit: Visit, loss: ExampleLoss
) -> dict[str, Values]:
    """Return the memory's own clipped gradient sum, by coins of its own, if the method asks for it."""
    if "reference" not in s.method.beside:
        return {}
    memory = replace(visit, strata=[_without(visit.strata[0]), visit.strata[1]])
    return {"reference": next(trainer.sums(state["weights"], [memory], s.plan.clipping_norm, loss))}


def _without(stratum: Stratum) -> Stratum:
    # An empty stratum keeps the numbering of strata.
    extra = stratum.extra[:0] if stratum.extra is not None else None
    return Stratum(stratum.x[:0], stratum.y[:0], 0.0, extra)


def means(s: GradientStrategy, total: Mapping[str, Values], clients: int) -> Means:
    """Return the means of the sums beside the update."""
    found: Means = {}
    if "path" in total:
        found["path"] = (total["path"] / clients * _path_unit(s)).astype(np.float32)
    return found | reference_mean(total, clients)


def reference_mean(total: Mapping[str, Values], share: float) -> Means:
    """Return the mean gradient of the memories, if it was summed."""
    return {"reference": (total["reference"] / share).astype(np.float32)} if "reference" in total else {}


def fisher(s: GradientStrategy, state: State, view: DeviceView, visit: Visit) -> Contribution:
    """Return one client's Fisher information over its current chunk, at its own last model if the method keeps one.

    With its own noise (privacy.statistics.FisherDiagonal) unless it is added inside the sum, or there is none.
    """
    own = view.kept.get("local", state["weights"]) if _weighs(s) else state["weights"]
    chunk = replace(visit, strata=[replace(visit.strata[0], q=s.rates.fisher)])
    found = s.networks.squares(own, chunk, s.plan.clipping_norm, s.head.cross_entropy)
    if s.fisher_noise > 0.0 and not s.shared:
        found = found + release_noise(s.fisher_noise * s.plan.clipping_norm**2, (s.size,), visit.coins).numpy()
    parts = {"fisher": found}
    if _weighs(s):
        parts["fisher_weights"] = found * np.clip(own / LARGEST_WEIGHT, -1.0, 1.0)
    return Contribution(parts, view.kept)


def fisher_means(s: GradientStrategy, weights: Floats, total: Mapping[str, Values], clients: int) -> Means:
    """Return Fisher information per expected example, and the same times the weights it was taken at.

    Noisy entries below three standard deviations of their noise are set to zero: they say nothing but noise, and a
    negative one would push weights away. Post-processing.
    """
    expected = clients * s.plan.denominator / s.rates.current * s.rates.fisher
    parties = 1 if s.shared else clients
    floor = 3.0 * s.fisher_noise * s.plan.clipping_norm**2 * np.sqrt(parties)
    clean = np.where(total["fisher"] > floor, np.maximum(total["fisher"], 0.0), 0.0) / expected
    found: Means = {"fisher": clean.astype(np.float32)}
    if "fisher_weights" in s.method.beside:
        if "fisher_weights" in total:
            pulled = np.where(clean > 0.0, total["fisher_weights"] * LARGEST_WEIGHT / expected, 0.0)
            found["fisher_weights"] = pulled.astype(np.float32)
        else:
            found["fisher_weights"] = found["fisher"] * weights
    return found
