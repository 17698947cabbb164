"""Class arrival from the sum (G-ARR): has a new class appeared this round, and with which client?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.errors import TranscriptInvalid
from attacks.games.attack import FloatArray
from attacks.games.play import Game
from attacks.games.views import Capability, View

ARRIVAL = Game("class arrival from the sum", "did a new class enter the clients' data in this round?")
"""Class arrival (G-ARR).

n clients; b = 1: one client's batch of round t holds s examples of a class c that no one has had before; b = 0: it
does not. The adversary sees the sums over clients (after clipping and noise) and which clients took part, and outputs a
score per (round, class); in the attribution variant also the client. This is no question about one example: an epsilon
per example bounds it only through groups of s examples."""


@dataclass(frozen=True)
class ArrivalScores:
    """Scores by round for one class, and by client.

    Attributes:
        rounds: (R,), higher: the class is more likely in that round's sum.
        clients: (n,), higher: rather this client brings it; all 0 if participation never differs.
    """

    rounds: FloatArray
    clients: FloatArray

    def top_client(self) -> int:
        """The client accused. With equal scores the first."""
        return int(self.clients.argmax())


def class_arrival(view: View, bias: slice, label: int) -> ArrivalScores:
    """Reads a class's arrival off its output bias, the only entry whose gradient is negative where it is present.

    The bias gradient of class c sums p_c - 1[y = c] over examples: only examples of the class make it negative. An
    update is minus a gradient, so sums of updates are read with their sign as they are (higher: rather arrived).

    Attribution regresses the score on participation (least squares over rounds, as PROLIN does: Kerkouche et al. 2023,
    arXiv 2303.03908).

    Args:
        view: with SUMS; sums are of *updates* (weights gained). `participation` is used where it is there.
        bias: where the last layer's bias lies in the flat vector (`layout.last_linear`).
        label: class c.

    Raises:
        FieldNotRevealed: the view has no sums.
        TranscriptInvalid: the slice or the label lies outside the vector.
    """
    sums = view.array("sums").astype(np.float64)
    part = sums[:, bias]
    if not 0 <= label < part.shape[1]:
        raise TranscriptInvalid(f"label {label} is outside the bias slice {bias} of sums {sums.shape}")
    # The other classes' mean removes what lowers all biases together; clients' number does not matter then.
    rounds: FloatArray = part[:, label] - np.delete(part, label, axis=1).mean(axis=1)
    if "participation" not in view.fields:
        return ArrivalScores(rounds, np.zeros(0))
    taking_part = view.array("participation").astype(np.float64)
    centred = taking_part - taking_part.mean(axis=0)
    weights = np.linalg.lstsq(centred, rounds - rounds.mean(), rcond=1e-9)[0]
    return ArrivalScores(rounds, np.asarray(weights, dtype=np.float64))


REQUIRES = frozenset({Capability.SUMS})
"""What `class_arrival` needs of a view."""


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """A client whose update can be computed from sums over cohorts.

    Attributes:
        client: who.
        rounds: (R,), weights of the rounds' sums whose combination is the client's update.
        noise_gain: Euclidean norm of the weights: by how much independent noise in the sums grows. 1 is a sum of the
            client alone; sqrt(2) two cohorts that differ by the client.
    """

    client: int
    rounds: FloatArray
    noise_gain: float


def isolated_clients(participation: NDArray[np.generic]) -> tuple[Isolation, ...]:
    """Clients that some combination of cohorts isolates: differencing in general, not of two cohorts alone.

    Holds for rounds at one model (or slowly changing ones): every client then sends the same update. Client j is
    isolated exactly if its unit vector lies in the row space of the participation matrix. The weights returned are
    those of least norm. This is the test of a defence: a plan of cohorts for which the result is not empty should be
    refused, unless the sums carry noise that `noise_gain` leaves large enough.

    Args:
        participation: (R, n) of 0 and 1, cohorts by round.

    Raises:
        TranscriptInvalid: not a matrix of 0 and 1.
    """
    matrix = np.asarray(participation, dtype=np.float64)
    if matrix.ndim != 2 or not np.isin(matrix, (0.0, 1.0)).all():
        raise TranscriptInvalid(f"participation has shape {matrix.shape}; give a matrix (rounds, clients) of 0 and 1")
    if not matrix.size:
        return ()
    inverse = np.linalg.pinv(matrix, rcond=1e-9)
    # Diagonal of the projector onto the row space: 1 exactly for the unit vectors inside it.
    inside = np.einsum("ij,ji->i", inverse, matrix)
    return tuple(
        Isolation(client=int(client), rounds=inverse[client], noise_gain=float(np.linalg.norm(inverse[client])))
        for client in np.flatnonzero(inside > 1 - 1e-9)
    )


def difference_sums(view: View, isolation: Isolation) -> FloatArray:
    """The isolated client's update as the sums give it, (d,).

    Raises:
        TranscriptInvalid: the isolation is about another number of rounds.
    """
    sums = view.array("sums").astype(np.float64)
    if len(sums) != len(isolation.rounds):
        raise TranscriptInvalid(f"{len(sums)} sums, but weights for {len(isolation.rounds)} rounds")
    update: FloatArray = isolation.rounds @ sums
    return update
