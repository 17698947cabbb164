"""The accountant that a configuration names: none, for those of `privacy`, or one of the user's own."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from secure_fcl.config.outside import load_object
from secure_fcl.errors import ConfigInvalid
from secure_fcl.references import file_of

if TYPE_CHECKING:
    from privacy import Accountant

_KEY = "privacy.accountant"


def accountant_of(reference: str) -> Accountant | None:
    """Return the accountant of `privacy.accountant`, checked against the laws of `privacy.testing`; None for "".

    `module:name` is imported, which runs that module's code.

    Raises:
        ConfigInvalid: it cannot be imported, is no accountant, or breaks a law; says which, and what to write.
    """
    return _checked(reference) if reference else None


@lru_cache(maxsize=16)
def _checked(reference: str) -> Accountant:
    from privacy import Accountant
    from privacy.errors import ConformanceError, PrivacyError
    from privacy.testing import check_accountant

    if ":" not in reference:
        raise ConfigInvalid(
            f"{_KEY} = {reference!r} is not of the form module:name; leave it empty for the accountants of secure-fcl"
        )
    found = load_object(reference, object, _KEY)
    name = reference.partition(":")[2]
    if isinstance(found, type):
        raise ConfigInvalid(
            f"{_KEY} = {reference!r} is a class; write an object of it in {file_of(reference)}, "
            f"accountant = {name}(), and name that"
        )
    if not isinstance(found, Accountant):
        missing = [member for member in ("name", "supports", "epsilon") if not hasattr(found, member)]
        raise ConfigInvalid(
            f"{_KEY} = {reference!r} is of type {type(found).__name__} and has no {', no '.join(missing)}; write in "
            f"{file_of(reference)} what privacy.Accountant asks for: name, supports(event), epsilon(events, delta)"
        )
    try:
        check_accountant(found)
    except ConformanceError as error:
        raise ConfigInvalid(f"{_KEY} = {reference!r} in {file_of(reference)} breaks a law: {error}") from error
    except PrivacyError as error:
        raise ConfigInvalid(f"{_KEY} = {reference!r} in {file_of(reference)} refuses too much: {error}") from error
    except Exception as error:
        raise ConfigInvalid(
            f"{_KEY} = {reference!r} in {file_of(reference)} fails with {type(error).__name__}: {error}; "
            "privacy.testing.check_accountant shows where"
        ) from error
    return found
