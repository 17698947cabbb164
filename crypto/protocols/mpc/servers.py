"""The servers of `mpc.client`: two computing servers that hold shares, the server that counts arrivals, the dealer.

Shares are kept per client until the list is known, as a client may have reached one computing server only: 8
bytes an entry and client at compute1, 32 bytes a client at compute0. Of sums that the server has not begun, each
client has `EARLY` shares kept, the newest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crypto.errors import CryptoError, MessageError, SealError
from crypto.keys.randomness import RandomBytes
from crypto.keys.sealed import BoxKey
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.planning.upload import SEED_BYTES
from crypto.protocols.bookkeeping import (
    MAX_MODEL,
    Journal,
    Key,
    OpenSums,
    Released,
    beyond_bound,
    ignored,
    in_order,
    valid_names,
)
from crypto.protocols.faults import Fault, Faults
from crypto.protocols.mpc.client import COMPUTE, SET_UP, Vector, expand
from crypto.protocols.session import Opened, SumOpener
from crypto.wire.messages import Aggregate, Begin, Deadline, Input, Item, Message
from crypto.wire.values import pack_value, unpack_value

DEALER = "dealer"
EARLY = 2


@holds_secrets
class Dealer:
    """The dealer of triples takes no part in the messages: its work is CrypTen's, see `crypto.running.host`."""

    name = DEALER

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """Every item is ignored."""
        del item
        return ()


@dataclass
class _Offer:
    """A sum whose list is known and whose opening waits for the other server: the list and its digest."""

    digest: bytes
    names: tuple[str, ...]


@holds_secrets
class ComputeServer:
    """Keeps the shares of one of the two computing servers, and opens each sum once."""

    def __init__(
        self, plan: Plan, role: str, random: RandomBytes, opener: SumOpener, journal: Journal | None = None
    ) -> None:
        self.name = role
        self._plan = plan
        self._opener = opener
        self._box = BoxKey(random)
        self._shares: dict[Key, dict[str, tuple[bytes, bytes]]] = {}
        self._released = Released(self.name, journal)
        self._offers: dict[Key, _Offer] = {}
        self._ready: dict[Key, bytes] = {}
        self._closed: set[Key] = set()
        self._begun: set[Key] = set()
        self._early: dict[str, list[Key]] = {}

    def start(self) -> tuple[Item, ...]:
        """Send the public key to the clients."""
        return (self._message("clients", "key", SET_UP, self._box.public),)

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`. When both computing servers are ready, it opens the sum with the other, waiting for it."""
        if not isinstance(item, Message):
            return ()
        key = (item.round, item.upload)
        if item.session != self._plan.session or not self._plan.covers(*key):
            return ignored(item, "other session or unknown sum")
        if item.kind == "forget" and item.sender == "server":
            return self._forget(key)
        if item.kind == "begin" and item.sender == "server":
            return self._begin(key)
        if item.kind == "ready" and item.sender in COMPUTE and item.sender != self.name:
            return self._agree(item, key)
        if key in self._closed:
            return ignored(item, "closed sum")
        if item.kind == "share" and item.sender in self._plan.places:
            return self._take(item, key)
        if item.kind == "reveal" and item.sender == "server":
            return self._reveal(item, key)
        return ()

    def _take(self, message: Message, key: Key) -> tuple[Item, ...]:
        if message.sender in self._shares.get(key, {}):
            return ignored(message, "second share of this client")
        size = message.payload[0] if message.payload else MAX_MODEL + 1
        model, box = message.payload[1 : 1 + size], message.payload[1 + size :]
        try:
            if size > MAX_MODEL:
                raise SealError("no model digest and sealed share")
            share = self._box.open(box, (message.session, *key, model, message.sender, self.name))
            if len(share) != (SEED_BYTES if self.name == COMPUTE[0] else 8 * self._entries(key)):
                raise SealError("share of the wrong length")
        except SealError as error:
            ignored(message, str(error))
            return (self._answer(key, "bad", pack_value([message.sender, str(error)])),)
        self._shares.setdefault(key, {})[message.sender] = (model, share)
        if key not in self._begun:
            self._come_early(message.sender, key)
        return (self._answer(key, "have", pack_value([message.sender, model])),)

    def _come_early(self, sender: str, key: Key) -> None:
        """Keep few shares of a client for sums that may never begin."""
        early = self._early.setdefault(sender, [])
        early.append(key)
        if len(early) > EARLY:
            oldest = early.pop(0)
            self._shares.get(oldest, {}).pop(sender, None)
            if not self._shares.get(oldest, True):
                del self._shares[oldest]

    def _begin(self, key: Key) -> tuple[Item, ...]:
        """Keep all shares of a sum from now on, and say whose are here already."""
        self._begun.add(key)
        for early in self._early.values():
            if key in early:
                early.remove(key)
        early_shares = self._shares.get(key, {}) if key not in self._closed else {}
        return tuple(self._answer(key, "have", pack_value([name, share[0]])) for name, share in early_shares.items())

    def _reveal(self, message: Message, key: Key) -> tuple[Item, ...]:
        names = valid_names(self._plan, _unpacked(message.payload))
        if names is None:
            return (self._answer(key, "refused", b"the list of clients is too short or not of this plan"),)
        self._closed.add(key)
        shares = self._shares.pop(key, {})
        if not shares.keys() >= set(names):
            return (self._answer(key, "refused", b"the computing servers hold different shares or lists"),)
        models = {shares[name][0] for name in names}
        model = models.pop()
        reason = "the vectors listed belong to several models" if models else ""
        reason = reason or self._released.take(*key, model, names)
        if reason:
            return (self._answer(key, "refused", reason.encode()),)
        digest = hashlib.sha256(pack_value([self._plan.session, *key, model, list(names)])).digest()
        self._offers[key] = _Offer(digest, names)
        self._opener.offer(digest, self._vectors(key, [shares[name][1] for name in names]))
        other = COMPUTE[1 - COMPUTE.index(self.name)]
        told = self._message(other, "ready", key, digest)
        return (told, *self._open(key))

    def _vectors(self, key: Key, shares: list[bytes]) -> npt.NDArray[np.int64]:
        """The shares as (parts, clients, length); added up already if no norm is to be checked."""
        entries, length = self._entries(key), self._plan.find(key[1]).length
        if self._plan.find(key[1]).norm_bound:
            rows = np.stack([self._vector(share, entries) for share in shares])
            return np.ascontiguousarray(rows.reshape(len(shares), entries // length, length).swapaxes(0, 1))
        total = np.zeros(entries, dtype=np.int64)
        for share in shares:
            total += self._vector(share, entries)
        return total.reshape(1, 1, length)

    def _agree(self, message: Message, key: Key) -> tuple[Item, ...]:
        if len(message.payload) != hashlib.sha256().digest_size or (key in self._closed and key not in self._offers):
            return ignored(message, "no sum that is about to be opened")
        self._ready.setdefault(key, message.payload)
        return self._open(key)

    def _open(self, key: Key) -> tuple[Item, ...]:
        """Open the sum if both computing servers are ready for it."""
        if key not in self._offers or key not in self._ready:
            return ()
        offer, other = self._offers.pop(key), self._ready.pop(key)
        declared = self._plan.find(key[1])
        bounds = tuple(bound for bound in (declared.norm_bound, declared.noise_norm_bound) if bound)
        opened: Opened | None = None
        if other == offer.digest:
            try:
                opened = self._opener.open(offer.digest, bounds, self._plan.min_clients if bounds else 1)
            except CryptoError as error:
                return (self._answer(key, "refused", str(error).encode()),)
        self._opener.withdraw(offer.digest)
        if opened is None:
            return (self._answer(key, "refused", b"the computing servers hold different shares or lists"),)
        accepted = opened.accepted if bounds else (True,) * len(offer.names)
        if opened.total is None:
            beyond = [name for name, kept in zip(offer.names, accepted, strict=True) if not kept]
            reason = f"{sum(accepted)} of {len(accepted)} vectors keep the norm's bound, the plan demands more; beyond"
            reason += f" it: {', '.join(beyond)}"
            return (self._answer(key, "refused", reason.encode()),)
        raw = pack_value([list(accepted), opened.total.astype("<i8", copy=False).tobytes()])
        return (self._answer(key, "sum", raw if self.name == COMPUTE[0] else hashlib.sha256(raw).digest()),)

    def _entries(self, key: Key) -> int:
        declared = self._plan.find(key[1])
        return declared.length * (2 if declared.noise_norm_bound else 1)

    def _vector(self, share: bytes, length: int) -> Vector:
        return expand(share, length) if self.name == COMPUTE[0] else np.frombuffer(share, dtype="<i8")

    def _forget(self, key: Key) -> tuple[Item, ...]:
        self._closed.add(key)
        self._shares.pop(key, None)
        self._ready.pop(key, None)
        offer = self._offers.pop(key, None)
        if offer is not None:
            self._opener.withdraw(offer.digest)
        return ()

    def _answer(self, key: Key, kind: str, payload: bytes) -> Message:
        return self._message("server", kind, key, payload)

    def _message(self, receiver: str, kind: str, key: Key, payload: bytes) -> Message:
        return Message(
            sender=self.name,
            receiver=receiver,
            kind=kind,
            session=self._plan.session,
            round=key[0],
            upload=key[1],
            payload=payload,
        )


@dataclass
class _Progress:
    """Who reached which computing server with which model, whom the sum is of once asked for, and the answers."""

    arrived: dict[str, dict[str, bytes]] = field(default_factory=lambda: {role: {} for role in COMPUTE})
    asked: tuple[str, ...] = ()
    answers: dict[str, bytes] = field(default_factory=dict)
    waiting: bool = False

    def together(self) -> set[str]:
        """Who reached both servers, of the model that most of them name: vectors of others do not add up with it."""
        first, second = (self.arrived[role] for role in COMPUTE)
        models = Counter(model for name, model in first.items() if second.get(name) == model)
        best = max(models, key=lambda model: models[model], default=b"")
        return {name for name, model in first.items() if model == best == second.get(name)}


@holds_secrets
class MpcServer:
    """Counts arrivals and asks the computing servers for the sum; it sees no share.

    A client whose share a computing server cannot use, or that names two models, is left out from then on; the
    evidence is with the computing servers.
    """

    name = "server"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sums = OpenSums(plan)
        self._faults = Faults(plan)
        self._progress: dict[Key, _Progress] = {}

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The clients that were found at fault and are left out."""
        return self._faults.found

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`."""
        match item:
            case Begin():
                if not self._sums.begin(item):
                    return ()
                self._progress[(item.round, item.upload)] = _Progress()
                return self._tell((item.round, item.upload), "begin", b"")
            case Deadline():
                key = self._sums.key_of(item)
                return () if key is None else self._deadline(key, self._progress[key])
            case Message():
                key = self._sums.key_of(item)
                if key is None or item.sender not in COMPUTE:
                    return ignored(item, "no open sum for it, or not from a computing server")
                return self._hear(item, key, self._progress[key])

    def _deadline(self, key: Key, progress: _Progress) -> tuple[Item, ...]:
        if progress.waiting:
            return self._give_up(key, "a computing server did not answer; run another round.")
        progress.waiting = True
        return () if progress.asked else self._ask(key)

    def _hear(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        if message.kind in ("have", "bad") and not progress.asked:
            match _unpacked(message.payload):
                case [str(name), bytes(model)] if name in self._plan.places and name not in self._faults:
                    progress.arrived[message.sender].setdefault(name, model)
                    if len({each[name] for each in progress.arrived.values() if name in each}) > 1:
                        self._faults.note(Fault(name=name, reason=f"{name!r} named two models for one vector"))
                case [str(name), str(why)] if name in self._plan.places:
                    reason = f"{name!r} sent {message.sender} a share that it cannot use: {why[:200]}"
                    self._faults.note(Fault(name=name, reason=reason))
            names = self._faults.names
            # Sets of all names for every share would make the time quadratic in them.
            if min(len(each) for each in progress.arrived.values()) + len(names) < len(self._plan.clients):
                return ()
            return self._ask(key) if progress.together() | set(names) >= set(self._plan.clients) else ()
        if message.kind == "sum" and progress.asked:
            progress.answers.setdefault(message.sender, message.payload)
            return self._finish(key, progress) if len(progress.answers) == len(COMPUTE) else ()
        if message.kind == "refused" and progress.asked:
            reason = message.payload[:500].decode(errors="replace")
            return self._give_up(key, f"{message.sender} refused: {reason}.")
        return ignored(message, "not expected now")

    def _ask(self, key: Key) -> tuple[Item, ...]:
        progress = self._progress[key]
        names = in_order(self._plan, progress.together())
        abort = self._sums.too_few(key, len(names), self._faults.names)
        if abort is not None:
            del self._progress[key]
            return (*self._tell(key, "forget", b""), abort)
        progress.asked = names
        return self._tell(key, "reveal", pack_value(list(names)))

    def _finish(self, key: Key, progress: _Progress) -> tuple[Item, ...]:
        raw, check = (progress.answers[role] for role in COMPUTE)
        match _unpacked(raw):
            case [list(bits), bytes(total)] if hashlib.sha256(raw).digest() == check:
                names = tuple(name for name, bit in zip(progress.asked, bits, strict=False) if bit is True)
                # Who exceeds a norm is left out of this sum: the next is checked again.
                left_out = in_order(self._plan, {*progress.asked, *self._faults.names} - set(names))
                fits = len(bits) == len(progress.asked) and len(total) == 8 * self._plan.find(key[1]).length
                if fits and len(names) >= self._plan.min_clients:
                    values = np.frombuffer(total, dtype="<i8").astype(np.int64)
                    beyond = beyond_bound(self._plan, key[1], values, len(names))
                    if beyond:
                        return self._give_up(key, beyond)
                    del self._progress[key]
                    self._sums.close(key)
                    return (Aggregate(self._plan.session, *key, values, names, left_out),)
        return self._give_up(key, "the computing servers opened different sums; restart both.")

    def _give_up(self, key: Key, reason: str) -> tuple[Item, ...]:
        del self._progress[key]
        return (*self._tell(key, "forget", b""), self._sums.abort(key, reason, self._faults.names))

    def _tell(self, key: Key, kind: str, payload: bytes) -> tuple[Message, ...]:
        return tuple(
            Message(
                sender="server",
                receiver=role,
                kind=kind,
                session=self._plan.session,
                round=key[0],
                upload=key[1],
                payload=payload,
            )
            for role in COMPUTE
        )


def _unpacked(payload: bytes) -> object:
    """What the bytes hold, or None if they are malformed."""
    try:
        return unpack_value(payload)
    except MessageError:
        return None
