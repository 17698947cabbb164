"""What a reference names: found by what the object is or has, or by the names of its arguments; never guessed."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from crypto.errors import CodeNotFound
from crypto.protocols.entry import SumProtocol
from privacy import Accountant
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.references import file_of, load_code
from secure_fcl.strategies.entry import GradientEntry, SumsEntry

KINDS = ("strategy", "method", "memory", "protocol", "accountant", "attack", "data", "model", "features")
"""What may be checked. strategy: an entry, or a whole strategy. features: a function from examples to rows."""

#: Members that only one kind has.
_MEMBERS = {
    "attack": ("requires", "score"),
    "accountant": ("supports", "epsilon"),
    "memory": ("displaces_others", "close"),
    "method": ("teacher_weights", "absorb"),
    "strategy": ("uploads", "contribute"),
}
#: Names of arguments by which a function says what it is.
_ARGUMENTS = {"losses": "attack", "numbers": "memory", "shape": "model", "classes": "model", "x": "features"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be checked, and for which examples.

    Attributes:
        reference: `module:name`.
        kind: one of `KINDS`; empty: found out.
        shape: of one example, for what depends on it.
        classes: size of the label set, likewise; at least 2.
    """

    reference: str
    kind: str = ""
    shape: tuple[int, ...] = (6, 64)
    classes: int = 12

    def __post_init__(self) -> None:
        if self.kind and self.kind not in KINDS:
            raise ConfigInvalid(f"--kind {self.kind!r} is none of {', '.join(KINDS)}; choose one")
        if not self.shape or min(self.shape) < 1 or self.classes < 2:
            raise ConfigInvalid(
                f"--shape {','.join(map(str, self.shape))} and --classes {self.classes}: sizes are at least 1 and "
                "classes at least 2; give those of your data"
            )


def loaded(reference: str) -> object:
    """Import what a reference names, which runs its code.

    Raises:
        ConfigInvalid: it cannot be imported.
    """
    try:
        return load_code(reference)
    except CodeNotFound as error:
        raise ConfigInvalid(str(error)) from error


def kind_of(reference: str, found: object) -> str:
    """Return what a reference names, one of `KINDS`.

    Raises:
        ConfigInvalid: it may be several things, or none; says to give --kind.
    """
    if isinstance(found, GradientEntry | SumsEntry):
        return "strategy"
    if isinstance(found, SumProtocol):
        return "protocol"
    if isinstance(found, Dataset):
        return "data"
    if _is_network(found):
        return "model"
    for kind, members in _MEMBERS.items():
        if all(hasattr(found, member) for member in members):
            return kind
    if not isinstance(found, type) and isinstance(found, Accountant):
        return "accountant"
    if callable(found) and (kind := _by_arguments(found)):
        return kind
    what = f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"
    raise ConfigInvalid(
        f"{reference!r} in {file_of(reference)} is {what}, and nothing says what it is for; give --kind, one of "
        f"{', '.join(KINDS)}"
    )


def _by_arguments(found: Any) -> str:
    """Return the kind that a function's arguments name; of one without any, the kind of what it returns."""
    needed = [
        p.name for p in inspect.signature(found).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    kinds = {_ARGUMENTS[name] for name in needed if name in _ARGUMENTS}
    if len(kinds) == 1:
        return kinds.pop()
    if needed:
        return ""
    made = found()
    if isinstance(made, Dataset):
        return "data"
    return "model" if _is_network(made) else ""


def _is_network(found: object) -> bool:
    """Whether it is a network or a class of them; torch is not imported to find out."""
    kind = found if isinstance(found, type) else type(found)
    return any(base.__module__ == "torch.nn.modules.module" and base.__name__ == "Module" for base in kind.__mro__)
