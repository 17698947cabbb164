"""The laws of every kind of code, each tried by the conformance suite of its package."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from secure_fcl.checking.kinds import Asked, kind_of, loaded
from secure_fcl.checking.laws import Checked, NotApplicable, Trial, tried
from secure_fcl.checking.trials_models import feature_trials, model_trials
from secure_fcl.checking.trials_strategies import method_trials, strategy_trials
from secure_fcl.errors import ConfigInvalid
from secure_fcl.references import file_of

#: Clients of a protocol's bench, entries of its upload, and their bound.
_CLIENTS, _ENTRIES, _BOUND = ("ada", "bob", "cyd", "dan", "eve"), 40, 1000


def check_reference(asked: Asked, seconds: float = 120.0) -> Checked:
    """Return what came of the laws of a user's own code; imports it, which runs it.

    Args:
        asked: what, and for which examples.
        seconds: budget; laws that do not fit into it are not reached.

    Raises:
        ConfigInvalid: it cannot be imported, or its kind cannot be told.
    """
    found = loaded(asked.reference)
    kind = asked.kind or kind_of(asked.reference, found)
    try:
        laws = tried(_TRIALS[kind](asked), seconds)
    except ConfigInvalid:
        raise
    # Trials are made from the user's object: a constructor may raise anything.
    except Exception as error:
        raise ConfigInvalid(
            f"{asked.reference!r} in {file_of(asked.reference)} cannot be made a {kind} of "
            f"({type(error).__name__}: {error}); mend it, or give another --kind"
        ) from error
    path = file_of(asked.reference)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path is not None else ""
    return Checked(reference=asked.reference, kind=kind, path=str(path or ""), digest=digest, laws=laws)


def protocol_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of a protocol of secure sums, each on parties of its own."""
    from crypto import Session, Upload, open_client, open_party, plan, plan_roles, set_up
    from crypto.protocols.catalogue import entry_of
    from crypto.testing import CHECKS, ROUNDS_NEEDED, Bench, check_insiders, check_set_up_mutations

    entry_of(asked.reference).require()

    def bench(ready: bool = True) -> Bench:
        upload = Upload(name="update", length=_ENTRIES, bound=_BOUND)
        made = plan(asked.reference, _CLIENTS, (upload,), rounds=4 * ROUNDS_NEEDED, max_dropouts=2)
        parties: dict[str, Session] = {name: open_client(made, name) for name in _CLIENTS}
        parties |= {role: open_party(made, role) for role in plan_roles(made)}
        if ready:
            set_up(parties)
        return Bench(made, parties)

    for check in CHECKS:
        yield Trial.of(check, partial(_on, check, bench))
    yield Trial(
        name="set-up",
        says="Altered copies of every message of the set-up are not answered, and crash nobody",
        run=lambda: check_set_up_mutations(bench(ready=False)),
    )
    yield Trial(
        name="insiders",
        says="A client that signs nonsense changes no sum: it is blamed, no honest client is, and sums go on",
        run=lambda: check_insiders(bench(ready=False), _CLIENTS[:1]),
    )


def _on(check: Callable[[Any], object], make: Callable[[], Any]) -> None:
    check(make())


def accountant_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of an accountant: of what it claims, and of what attacks on planted bugs say to it."""
    from attacks import testing as audits
    from privacy import SampledGaussian
    from privacy.testing import CHECKS

    accountant: Any = loaded(asked.reference)
    if isinstance(accountant, type):
        raise ConfigInvalid(f"{asked.reference!r} is a class; write an object of it, mine = {accountant.__name__}()")
    for check in CHECKS:
        yield Trial.of(check, partial(check, accountant))

    def attacked() -> None:
        if not accountant.supports(SampledGaussian(q=0.1, noise_multiplier=1.0)):
            raise NotApplicable("it does not know Poisson-sampled Gaussians, in which the bugs are planted")
        audits.check_accountant(
            lambda q, sigma, steps, delta: float(
                accountant.epsilon({SampledGaussian(q=q, noise_multiplier=sigma): steps}, delta)
            )
        )

    said = "Attacks show every planted bug beyond what it charges, and nothing where there is no bug"
    yield Trial(name="under attack", says=said, run=attacked)


def attack_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of an attack, in the first game whose leak it finds."""
    from attacks.controls.memorised import membership_world, retained_world
    from attacks.testing import CHECKS, check_positive
    from secure_fcl.config.attacks import maker_of

    make = maker_of(asked.reference)
    worlds = (membership_world(), retained_world())

    def finds(world: Any) -> bool:
        try:
            check_positive(make, world)
        # Said again, and told, by the law itself.
        except Exception:
            return False
        return True

    world = next((world for world in worlds if finds(world)), worlds[0])
    for check in CHECKS:
        yield Trial.of(check, partial(check, make, world), world.game.name)


def memory_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of a replay memory; what breaks one is shrunk to the smallest course."""
    from secure_fcl.memory import MemoryNumbers, own_memory
    from secure_fcl.testing.memories import (
        CHECKS,
        Law,
        check_displaces,
        check_own_coin,
        check_values,
        courses,
        smallest,
    )

    policy = own_memory(asked.reference, MemoryNumbers(keep=0.5, capacity=12, items_per_task=40, item_size=1, tasks=3))
    tried_on = tuple(courses(3, 40, policy.capacity))
    silent: dict[Law, str] = {}
    if policy.displaces_others:
        silent[check_displaces] = "it says that examples displace others"
    if not policy.private:
        silent |= dict.fromkeys((check_own_coin, check_values), "it says that it is not private")

    def on_courses(check: Law) -> None:
        if check in silent:
            raise NotApplicable(silent[check])
        for course in tried_on:
            if (broken := smallest(check, policy, course)) is not None:
                raise broken

    for check in CHECKS:
        yield Trial.of(check, partial(on_courses, check))


def data_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of a data set."""
    import numpy as np

    from secure_fcl.config import validate
    from secure_fcl.data import load
    from secure_fcl.streams import build_scenario

    def twice() -> None:
        first, second = load(asked.reference), load(asked.reference)
        if first.digest != second.digest:
            raise ConfigInvalid(
                f"two calls give other data (SHA-256 {first.digest[:12]} and {second.digest[:12]}); seed what it draws"
            )

    def learnable() -> None:
        data = load(asked.reference)
        for half, mask in (("training", data.train), ("test", data.test)):
            if not mask.any():
                raise ConfigInvalid(f"no example is a {half} example; mark some")
        alone = [data.classes[c] for c in np.setdiff1d(data.y[data.test], data.y[data.train]).tolist()]
        if alone:
            raise ConfigInvalid(f"classes {alone} have test examples and no training example; give them some")

    def everybody() -> None:
        data = load(asked.reference)
        if not data.clients:
            raise NotApplicable("its examples belong to nobody in particular")
        idle = [c for c in data.clients if not data.train[data.client == c].any()]
        if idle:
            raise ConfigInvalid(f"clients {idle} have no training example; leave them out, or give them some")

    def streams() -> None:
        data = load(asked.reference)
        settings: dict[str, Any] = {"tasks": min(2, len(data.classes))}
        # As many as there are: the default is HAPT's number of people.
        settings |= {"clients": len(data.clients)} if data.clients else {"clients": 4, "partition": "iid"}
        build_scenario(data, validate({"scenario": settings}))

    for name, says, run in (
        ("loads", "It loads, with lengths, types, finite values and labels that fit", lambda: load(asked.reference)),
        ("the same again", "It is the same data whenever it is loaded", twice),
        ("learnable", "Both halves hold examples, and every tested class can be learnt", learnable),
        ("everybody trains", "Every client has a training example", everybody),
        ("streams", "A stream of tasks can be made of it", streams),
    ):
        yield Trial(name=name, says=says, run=run)


_TRIALS: Mapping[str, Callable[[Asked], Iterator[Trial]]] = {
    "strategy": strategy_trials,
    "method": method_trials,
    "memory": memory_trials,
    "protocol": protocol_trials,
    "accountant": accountant_trials,
    "attack": attack_trials,
    "data": data_trials,
    "model": model_trials,
    "features": feature_trials,
}
