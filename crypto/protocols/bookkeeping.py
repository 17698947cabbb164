"""What every protocol must keep straight: which sums are open, who has arrived, who may submit what."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crypto.errors import SubmissionRefused
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
        f"the total of {clients} clients reaches {largest}, the plan's bound is {limit}: one of them sent something else "
        "than a vector, or the noise was drawn larger than planned; run another round"
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


@dataclass
class Released:
    """The cohorts that this party helped to sum, for each upload and model it was told of."""

    _sums: dict[tuple[str, bytes], list[frozenset[str]]] = field(default_factory=dict)

    def clash(self, plan: Plan, upload: str, model: bytes, names: Collection[str]) -> str:
        """Why a second sum at one model must not be opened: its cohort differs by fewer clients than a sum must hold.

        Their difference would be a sum of these few. Empty if nothing is against it; without a model digest nothing
        is.
        """
        for before in self._sums.get((upload, model), ()):
            differing = len(before ^ frozenset(names))
            if differing < plan.min_clients:
                return (
                    f"a sum of {upload!r} at this model was released; the cohorts differ by {differing} clients, "
                    f"fewer than {plan.min_clients}: their difference would expose them"
                )
        return ""

    def note(self, upload: str, model: bytes, names: Collection[str]) -> None:
        """Remember a cohort, if a model was named."""
        if model:
            self._sums.setdefault((upload, model), []).append(frozenset(names))


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
