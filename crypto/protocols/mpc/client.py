"""Sums by two computing servers on additive shares modulo 2^64.

A client splits x into PRG(seed) and x - PRG(seed), and seals the seed for one computing server and the
difference for the other, so that nobody on the way can add the two. The computing servers report to the
server who arrived; the server names the clients to sum; both computing servers check the list, tell each other
that they are ready, and open the sum together (CrypTen, see `crypto.protocols.mpc.crypten_backend`).

If the plan bounds norms, the noise share is split apart from the vector, and both are checked on shares first
(`crypto.planning.norms`): who exceeds a bound is left out. One accept bit for each client is revealed.

This file holds the clients' side; `crypto.protocols.mpc.servers` the others.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from crypto.errors import SubmissionRefused
from crypto.keys.exchange import usable_hybrid
from crypto.keys.randomness import KeyedStream, RandomBytes, derive_key
from crypto.keys.sealed import seal
from crypto.keys.secrecy import holds_secrets
from crypto.planning.norms import exact_norm_square
from crypto.planning.plans import Plan
from crypto.planning.upload import SEED_BYTES
from crypto.protocols.bookkeeping import Submissions
from crypto.wire.messages import Input, Item, Message

COMPUTE = ("compute0", "compute1")
SET_UP = (0, "-")
Vector = npt.NDArray[np.int64]


def expand(seed: bytes, length: int) -> Vector:
    """The share that a 32-byte seed stands for: `length` pseudo-random int64 (AES-256-CTR, key by HKDF)."""
    stream = KeyedStream(derive_key(seed, "additive share 1"))
    return np.frombuffer(stream(8 * length), dtype="<i8")


@holds_secrets
class MpcClient:
    """Splits and seals its vectors."""

    def __init__(self, plan: Plan, name: str, random: RandomBytes, public: object | None = None) -> None:
        self.name = name
        self._plan = plan
        self._random = random
        self._submissions = Submissions(plan)
        self._keys: dict[str, bytes] = dict(public) if isinstance(public, dict) else {}

    @property
    def ready(self) -> bool:
        """Whether both computing servers' keys are here."""
        return len(self._keys) == len(COMPUTE)

    @property
    def public(self) -> object | None:
        """The computing servers' public keys, or None before they are here."""
        return dict(self._keys) if self.ready else None

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """Take the computing servers' public keys; the first of each counts."""
        if not isinstance(item, Message) or item.session != self._plan.session or item.kind != "key":
            return ()
        if item.sender in COMPUTE and usable_hybrid(item.payload):
            self._keys.setdefault(item.sender, item.payload)
        return ()

    def submit(self, round: int, upload: str, vector: Vector, model: bytes = b"") -> tuple[Message, ...]:
        """See `ClientSession.submit`: a sealed seed for compute0, a sealed difference for compute1."""
        self._check(round, upload, vector, model)
        if self._plan.find(upload).noise_norm_bound:
            vector = np.concatenate([vector, np.zeros_like(vector)])
        return self._split(round, upload, vector, model)

    def submit_apart(
        self, round: int, upload: str, vector: Vector, noise: Vector, model: bytes = b""
    ) -> tuple[Message, ...]:
        """The same with a noise share; one whose norm is bounded is split and checked apart from the vector."""
        declared = self._plan.find(upload)
        if not declared.noise_norm_bound:
            return self.submit(round, upload, vector + noise, model)
        if not isinstance(noise, np.ndarray) or noise.dtype != np.int64 or noise.shape != (declared.length,):
            raise SubmissionRefused(f"the noise of {upload!r} is not int64 of shape ({declared.length},); make it so")
        _within(noise, declared.noise_norm_bound, "noise share")
        self._check(round, upload, vector, model)
        return self._split(round, upload, np.concatenate([vector, noise]), model)

    def _check(self, round: int, upload: str, vector: Vector, model: bytes) -> None:
        if not self.ready:
            raise SubmissionRefused("the computing servers' keys have not arrived; deliver their start messages")
        self._submissions.check(round, upload, vector, model)
        declared = self._plan.find(upload)
        if declared.norm_bound:
            _within(vector, declared.norm_bound, "vector")

    def _split(self, round: int, upload: str, vector: Vector, model: bytes) -> tuple[Message, ...]:
        seed = self._random(SEED_BYTES)
        rest = (vector - expand(seed, vector.size)).astype("<i8", copy=False).tobytes()
        sent = []
        for receiver, share in zip(COMPUTE, (seed, rest), strict=True):
            context = (self._plan.session, round, upload, model, self.name, receiver)
            payload = bytes([len(model)]) + model + seal(self._keys[receiver], share, context, self._random)
            sent.append(
                Message(
                    sender=self.name,
                    receiver=receiver,
                    kind="share",
                    session=self._plan.session,
                    round=round,
                    upload=upload,
                    payload=payload,
                )
            )
        return tuple(sent)


def _within(vector: Vector, bound: int, what: str) -> None:
    square = exact_norm_square(vector)
    if square > bound * bound:
        raise SubmissionRefused(
            f"the {what} has norm {math.isqrt(square)}, above the plan's {bound}, and would be refused; clip it, or "
            "draw the noise again"
        )
