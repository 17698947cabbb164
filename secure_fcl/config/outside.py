"""Code of a user's own that a configuration names as `module:name`: strategies, protocols, data sets, accountants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from crypto.errors import CodeNotFound
from crypto.protocols.outside import file_of, load_code, names_code
from secure_fcl.errors import ConfigInvalid

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

    rows = tree.get("rows")
    rows = rows if isinstance(rows, list | tuple) else ()
    named = [
        tree.get("protection"),
        section("data").get("name"),
        section("data").get("source"),
        section("privacy").get("accountant"),
        *rows,
        *(section(row).get("features") for row in rows if isinstance(row, str) and not names_code(row)),
        section("attacks").get("row"),
    ]
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and names_code(name)))


def described(tree: Mapping[str, Any]) -> tuple[OutsideCode, ...]:
    """Return where each of `outside_references(tree)` comes from; nothing is imported for it.

    Raises:
        ConfigInvalid: a file cannot be read.
    """
    return tuple(_described(reference) for reference in outside_references(tree))


def _described(reference: str) -> OutsideCode:
    path = file_of(reference)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path is not None else ""
    except OSError as error:
        raise ConfigInvalid(f"{reference!r}: {path} cannot be read ({error.strerror}); restore it") from error
    return OutsideCode(reference=reference, path=str(path or ""), digest=digest)
