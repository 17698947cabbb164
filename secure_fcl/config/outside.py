"""Code of a user's own that a configuration names as `module:name`: strategies, protocols, data sets, accountants."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeVar

from crypto.errors import CodeNotFound
from crypto.protocols.outside import file_of, load_code, names_code
from secure_fcl.errors import ConfigInvalid

T = TypeVar("T")

__all__ = ["OutsideCode", "describe", "load_object", "names_code"]


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


def describe(reference: str) -> OutsideCode:
    """Return where a loaded reference came from."""
    path = file_of(reference)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path is not None else ""
    return OutsideCode(reference=reference, path=str(path or ""), digest=digest)
