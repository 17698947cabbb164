"""The interface that every secure-sum protocol implements, and what is public about each protocol.

Sessions do no input or output: they eat items and return items, and whoever runs them carries the messages.

One sum goes like this. `Begin(round, upload)` is given to the server; each client's `submit` returns
messages; when all clients have arrived, or at `Deadline(round, upload)`, the server ends the sum with an
`Aggregate` or an `Abort`; if an answer that it waits for is lost, a later deadline gives the `Abort`. A round
is opened once; messages of rounds that are not open, of other sessions, duplicates and malformed payloads
change nothing and give an empty answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from crypto.planning.plans import Hiding, Plan
from crypto.wire.messages import Input, Item, Message


@runtime_checkable
class Session(Protocol):
    """One party's side of the protocol."""

    @property
    def name(self) -> str:
        """The name under which this party sends and receives."""
        ...

    def start(self) -> tuple[Item, ...]:
        """Return the key set-up messages; call it once, before anything else."""
        ...

    def on(self, item: Input) -> tuple[Item, ...]:
        """Take one item and return what follows from it; never raises on a bad message."""
        ...


@runtime_checkable
class ClientSession(Session, Protocol):
    """A client's side: it also submits vectors."""

    @property
    def ready(self) -> bool:
        """Whether the public keys have arrived, so that `submit` may be called."""
        ...

    @property
    def public(self) -> object | None:
        """The parsed public keys, to hand to `open_client` for other clients of this process; None before
        `ready`.
        """
        ...

    def submit(
        self,
        round: int,
        upload: str,
        vector: npt.NDArray[np.int64],
        noise: npt.NDArray[np.int64] | None = None,
        *,
        model: bytes = b"",
    ) -> tuple[Message, ...]:
        """Protect one vector (int64, flat, of the upload's length) and return the messages to send.

        `noise`: the client's noise share, of the same type and shape. It is added to the vector, or travels apart
        if the upload's norms are checked. Vector and share have bounds of their own: |vector| <= `bound` and |share| <=
        `noise_bound` in every entry, which no sum of vectors can wrap under. That the *sum* of the shares keeps
        `noise_bound` is the promise of whoever draws them, up to `noise_excess`.
        `model`: a digest, at most 64 bytes, of the model or the statistic that the vector belongs to. Vectors of
        different models do not add up, and whoever opens sums (the clients under masks, the key holder, both
        computing servers) opens only sums of disjoint cohorts of an upload at one model, as at one round. "plain"
        hides nothing and ignores it.

        Raises:
            SubmissionRefused: a wrong type or shape, an entry of vector or noise beyond its bound, a norm beyond
                it, a round or upload outside the plan, a second vector for the same sum, or keys that have not arrived.
        """
        ...


@runtime_checkable
class BareClient(Session, Protocol):
    """What a protocol implements for a client: `ClientSession` without envelope and noise."""

    @property
    def ready(self) -> bool:
        """See `ClientSession.ready`."""
        ...

    @property
    def public(self) -> object | None:
        """See `ClientSession.public`."""
        ...

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64], model: bytes = b"") -> tuple[Message, ...]:
        """See `ClientSession.submit`."""
        ...


@dataclass(frozen=True, eq=False)
class Opened:
    """What two computing servers learn together: who passed the norm check, in the order of the shares, and the
    sum of those who did, modulo 2^64; None if they are too few.
    """

    accepted: tuple[bool, ...]
    total: npt.NDArray[np.int64] | None


class SumOpener(Protocol):
    """How one computing server opens a sum together with the other (see `crypto.protocols.mpc.crypten_backend`).

    Shares are int64 of shape (parts, clients, length): the vectors, and if there is a second part the noise.
    """

    def offer(self, digest: bytes, shares: npt.NDArray[np.int64]) -> None:
        """Keep this server's shares of one sum, named by 32 bytes, until `open` or `withdraw`."""
        ...

    def withdraw(self, digest: bytes) -> None:
        """Forget an offer, if there is one."""
        ...

    def open(self, digest: bytes, norm_bounds: tuple[int, ...], least: int) -> Opened | None:
        """Open the sum over parts and clients once both servers have offered it; None if their digests differ.

        `norm_bounds`: for each part the bound that every client's norm must keep, checked without opening it; empty
        for no check. Fewer than `least` accepted clients are not summed.
        """
        ...


def hiding(plan: Plan) -> Hiding:
    """What keeps one client's vector from the server: nothing, encryption for another party, or secret shares."""
    return plan.rules.hiding


def plan_roles(plan: Plan) -> tuple[str, ...]:
    """Name the parties besides the clients, the server first."""
    return plan.roles
