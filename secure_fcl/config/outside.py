"""Code of a user's own that a configuration names as `module:name`: strategies, protocols, data sets, accountants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from crypto.errors import CodeNotFound
from evaluation.files import atomic_write
from secure_fcl.errors import ConfigInvalid
from secure_fcl.references import file_of, is_pickled, load_code, names_code, pickled_bytes, stored_name
from secure_fcl.strategies.gradient.models import is_own

T = TypeVar("T")

__all__ = ["OutsideCode", "described", "load_object", "names_code", "outside_references"]


@dataclass(frozen=True, kw_only=True)
class OutsideCode:
    """Where a run's own code came from, as the certificate states it.

    Attributes:
        reference: the text `module:name` in the configuration.
        path: file of the module.
        digest: SHA-256 of that file, in hexadecimal. Modules that it imports in turn are not covered.
    """

    reference: str
    path: str
    digest: str


def load_object(reference: str, kind: type[T], key: str) -> T:
    """Import what `reference` names, and return it if it is a `kind`.

    Importing runs the code. A configuration that a run folder holds is read through `RunFolder`, which asks for
    `--trust-code` before this is called.

    Args:
        reference: `module:name`.
        kind: the class that the object must be an instance of.
        key: of the configuration, for the sentence of an error.

    Raises:
        ConfigInvalid: it cannot be imported, or is something else.
    """
    try:
        found = load_code(reference)
    except CodeNotFound as error:
        raise ConfigInvalid(f"{key} = {error}") from error
    if not isinstance(found, kind):
        raise ConfigInvalid(
            f"{key} = {reference!r}: {file_of(reference)} defines a {type(found).__name__} of that name, "
            f"and a {kind.__module__}.{kind.__name__} is needed; write one there"
        )
    return found


def outside_references(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every `module:name` that a run with this configuration imports, once each.

    Args:
        tree: a configuration as nested dictionaries, validated or not: a run folder's is asked before it is read.
    """

    def section(key: str) -> Mapping[str, Any]:
        found = tree.get(key)
        return found if isinstance(found, Mapping) else {}

    def listed(value: object) -> Sequence[object]:
        return value if isinstance(value, list | tuple) else ()

    model = section("training").get("model")
    rows = listed(tree.get("rows"))
    named = [
        tree.get("protection"),
        section("data").get("name"),
        section("data").get("source"),
        section("privacy").get("accountant"),
        *rows,
        *(
            section(row).get(key)
            for key in ("features", "public")
            for row in rows
            if isinstance(row, str) and not names_code(row)
        ),
        section("attacks").get("row"),
        model if isinstance(model, str) and is_own(model) else None,
        section("memory").get("policy"),
        *listed(section("attacks").get("own")),
    ]
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and names_code(name)))


def keep_pickled(tree: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write the pickled objects that a configuration names into a folder; return each file's name and SHA-256.

    Raises:
        ConfigInvalid: the bytes of one are not here.
    """
    found = {}
    for reference in filter(is_pickled, outside_references(tree)):
        try:
            data = pickled_bytes(reference)
        except CodeNotFound as error:
            raise ConfigInvalid(str(error)) from error
        folder.mkdir(exist_ok=True)
        atomic_write(folder / stored_name(reference), data)
        found[stored_name(reference)] = hashlib.sha256(data).hexdigest()
    return found


def described(tree: Mapping[str, Any], kept: Path | None = None, now: Path | None = None) -> tuple[OutsideCode, ...]:
    """Return where each of `outside_references(tree)` comes from; nothing is imported or unpickled for it.

    Args:
        tree: as `outside_references`.
        kept: folder of a run that keeps the pickled objects it was handed; None: where loading would find them.
        now: where that folder is until it gets its name.

    Raises:
        ConfigInvalid: a file cannot be read.
    """
    return tuple(_described(reference, kept, now or kept) for reference in outside_references(tree))


def _described(reference: str, kept: Path | None, now: Path | None) -> OutsideCode:
    place = path = file_of(reference)
    if kept is not None and now is not None and is_pickled(reference):
        path, place = kept.resolve() / stored_name(reference), now / stored_name(reference)
    try:
        digest = hashlib.sha256(place.read_bytes()).hexdigest() if place is not None else ""
    except OSError as error:
        raise ConfigInvalid(f"{reference!r}: {path} cannot be read ({error.strerror}); restore it") from error
    return OutsideCode(reference=reference, path=str(path or ""), digest=digest)
