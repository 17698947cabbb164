"""Threat models and views: what an adversary may see of a transcript, and nothing else.

A transcript is a mapping from field names to plain numeric arrays. Which fields a capability reveals is
fixed in `REVEALS`; which capabilities an adversary has is its `ThreatModel`. `View.of` copies exactly the
allowed fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import FieldNotRevealed, TranscriptInvalid


@unique
class Capability(Enum):
    """One thing an adversary can have. The fields behind each are listed in `REVEALS`."""

    PREDICTIONS = "answers of the final model to the candidates"
    FINAL_MODEL = "weights of the final model"
    MODEL_SEQUENCE = "weights of the global model at every recorded checkpoint"
    SUMS = "every decrypted sum over clients, and the number of clients in it"
    CLIENT_CLEAR = "the updates of one client, outside the protected sum"
    ALL_CLIENTS_CLEAR = "the updates of one client and, apart, of all others, outside the protected sum"
    COLLUDERS = "the updates of clients that work with the adversary"
    MEMORY_AT_REST = "the replay memory of one client"
    ACTIVE_SERVER = "the models a server sent that departs from the protocol"
    SIDE_CHANNELS = "what travels outside the sum: sizes, times, flags"


@dataclass(frozen=True)
class Reveals:
    """Transcript fields behind a capability: it counts only if all of `needs` are there; `may` are extras."""

    needs: frozenset[str]
    may: frozenset[str] = frozenset()


REVEALS: Mapping[Capability, Reveals] = MappingProxyType(
    {
        Capability.PREDICTIONS: Reveals(frozenset({"predictions"})),
        Capability.FINAL_MODEL: Reveals(frozenset({"final_model"})),
        Capability.MODEL_SEQUENCE: Reveals(frozenset({"models", "model_tasks"}), frozenset({"model_rounds"})),
        Capability.SUMS: Reveals(frozenset({"sums", "sum_clients"}), frozenset({"sum_rounds", "participation"})),
        Capability.CLIENT_CLEAR: Reveals(frozenset({"client_updates"}), frozenset({"client_rounds"})),
        Capability.ALL_CLIENTS_CLEAR: Reveals(
            frozenset({"client_updates", "other_updates"}), frozenset({"client_rounds"})
        ),
        Capability.COLLUDERS: Reveals(frozenset({"colluder_updates"}), frozenset({"colluder_rounds"})),
        Capability.MEMORY_AT_REST: Reveals(frozenset({"memory_x", "memory_y"})),
        Capability.ACTIVE_SERVER: Reveals(frozenset({"sent_models"}), frozenset({"sent_rounds"})),
        Capability.SIDE_CHANNELS: Reveals(
            frozenset({"message_bytes"}), frozenset({"message_seconds", "class_flags", "task_flags"})
        ),
    }
)
"""Fields by capability. Shapes: predictions (n, classes) aligned with the candidates; final_model (d,);
models (T, d) with model_tasks (T,), the task in training when the checkpoint was taken (-1: before any) and
model_rounds (T,); sums (R, d) with sum_clients (R,); participation (R, clients) of 0 and 1; other_updates (R,
clients - 1, d), all other *_updates (R, d); memory_x (m, ...), memory_y (m,); sent_models (R, d); message_*
one number per message."""


@dataclass(frozen=True)
class ThreatModel:
    """A named set of capabilities."""

    name: str
    capabilities: frozenset[Capability]

    @property
    def fields(self) -> frozenset[str]:
        """Names of all transcript fields that this adversary may see: the allow-list."""
        return frozenset().union(*(REVEALS[c].needs | REVEALS[c].may for c in self.capabilities))


def _threat(name: str, *capabilities: Capability) -> ThreatModel:
    return ThreatModel(name, frozenset(capabilities))


_MODELS = (Capability.PREDICTIONS, Capability.FINAL_MODEL, Capability.MODEL_SEQUENCE)
BLACK_BOX = _threat("black box", Capability.PREDICTIONS)
FINAL_MODEL = _threat("final model", Capability.PREDICTIONS, Capability.FINAL_MODEL)
ALL_MODELS = _threat("all models", *_MODELS)
SUMS_ONLY = _threat("sums only", *_MODELS, Capability.SUMS)
ONE_CLIENT_CLEAR = _threat("one client in the clear", *_MODELS, Capability.SUMS, Capability.CLIENT_CLEAR)
ALL_CLIENTS_CLEAR = _threat(
    "all clients in the clear", *_MODELS, Capability.SUMS, Capability.CLIENT_CLEAR, Capability.ALL_CLIENTS_CLEAR
)
COLLUDERS = _threat("colluders", *_MODELS, Capability.SUMS, Capability.COLLUDERS)
MEMORY_AT_REST = _threat("memory at rest", *_MODELS, Capability.MEMORY_AT_REST)
ACTIVE_SERVER = _threat("active server", *_MODELS, Capability.SUMS, Capability.ACTIVE_SERVER)
SIDE_CHANNELS = _threat("side channels", *_MODELS, Capability.SIDE_CHANNELS)


def _own_copy(name: str, value: object) -> NDArray[Any]:
    """A read-only array that shares no memory, base or metadata with the transcript."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TranscriptInvalid(
            f"transcript field {name!r} has type {array.dtype}, but only numbers and booleans can be "
            "revealed; convert it to a numeric array or leave it out"
        )
    # Filling a new array drops what np.array would carry over: subclass, base buffer and dtype metadata.
    own = np.empty(array.shape, dtype=np.dtype(array.dtype.str))
    own[...] = array
    own.setflags(write=False)
    return own


@dataclass(frozen=True)
class View:
    """What one adversary saw. Built by `View.of`; nothing outside the allow-list is reachable from it."""

    threat: ThreatModel
    _arrays: Mapping[str, NDArray[Any]] = field(repr=False)

    @classmethod
    def of(cls, threat: ThreatModel, transcript: Mapping[str, Any]) -> View:
        """The part of `transcript` that `threat` may see, copied.

        Fields outside the allow-list are not looked at; allowed fields that the transcript lacks are left
        out, and a capability without all its fields is then absent from `capabilities`. An empty transcript
        gives a view without capabilities.

        Raises:
            TranscriptInvalid: an allowed field is no plain numeric array, or `models` and `model_tasks` do
                not fit.
        """
        arrays = {name: _own_copy(name, transcript[name]) for name in sorted(threat.fields) if name in transcript}
        models, tasks = arrays.get("models"), arrays.get("model_tasks")
        if models is not None and tasks is not None and (models.ndim != 2 or tasks.shape != models.shape[:1]):
            raise TranscriptInvalid(
                f"models has shape {models.shape} and model_tasks {tasks.shape}; they must be (T, d) and (T,)"
            )
        return cls(threat, MappingProxyType(arrays))

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The threat model's capabilities whose fields are all there."""
        return frozenset(c for c in self.threat.capabilities if REVEALS[c].needs <= self._arrays.keys())

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields in this view."""
        return frozenset(self._arrays)

    def array(self, name: str) -> NDArray[Any]:
        """The field `name`, read-only.

        Raises:
            FieldNotRevealed: the threat model hides it, or the transcript did not hold it.
        """
        if name not in self._arrays:
            raise FieldNotRevealed(
                f"the view {self.threat.name!r} does not hold {name!r} (it holds {sorted(self._arrays)}); "
                "use a stronger threat model, or record the field in the transcript"
            )
        return self._arrays[name]
