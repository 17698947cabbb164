"""What an attack is: candidates in, one score per candidate out, from a view and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from attacks.errors import CandidatesInvalid, CapabilityMissing, ScoresInvalid
from attacks.games.views import Capability, View

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """Examples whose fate the adversary guesses. The truth is not in here.

    Attributes:
        x: float32 (n, ...), the examples.
        y: int64 (n,), their labels.
        cluster: int64 (n,), identifier of the block an example was cut from; examples of one block are
            dependent.
        task: int64 (n,), the task in which an example arrived or would have arrived.

    All are stored as read-only copies. Zero candidates are allowed here and refused by the games.

    Raises:
        CandidatesInvalid: lengths differ, x is not finite, or an integer array holds something else.
    """

    x: NDArray[np.float32]
    y: IntArray
    cluster: IntArray
    task: IntArray

    def __post_init__(self) -> None:
        # What overflows becomes infinite, and is refused below.
        with np.errstate(over="ignore"):
            x = np.array(self.x, dtype=np.float32)
        if x.ndim < 2 or not np.isfinite(x).all():
            raise CandidatesInvalid(
                f"candidates x has shape {x.shape} and {int((~np.isfinite(x)).sum())} values that are not "
                "finite; give a finite array (n, ...) with at least one feature axis"
            )
        x.setflags(write=False)
        object.__setattr__(self, "x", x)
        for name in ("y", "cluster", "task"):
            object.__setattr__(self, name, _integers(name, getattr(self, name), len(x)))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: NDArray[Any]) -> Candidates:
        """The candidates at `index` (integers or a boolean mask), in that order."""
        return Candidates(self.x[index], self.y[index], self.cluster[index], self.task[index])


def _integers(name: str, value: object, length: int) -> IntArray:
    array = np.asarray(value)
    if array.shape != (length,) or array.dtype.kind not in "iu":
        raise CandidatesInvalid(
            f"candidates {name} has type {array.dtype} and shape {array.shape}; "
            f"give one integer for each of the {length} candidates"
        )
    own = np.array(array, dtype=np.int64)
    own.setflags(write=False)
    return own


def contents(candidates: Candidates) -> list[bytes]:
    """What each candidate is to a model, its example and its label, as bytes that are equal exactly if it is."""
    return [
        x.tobytes() + int(y).to_bytes(8, "little", signed=True)
        # A zero has two signs, and no network tells them apart.
        for x, y in zip(candidates.x + np.float32(0.0), candidates.y, strict=True)
    ]


def repeated(candidates: Candidates) -> NDArray[np.bool_]:
    """Which candidates occur more than once, example and label alike, bool (n,); every occurrence is marked."""
    keys = contents(candidates)
    count = Counter(keys)
    return np.array([count[key] > 1 for key in keys], dtype=np.bool_)


class Attack(Protocol):
    """A scoring rule. A higher score means: rather a member (or: rather retained)."""

    @property
    def name(self) -> str:
        """A short name for reports."""

    @property
    def requires(self) -> frozenset[Capability]:
        """Capabilities without which the attack cannot run."""

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """One finite score per candidate, (n,)."""


def run_attack(attack: Attack, view: View, candidates: Candidates) -> FloatArray:
    """Scores of `attack`, after checking that the view suffices.

    Raises:
        CapabilityMissing: the view lacks a capability the attack requires.
        ScoresInvalid: the scores are not one finite number per candidate.
    """
    missing = attack.requires - view.capabilities
    if missing:
        names = ", ".join(sorted(capability.name for capability in missing))
        raise CapabilityMissing(
            f"attack {attack.name!r} needs {names}, which the view {view.threat.name!r} does not have; "
            "choose an attack for this threat model, or record the fields in the transcript"
        )
    scores = np.asarray(attack.score(view, candidates), dtype=np.float64)
    if scores.shape != (len(candidates),) or not np.isfinite(scores).all():
        raise ScoresInvalid(
            f"attack {attack.name!r} returned scores of shape {scores.shape} with "
            f"{int((~np.isfinite(scores)).sum())} values that are not finite; "
            f"it must return {len(candidates)} finite numbers"
        )
    return scores


Losses = Callable[[NDArray[np.float32], NDArray[np.float32], IntArray], NDArray[Any]]
"""(weights (d,), x (n, ...), y (n,)) -> per-example cross-entropy losses (n,), float64, finite and above 0.

A model's forward pass, supplied by the caller; `modules.losses_of` makes one from a torch module."""
