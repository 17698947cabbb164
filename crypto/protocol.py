"""The interface that every secure-sum protocol implements, and the one place that chooses an implementation.

Sessions do no input or output: they eat items and return items, and whoever runs them carries the messages.

One sum goes like this. `Begin(round, upload)` is given to the server; each client's `submit` returns
messages; when all clients have arrived, or at `Deadline(round, upload)`, the server ends the sum with an
`Aggregate` or an `Abort`. A round is opened once; messages of rounds that are not open, of other sessions,
duplicates and malformed payloads change nothing and give an empty answer.
"""

from typing import Protocol, assert_never, runtime_checkable

import numpy as np
import numpy.typing as npt

from crypto.errors import PlanRefused
from crypto.messages import Begin, Deadline, Input, Item, Message
from crypto.planning import Plan
from crypto.randomness import RandomBytes, system_random

__all__ = [
    "Begin",
    "ClientSession",
    "Deadline",
    "Session",
    "SumOpener",
    "open_client",
    "open_party",
    "plan_roles",
]


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

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64]) -> tuple[Message, ...]:
        """Protect one vector (int64, flat, of the upload's length) and return the messages to send.

        Raises SubmissionRefused for a wrong type or shape, an entry beyond the plan's bound (noise included),
        a round or upload outside the plan, a second vector for the same sum, or if the keys have not arrived.
        """
        ...


class SumOpener(Protocol):
    """How one computing server opens a sum together with the other (see `crypto.crypten_backend`)."""

    def open_sum(self, share: npt.NDArray[np.int64], digest: bytes) -> npt.NDArray[np.int64] | None:
        """Return the sum of both servers' shares modulo 2^64, or None if their digests (32 bytes) differ."""
        ...


def plan_roles(plan: Plan) -> tuple[str, ...]:
    """Name the parties besides the clients, the server first."""
    match plan.protocol:
        case "plain":
            return ("server",)
        case "bfv":
            return ("server", "keyholder")
        case "mpc":
            return ("server", "compute0", "compute1")
    assert_never(plan.protocol)


def open_client(
    plan: Plan, name: str, random: RandomBytes = system_random, public: object | None = None
) -> ClientSession:
    """Open the session of the client `name`.

    `public`: the `public` of another client's session in this process, which spares parsing the keys again.
    Raises PlanRefused if the plan has no such client.
    """
    if name not in plan.clients:
        raise PlanRefused(f"The plan has no client {name!r}; it has {len(plan.clients)} others.")
    match plan.protocol:
        case "plain":
            from crypto.plain import PlainClient

            return PlainClient(plan, name)
        case "bfv":
            from crypto.bfv import BfvClient

            return BfvClient(plan, name, public)
        case "mpc":
            from crypto.mpc import MpcClient

            return MpcClient(plan, name, random, public)
    assert_never(plan.protocol)


def open_party(plan: Plan, role: str, random: RandomBytes = system_random, opener: SumOpener | None = None) -> Session:
    """Open the session of one of `plan_roles(plan)`.

    The computing servers of "mpc" need an `opener`, and so a process each: `crypto.hosting` sees to it.
    Raises PlanRefused for a role that the plan does not have, or a computing server without an opener.
    """
    if role not in plan_roles(plan):
        raise PlanRefused(f"The protocol {plan.protocol} has no {role!r}; its parties are {plan_roles(plan)}.")
    match plan.protocol:
        case "plain":
            from crypto.plain import PlainServer

            return PlainServer(plan)
        case "bfv":
            from crypto.bfv import BfvKeyHolder, BfvServer

            return BfvServer(plan) if role == "server" else BfvKeyHolder(plan)
        case "mpc":
            from crypto.mpc import ComputeServer, MpcServer

            if role == "server":
                return MpcServer(plan)
            if opener is None:
                raise PlanRefused(f"{role} runs in a process of its own; start it with crypto.hosting.host_parties.")
            return ComputeServer(plan, role, random, opener)
    assert_never(plan.protocol)
