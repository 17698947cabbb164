"""A server that departs from the protocol, tried on the run's own protocol: does it refuse, and what if it does not?

The parties of the secure sum are rehearsed in this process with the run's kind of protection, and clients name what
they were sent as the run's clients do. A probe that comes through then meets the noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from attacks.gradients.worlds import clipped_gradients
from attacks.modules.functions import gradients_of
from attacks.sums.active_server import ISOLATED, Probe, probe_suppression
from crypto.errors import CryptoError, PlanRefused
from crypto.keys.randomness import system_random
from crypto.planning.upload import Upload
from crypto.protocols.plans import plan
from crypto.protocols.session import ClientSession
from crypto.running.driver import MAX_DEADLINES, Outcome, deliver, set_up
from crypto.running.rehearsal import rehearse
from crypto.vectors.encoding import FixedPoint
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline
from secure_fcl.auditing.world import AuditWorld
from secure_fcl.engines.identities import state_digest
from secure_fcl.errors import SumAborted
from secure_fcl.randomness import public_generator

Vector = NDArray[np.float64]
_UPLOAD, _STEPS, _CLIENTS = "gradient", 2**20, 5
"""One upload, integer steps per clipping norm, and clients that are rehearsed: the answer does not depend on more."""


class _Sums:
    """Sums of the clients' clipped gradients under the run's kind of protection, with clients left out at will."""

    def __init__(self, world: AuditWorld, clients: int, length: int) -> None:
        norm = world.strategy.dpsgd.clipping_norm
        self._encoder = FixedPoint(scale=_STEPS / norm, clip=norm)
        self._names = tuple(f"client{k}" for k in range(clients))
        made = plan(
            world.plan.config.protection,
            self._names,
            (Upload(name=_UPLOAD, length=length, bound=self._encoder.bound),),
            8,
            1,
        )
        self._parties = rehearse(made)
        set_up(self._parties)
        self._number = 0

    def run(self, vectors: Sequence[Vector], models: Sequence[NDArray[np.float32]], left_out: int | None) -> Vector:
        """Return the sum.

        Raises:
            SumAborted: the parties refused.
        """
        number, outcomes = self._number, deliver(self._parties, (), inputs={"server": (Begin(self._number, _UPLOAD),)})
        self._number += 1
        for k, (vector, model) in enumerate(zip(vectors, models, strict=True)):
            client = self._parties[self._names[k]]
            if k == left_out or not isinstance(client, ClientSession):
                continue
            values = self._encoder.encode(vector, system_random).values
            # The same round each time: a server that asks again for what it had.
            digest = state_digest({"weights": model}, "one round")
            outcomes += deliver(self._parties, client.submit(number, _UPLOAD, values, model=digest))
        return self._decoded(number, outcomes)

    def _decoded(self, number: int, outcomes: list[Outcome]) -> Vector:
        for _ in range(MAX_DEADLINES):
            if not outcomes:
                outcomes = deliver(self._parties, (), inputs={"server": (Deadline(number, _UPLOAD),)})
        outcome = outcomes[0] if outcomes else Abort("", number, _UPLOAD, "no answer to any deadline")
        if not isinstance(outcome, Aggregate):
            raise SumAborted(outcome.reason)
        return np.asarray(self._encoder.decode(outcome.total))


def probe_servers(world: AuditWorld) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return what differencing and a model for each client get out of the row's sums, and what was not tried."""
    examples = _one_example_each(world)
    if len(examples) < 3:
        return [], ("servers that depart from the protocol: fewer than three clients have data in the first slot",)
    module, weights = world.strategy.network(world.strategy.initial()), world.model_after(0)
    norm = world.strategy.dpsgd.clipping_norm

    def gradient(model: NDArray[np.float32], number: int) -> Vector:
        rows = clipped_gradients(gradients_of(module, model), *examples[number], norm)
        return np.asarray(rows[0].double().numpy())

    honest = [gradient(weights, number) for number in range(len(examples))]
    try:
        found = [_differencing(world, honest, weights)]
    except PlanRefused as error:
        return [], (f"servers that depart from the protocol: it could not be rehearsed ({error})",)

    crashes: list[Exception] = []

    def system(models: NDArray[np.float32]) -> Vector:
        try:
            sums = _Sums(world, len(examples), len(weights))
            return sums.run([gradient(model, number) for number, model in enumerate(models)], list(models), None)
        except (SumAborted, CryptoError):
            raise
        except Exception as error:
            # The probe takes whatever is raised for a refusal.
            crashes.append(error)
            raise

    try:
        probe = probe_suppression(system, module, weights, (0, honest[0]), len(examples))
    except InversionInvalid as error:
        return found, (f"a model for each client: {error}",)
    if crashes:
        raise crashes[0]
    return [*found, *_with_noise(world, probe, weights, honest[0])], ()


def _one_example_each(world: AuditWorld) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    scenario = world.plan.scenario
    rng = public_generator(world.plan.config.seed, "active server")
    train = np.flatnonzero(scenario.data.train & (world.slot_of == 0))
    who = np.unique(scenario.owner[train])[:_CLIENTS]
    return [world.examples(rng.choice(train[scenario.owner[train] == k], 1)) for k in who]


def _differencing(world: AuditWorld, honest: Sequence[Vector], weights: NDArray[np.float32]) -> dict[str, Any]:
    """Ask for two sums at one model, the second without client 0, and subtract."""
    sums, name = _Sums(world, len(honest), len(weights)), "differencing of cohorts"
    models = [weights] * len(honest)
    try:
        first, second = sums.run(honest, models, None), sums.run(honest, models, 0)
    except SumAborted as refusal:
        return asdict(Probe(name=name, refused=str(refusal), recovered=0.0, n=1, median_psnr=None)) | {"noise": "off"}
    cosine = _cosine(first - second, honest[0])
    return asdict(
        Probe(name=name, refused=None, recovered=float(cosine > ISOLATED), n=1, median_psnr=None, similarity=cosine)
    ) | {"noise": "off"}


def _with_noise(world: AuditWorld, probe: Probe, weights: NDArray[np.float32], alone: Vector) -> list[dict[str, Any]]:
    """Return a probe, and if it came through, how like the target's update the isolated part is under the noise."""
    found: list[dict[str, Any]] = [asdict(probe) | {"noise": "off"}]
    if probe.refused is None and probe.recovered > 0 and world.noise_of_sum > 0:
        draw = public_generator(world.plan.config.seed, "server noise")
        cosine = _cosine(alone + world.noise_of_sum * draw.normal(size=len(weights)), alone)
        under: Mapping[str, Any] = {"noise": "as ran", "recovered": float(cosine > ISOLATED), "similarity": cosine}
        found.append({**asdict(probe), **under})
    return found


def _cosine(one: Vector, other: Vector) -> float:
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / scale if scale > 0 else 0.0
