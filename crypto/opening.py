"""The one place that chooses an implementation of a secure sum: sessions for clients and for the other parties."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from crypto.errors import PlanRefused
from crypto.keys.randomness import RandomBytes, system_random
from crypto.keys.roster import Identity, Trust
from crypto.planning.plans import Plan
from crypto.protocols.envelope import Envelope, SealedClient, SealedParty
from crypto.protocols.session import BareClient, ClientSession, Session, SumOpener, plan_roles

if TYPE_CHECKING:
    from crypto.protocols.masks.journal import Journal


def open_client(
    plan: Plan,
    name: str,
    random: RandomBytes = system_random,
    public: object | None = None,
    identity: Identity | None = None,
    journal: Journal | None = None,
) -> ClientSession:
    """Open the session of the client `name`; its messages travel in envelopes (`crypto.protocols.envelope`).

    `public`: the `public` of another client's session in this process, which spares parsing the keys again.
    `identity`: the client's; made fresh if None and the plan has no roster. `journal`: where clients of "secagg" and
    "secagg+" record what they answer (`crypto.protocols.masks.journal`).

    Raises:
        PlanRefused: the plan has no such client, or the identity is not the one that the plan's roster pins.
    """
    if name not in plan.clients:
        raise PlanRefused(f"the plan has no client {name!r}; it has {len(plan.clients)} others")
    identity, trust = _identity(plan, name, identity), Trust(plan.roster)
    envelope = _envelope(plan, identity, trust)
    return SealedClient(plan, _bare_client(plan, name, random, public, identity, journal), envelope)


def _bare_client(
    plan: Plan,
    name: str,
    random: RandomBytes,
    public: object | None,
    identity: Identity,
    journal: Journal | None,
) -> BareClient:
    match plan.protocol:
        case "plain":
            from crypto.protocols.plain import PlainClient

            return PlainClient(plan, name)
        case "bfv":
            from crypto.protocols.bfv.sessions import BfvClient

            return BfvClient(plan, identity, random, public)
        case "mpc":
            from crypto.protocols.mpc.client import MpcClient

            return MpcClient(plan, name, random, public)
        case "secagg" | "secagg+":
            from crypto.protocols.masks.client import MaskClient

            return MaskClient(plan, identity, random, public, journal)
    assert_never(plan.protocol)


def open_party(
    plan: Plan,
    role: str,
    random: RandomBytes = system_random,
    opener: SumOpener | None = None,
    identity: Identity | None = None,
) -> Session:
    """Open the session of one of `plan_roles(plan)`; its messages travel in envelopes (`crypto.protocols.envelope`).

    The computing servers of "mpc" need an `opener`, and so a process each: `crypto.running.processes` sees to it.
    `identity`: as for `open_client`.

    Raises:
        PlanRefused: a role that the plan does not have, a computing server without an opener, or an identity that the
            plan's roster does not pin.
    """
    if role not in plan_roles(plan):
        raise PlanRefused(f"the protocol {plan.protocol} has no {role!r}; its parties are {plan_roles(plan)}")
    identity, trust = _identity(plan, role, identity), Trust(plan.roster)
    return SealedParty(_bare_party(plan, role, random, opener, trust), _envelope(plan, identity, trust))


def _bare_party(plan: Plan, role: str, random: RandomBytes, opener: SumOpener | None, trust: Trust) -> Session:
    match plan.protocol:
        case "plain":
            from crypto.protocols.plain import PlainServer

            return PlainServer(plan)
        case "bfv":
            if role == "server":
                from crypto.protocols.bfv.sessions import BfvServer

                return BfvServer(plan, trust)
            from crypto.protocols.bfv.keyholder import BfvKeyHolder

            return BfvKeyHolder(plan, trust, random)
        case "mpc":
            from crypto.protocols.mpc.servers import ComputeServer, Dealer, MpcServer

            if role == "server":
                return MpcServer(plan)
            if role == "dealer":
                return Dealer()
            if opener is None:
                raise PlanRefused(f"{role} runs in a process of its own; start it with crypto.host_parties")
            return ComputeServer(plan, role, random, opener)
        case "secagg" | "secagg+":
            from crypto.protocols.masks.server import MaskServer

            return MaskServer(plan)
    assert_never(plan.protocol)


def _identity(plan: Plan, name: str, identity: Identity | None) -> Identity:
    if identity is None and plan.roster is None:
        return Identity.new(name)
    if identity is None or identity.name != name:
        raise PlanRefused(f"{name!r} needs its own identity, as the plan has a roster; load it with Identity.load")
    if plan.roster is not None:
        missing = [party for party in (name, *plan_roles(plan)) if party not in plan.roster.keys]
        if missing or plan.roster.keys[name] != identity.public:
            raise PlanRefused(
                f"the plan's roster lacks {missing} or pins another key for {name!r}; write it from these identities"
            )
    return identity


def _envelope(plan: Plan, identity: Identity, trust: Trust) -> Envelope:
    return Envelope(plan, identity, trust)
