"""The one place that opens the sessions of a secure sum, for clients and for the other parties."""

from __future__ import annotations

import hashlib
from itertools import count

from crypto.errors import PlanRefused
from crypto.keys.randomness import RandomBytes, encode_labels, system_random
from crypto.keys.roster import Identity, Trust
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Journal
from crypto.protocols.catalogue import entry_of
from crypto.protocols.entry import ClientSeat, PartySeat
from crypto.protocols.envelope import Envelope, SealedClient, SealedParty, SharedPublic
from crypto.protocols.session import ClientSession, Session, SumOpener, plan_roles


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
    "secagg+" record what they answer, and at which models they were summed, in this session and later ones
    (`crypto.protocols.masks.journal`).

    Raises:
        PlanRefused: the plan has no such client, the identity is not the one that the plan's roster pins, or `public`
            is of another plan.
    """
    if name not in plan.places:
        raise PlanRefused(f"the plan has no client {name!r}; it has {len(plan.clients)} others")
    if public is not None and (not isinstance(public, SharedPublic) or public.plan != plan.digest):
        raise PlanRefused("public= is of another plan, whose checks do not count here; give that of this plan's client")
    identity, trust = _identity(plan, name, identity), Trust(plan.roster)
    shared = public.of if isinstance(public, SharedPublic) else None
    seat = ClientSeat(plan=plan, identity=identity, random=random, public=shared, journal=journal)
    envelope = Envelope(plan, identity, trust, journal, random, first=_first(plan, name, journal))
    return SealedClient(plan, entry_of(plan.protocol).client(seat), envelope)


def open_party(
    plan: Plan,
    role: str,
    random: RandomBytes = system_random,
    opener: SumOpener | None = None,
    identity: Identity | None = None,
    journal: Journal | None = None,
    threads: int = 1,
) -> Session:
    """Open the session of one of `plan_roles(plan)`; its messages travel in envelopes (`crypto.protocols.envelope`).

    The computing servers of "mpc" need an `opener`, and so a process each: `crypto.running.processes` sees to it.
    `identity`: as for `open_client`. `journal`: where the key holder and the computing servers record whose vectors
    were summed at which model, so that a later session cannot sum them again (`crypto.protocols.masks.FileJournal`).
    `threads`: on how many the server of "secagg" and "secagg+" adds vectors and takes masks off, one more vector of
    memory each.

    Raises:
        PlanRefused: a role that the plan does not have, a computing server without an opener, or an identity that the
            plan's roster does not pin.
    """
    if role not in plan_roles(plan):
        raise PlanRefused(f"the protocol {plan.protocol} has no {role!r}; its parties are {plan_roles(plan)}")
    identity, trust = _identity(plan, role, identity), Trust(plan.roster)
    seat = PartySeat(plan=plan, role=role, random=random, trust=trust, opener=opener, journal=journal, threads=threads)
    envelope = Envelope(plan, identity, trust, first=_first(plan, role, journal))
    return SealedParty(entry_of(plan.protocol).party(seat), envelope)


def _first(plan: Plan, name: str, journal: Journal | None) -> int:
    """The running number of a party's first message: one that starts again with its journal is no replay of itself."""
    starts = (hashlib.sha256(encode_labels(("start", plan.digest, name, start))).hexdigest() for start in count())
    return next(start for start, entry in enumerate(starts) if journal is None or journal.claim(f"start {entry}")) << 32


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
