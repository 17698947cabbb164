"""The names of strategies, side channels and protocols that a configuration may give; all follow from their lists."""

from __future__ import annotations

import difflib
import math
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from crypto.errors import PlanRefused
from crypto.protocols.catalogue import ENTRIES as PROTOCOLS
from crypto.protocols.helper.shape import shape_of
from secure_fcl.config.outside import load_object, names_code
from secure_fcl.errors import ConfigInvalid
from secure_fcl.references import file_of
from secure_fcl.strategies.catalogue import CHANNELS, ENTRIES, Entry
from secure_fcl.strategies.entry import GradientEntry, SumsEntry
from secure_fcl.strategies.section import NoisePlace, StrategySection

ATTACKABLE = tuple(name for name, entry in ENTRIES.items() if entry.attackable)


def entry_of(name: str) -> Entry:
    """Return what the program knows of a strategy; `module:name` is imported, which runs that module's code.

    Raises:
        ConfigInvalid: `module:name` cannot be imported, or is no entry; names the file and what to write there.
    """
    if not names_code(name):
        return ENTRIES[name]
    found = load_object(name, object, "rows")
    if isinstance(found, GradientEntry | SumsEntry):
        if isinstance(found.section, StrategySection):
            return found
        raise ConfigInvalid(
            f"rows = {name!r}: the section of that entry is {found.section!r}, not an instance of a StrategySection; "
            f"write section=GradientSection(), or a class of your own derived from it, in {file_of(name)}"
        )
    what = "a class" if isinstance(found, type) else f"of type {type(found).__name__}"
    raise ConfigInvalid(
        f"rows = {name!r} is {what} and has no section in the configuration; write in {file_of(name)}: "
        "entry = GradientEntry(section=GradientSection(), method=lambda section: ...), and name that"
    )


def _known(name: str, names: tuple[str, ...], what: str) -> str:
    if name in names or names_code(name):
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"{hint}{what}: {', '.join(names)}, or module:name of an entry of your own")


def row_name(name: str) -> str:
    """Return the name of a strategy.

    Raises:
        ValueError: there is none of that name; names the choices.
    """
    return _known(name, tuple(ENTRIES), "the strategies are")


def has_place(name: str, place: NoisePlace) -> bool:
    """Return whether a strategy exists with its noise in a place."""
    section = entry_of(name).section
    budget = math.inf if place == "none" else 1.0
    try:
        type(section).model_validate(section.model_dump() | {"noise": place, "epsilon": budget})
    except ValidationError:
        return False
    return True


def _attackable(name: str) -> str:
    return _known(name, ATTACKABLE, "the audit can attack")


def _protocol(name: str) -> str:
    try:
        if shape_of(name) is not None:
            return name
    except PlanRefused as error:
        raise ValueError(str(error)) from error
    return _known(name, tuple(PROTOCOLS), "the protocols are")


RowName = Annotated[str, AfterValidator(row_name), Field(json_schema_extra={"enum": [*ENTRIES, "module:name"]})]
"""A strategy: one of the list, or an entry of the user's own."""

AttackedName = Annotated[
    str, AfterValidator(_attackable), Field(json_schema_extra={"enum": [*ATTACKABLE, "module:name"]})
]
"""A strategy that the audit can attack."""

ProtocolName = Annotated[
    str,
    AfterValidator(_protocol),
    Field(json_schema_extra={"enum": [*PROTOCOLS, "helper-T-of-H", "module:name"]}),
]
"""A protocol of secure sums: one of the list of `crypto`, or an entry of the user's own."""


def _own(name: str) -> str:
    if not names_code(name):
        raise ValueError("it names no code; write module:name of an attack of your own")
    return name


OwnName = Annotated[str, AfterValidator(_own)]
"""Something of the user's own, which no list holds."""

POLICIES = ("threshold", "herding")


def _policy(name: str) -> str:
    return _known(name, POLICIES, "the memories are")


PolicyName = Annotated[str, AfterValidator(_policy), Field(json_schema_extra={"enum": [*POLICIES, "module:name"]})]
"""A replay memory: one of the list, or a policy of the user's own."""

ChannelName = Annotated[str, Field(json_schema_extra={"enum": [*CHANNELS]})]
"""A side channel; unknown names are refused where the strategies of a run are known."""
