"""What every protocol must keep straight: which sums are open, who has arrived, who may submit what."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from crypto.errors import SubmissionRefused
from crypto.keys.randomness import encode_labels
from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.wire.messages import Abort, Begin, Deadline, Input, Message

log = logging.getLogger("crypto")
Key = tuple[int, str]
MAX_MODEL = 64


def ignored(message: Input, reason: str) -> tuple[()]:
    """Note in the log why a message was ignored (never its payload) and answer nothing."""
    log.info("ignored %r: %s", message, reason)
    return ()


class Journal(Protocol):
    """A durable set of entries, for parties that must not answer twice."""

    def claim(self, entry: str) -> bool:
        """Record `entry` durably and return True; False if it was recorded before, even before a crash.

        Raises:
            JournalError: it cannot be recorded; the caller must not answer then.
        """
        ...

    def holds(self, entry: str) -> bool:
        """Whether exactly this entry was recorded, as a whole."""
        ...


@dataclass
class OpenSums:
    """The server's record of sums: never opened, open, or closed for good."""

    plan: Plan
    _open: set[Key] = field(default_factory=set)
    _closed: set[Key] = field(default_factory=set)

    def begin(self, item: Begin) -> bool:
        """Open a sum; False if the plan does not have it or it was opened before."""
        key = (item.round, item.upload)
        if not self.plan.covers(*key) or key in self._open or key in self._closed:
            return False
        self._open.add(key)
        return True

    def key_of(self, item: Message | Deadline) -> Key | None:
        """The open sum that an item belongs to, or None (other session, stale, unknown)."""
        if isinstance(item, Message) and item.session != self.plan.session:
            return None
        key = (item.round, item.upload)
        return key if key in self._open else None

    def close(self, key: Key) -> None:
        """Close a sum for good."""
        self._open.discard(key)
        self._closed.add(key)

    def abort(self, key: Key, reason: str, blamed: tuple[str, ...] = ()) -> Abort:
        """Close a sum and say why it failed, and who is at fault."""
        self.close(key)
        return Abort(self.plan.session, *key, reason, blamed)

    def too_few(self, key: Key, arrived: int, blamed: tuple[str, ...] = ()) -> Abort | None:
        """An Abort if fewer clients arrived than the plan demands, else None."""
        least, n = self.plan.min_clients, len(self.plan.clients)
        if arrived >= least:
            return None
        return self.abort(
            key, f"{arrived} of {n} clients arrived, the plan demands {least}; run another round.", blamed
        )


def check_apart(
    plan: Plan, number: int, name: str, vector: npt.NDArray[np.int64], noise: npt.NDArray[np.int64] | None
) -> None:
    """Refuse a vector or a noise share that exceeds its own bound: together they could fit, and the sum still wrap.

    Raises:
        SubmissionRefused: as `ClientSession.submit` says.
    """
    upload = _planned(plan, number, name)
    _fitting(vector, upload, upload.bound, "the vector")
    if noise is not None:
        _fitting(noise, upload, upload.noise_bound, "the noise share")


def beyond_bound(plan: Plan, name: str, total: npt.NDArray[np.int64], clients: int) -> str:
    """Why a total is no sum of so many vectors and their noise, or empty: somebody sent something else.

    Nobody is blamed for it, as nobody sees single vectors.
    """
    upload = plan.find(name)
    limit = clients * upload.bound + upload.noise_bound
    largest = max(int(total.max()), -int(total.min()))
    if largest <= limit:
        return ""
    return (
        f"the total of {clients} clients reaches {largest}, the plan's bound is {limit}: one of them sent something "
        "else than a vector, or the noise was drawn larger than planned; run another round"
    )


def _planned(plan: Plan, number: int, name: str) -> Upload:
    if type(number) is not int or not plan.covers(number, name):
        raise SubmissionRefused(f"round {number}, upload {name!r} is not in the plan of {plan.rounds} rounds")
    return plan.find(name)


def _fitting(vector: object, upload: Upload, limit: int, what: str) -> None:
    if not isinstance(vector, np.ndarray) or vector.dtype != np.int64 or vector.shape != (upload.length,):
        found = f"{vector.dtype} {vector.shape}" if isinstance(vector, np.ndarray) else type(vector).__name__
        raise SubmissionRefused(f"upload {upload.name!r} takes int64 of shape ({upload.length},), {what} is {found}")
    largest = max(int(vector.max()), -int(vector.min()))
    if largest > limit:
        raise SubmissionRefused(
            f"an entry of {what} for upload {upload.name!r} reaches {largest}, above the plan's bound {limit}; clip "
            "before submitting, hand the noise over as noise=, or plan a larger bound"
        )


@dataclass
class Submissions:
    """A client's own record: every sum is submitted to at most once, and only with a vector that fits the
    plan.
    """

    plan: Plan
    _done: set[Key] = field(default_factory=set)

    def check(self, number: int, name: str, vector: npt.NDArray[np.int64], model: bytes = b"") -> None:
        """Record the submission.

        Raises:
            SubmissionRefused: as `ClientSession.submit` says.
        """
        key = (number, name)
        if len(model) > MAX_MODEL:
            raise SubmissionRefused(
                f"the model digest has {len(model)} bytes; give at most {MAX_MODEL}, such as a SHA-256"
            )
        upload = _planned(self.plan, number, name)
        _fitting(vector, upload, upload.bound + upload.noise_bound, "the vector with its noise")
        if key in self._done:
            raise SubmissionRefused(
                f"round {number}, upload {name!r} was already submitted; a second vector is refused"
            )
        self._done.add(key)


class Released:
    """The cohorts that this party helped to sum: at one (round, upload), and at one model, they are disjoint.

    Sums over disjoint cohorts have no combination that speaks of fewer clients than one of them; sums that overlap
    can, however many clients every two of them differ by (`crypto.testing.differencing` computes it). With a journal
    that outlives the session, cohorts at a model are remembered in later sessions too.
    """

    def __init__(self, name: str, journal: Journal | None = None) -> None:
        self._name = name
        self._journal = journal
        self._summed: dict[tuple[str, int | bytes], set[str]] = {}

    def clash(self, round: int, upload: str, model: bytes, names: Collection[str]) -> str:
        """Why a sum must not be opened; empty if nothing is against it."""
        for mark, what in ((round, f"round {round}"), (model, "this model")):
            again = self._summed.get((upload, mark), set()) & set(names)
            if mark != b"" and again:
                return (
                    f"a sum of {upload!r} at {what} was released with {len(again)} of these clients in it; two sums of "
                    "one vector could be subtracted: sum disjoint cohorts, or another round"
                )
        return ""

    def take(self, round: int, upload: str, model: bytes, names: Collection[str]) -> str:
        """Remember a cohort before its sum is opened; why it must not be, or empty.

        Raises:
            JournalError: it cannot be recorded.
        """
        reason = self.clash(round, upload, model, names)
        if reason:
            return reason
        marks: tuple[int | bytes, ...] = (round, model) if model else (round,)
        for mark in marks:
            self._summed.setdefault((upload, mark), set()).update(names)
        if model and self._journal is not None:
            again = sum(not self._journal.claim(self._entry(upload, model, name)) for name in names)
            if again:
                return f"the journal shows that {again} of these clients were summed at this model of {upload!r} before"
        return ""

    def _entry(self, upload: str, model: bytes, name: str) -> str:
        return "summed " + hashlib.sha256(encode_labels((self._name, upload, model, name))).hexdigest()


def valid_names(plan: Plan, names: object) -> tuple[str, ...] | None:
    """The list of summed clients if it is made of at least `min_clients` different clients of the plan,
    else None.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    if len(set(names)) != len(names) or len(names) < plan.min_clients or not set(names) <= set(plan.clients):
        return None
    return tuple(names)


def in_order(plan: Plan, names: set[str]) -> tuple[str, ...]:
    """The given clients in the plan's order, so that the outcome does not depend on who arrived first."""
    return tuple(name for name in plan.clients if name in names)
