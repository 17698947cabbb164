"""The attacks that a configuration names: `attacks.own`, each held to its controls before it is played."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from secure_fcl.config.outside import load_object
from secure_fcl.errors import ConfigInvalid
from secure_fcl.references import file_of

if TYPE_CHECKING:
    from attacks.controls.memorised import MakeAttack

_KEY = "attacks.own"
_WRITE = "write what attacks.games.attack.Attack asks for: name, requires, score(view, candidates)"


@dataclass(frozen=True, eq=False)
class OwnAttack:
    """An attack of the user's own.

    Attributes:
        reference: `module:name`.
        make: builds it from the losses of the attacked network.
        games: names of the games whose controls it passes, "membership" or "retained or merely seen".
    """

    reference: str
    make: MakeAttack
    games: frozenset[str]


def own_attacks(references: Iterable[str]) -> tuple[OwnAttack, ...]:
    """Return the attacks that `module:name` names; imports them and plays their controls, once in a process.

    Raises:
        ConfigInvalid: one cannot be imported, is no attack, or passes the controls of no game; says what it failed.
    """
    return tuple(_controlled(reference) for reference in references)


def maker_of(reference: str) -> MakeAttack:
    """Return what builds an attack from losses: a function or class of one argument; an attack itself needs none.

    Raises:
        ConfigInvalid: it cannot be imported, or is no attack.
    """
    found = load_object(reference, object, _KEY)
    where = f"{_KEY} = {reference!r} in {file_of(reference)}"
    if not callable(found):
        missing = [member for member in ("name", "requires", "score") if not hasattr(found, member)]
        if missing:
            raise ConfigInvalid(
                f"{where} is of type {type(found).__name__} and has no {', no '.join(missing)}; {_WRITE}"
            )
        return lambda losses: found  # type: ignore[return-value]
    needed = _needed(found)
    if len(needed) > 1:
        raise ConfigInvalid(
            f"{where} needs {', '.join(needed)}; it is called with the losses of the attacked network and nothing else"
        )

    def make(losses: object) -> Any:
        made = found(losses) if needed else found()
        missing = [member for member in ("name", "requires", "score") if not hasattr(made, member)]
        if missing:
            raise ConfigInvalid(
                f"{where} makes a {type(made).__name__}, which has no {', no '.join(missing)}; {_WRITE}"
            )
        return made

    return make


def _needed(found: Any) -> list[str]:
    return [
        p.name
        for p in inspect.signature(found).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


@lru_cache(maxsize=16)
def _controlled(reference: str) -> OwnAttack:
    from attacks.controls.memorised import membership_world, retained_world
    from attacks.testing import check_attack

    make = maker_of(reference)
    passed, failed = set(), []
    for world in (membership_world(), retained_world()):
        try:
            check_attack(make, world)
            passed.add(world.game.name)
        except ConfigInvalid:
            raise
        # The attack's own code: whatever it raises is a reason.
        except Exception as error:
            failed.append(f"{world.game.name}: {error}")
    if not passed:
        raise ConfigInvalid(
            f"{_KEY} = {reference!r} in {file_of(reference)} passes the controls of no game, so what it finds would "
            f"mean nothing ({'; '.join(failed)})"
        )
    return OwnAttack(reference, make, frozenset(passed))
