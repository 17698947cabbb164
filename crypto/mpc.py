"""Sums by two computing servers on additive shares modulo 2^64.

A client splits x into PRG(seed) and x - PRG(seed), and seals the seed for one computing server and the
difference for the other, so that nobody on the way can add the two. The computing servers report to the
server who arrived; the server names the clients to sum; both computing servers check the list, add their
shares and open the sum together (CrypTen, see `crypto.crypten_backend`).

Shares are kept per client until the list is known, as a client may have reached one computing server only: 8
bytes an entry and client at compute1, 32 bytes a client at compute0.
"""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from crypto.bookkeeping import Key, OpenSums, Submissions, ignored, in_order, valid_names
from crypto.errors import MessageError, SealError, SubmissionRefused
from crypto.messages import Aggregate, Begin, Deadline, Input, Item, Message
from crypto.planning import SEED_BYTES, Plan
from crypto.randomness import KEY_BYTES, KeyedStream, RandomBytes, derive_key
from crypto.sealed import BoxKey, seal
from crypto.secrecy import holds_secrets
from crypto.wire import pack_value, unpack_value

if TYPE_CHECKING:
    from crypto.protocol import SumOpener

COMPUTE = ("compute0", "compute1")
SET_UP = (0, "-")
Vector = npt.NDArray[np.int64]


def expand(seed: bytes, length: int) -> Vector:
    """The share that a 32-byte seed stands for: `length` pseudo-random int64 (AES-256-CTR, key by HKDF)."""
    stream = KeyedStream(derive_key(seed, "additive share 1"))
    return np.frombuffer(stream(8 * length), dtype="<i8")


@holds_secrets
class MpcClient:
    """Splits and seals its vectors."""

    def __init__(self, plan: Plan, name: str, random: RandomBytes, public: object | None = None) -> None:
        self.name = name
        self._plan = plan
        self._random = random
        self._submissions = Submissions(plan)
        self._keys: dict[str, bytes] = dict(public) if isinstance(public, dict) else {}

    @property
    def ready(self) -> bool:
        """Whether both computing servers' keys are here."""
        return len(self._keys) == len(COMPUTE)

    @property
    def public(self) -> object | None:
        """The computing servers' public keys, or None before they are here."""
        return dict(self._keys) if self.ready else None

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """Take the computing servers' public keys; the first of each counts."""
        if not isinstance(item, Message) or item.session != self._plan.session or item.kind != "key":
            return ()
        if item.sender in COMPUTE and len(item.payload) == KEY_BYTES:
            self._keys.setdefault(item.sender, item.payload)
        return ()

    def submit(self, round: int, upload: str, vector: Vector) -> tuple[Message, ...]:
        """See `ClientSession.submit`: a sealed seed for compute0, a sealed difference for compute1."""
        if not self.ready:
            raise SubmissionRefused("The computing servers' keys have not arrived; deliver their start messages.")
        self._submissions.check(round, upload, vector)
        seed = self._random(SEED_BYTES)
        rest = (vector - expand(seed, vector.size)).astype("<i8", copy=False).tobytes()
        sent = []
        for receiver, share in zip(COMPUTE, (seed, rest), strict=True):
            context = (self._plan.session, round, upload, self.name, receiver)
            box = seal(self._keys[receiver], share, context, self._random)
            sent.append(Message(self.name, receiver, "share", self._plan.session, round, upload, box))
        return tuple(sent)


@holds_secrets
class ComputeServer:
    """Keeps the shares of one of the two computing servers, and opens each sum once."""

    def __init__(self, plan: Plan, role: str, random: RandomBytes, opener: "SumOpener") -> None:
        self.name = role
        self._plan = plan
        self._opener = opener
        self._box = BoxKey(random)
        self._shares: dict[Key, dict[str, bytes]] = {}
        self._closed: set[Key] = set()

    def start(self) -> tuple[Item, ...]:
        """Send the public key to the clients."""
        return (Message(self.name, "clients", "key", self._plan.session, *SET_UP, self._box.public),)

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`. On a "reveal" it waits for the other computing server."""
        if not isinstance(item, Message):
            return ()
        key = (item.round, item.upload)
        if item.session != self._plan.session or not self._plan.covers(*key) or key in self._closed:
            return ignored(item, "other session, unknown or closed sum")
        if item.kind == "share" and item.sender in self._plan.clients:
            return self._take(item, key)
        if item.kind == "reveal" and item.sender == "server":
            return self._reveal(item, key)
        if item.kind == "forget" and item.sender == "server":
            self._close(key)
        return ()

    def _take(self, message: Message, key: Key) -> tuple[Item, ...]:
        shares = self._shares.setdefault(key, {})
        if message.sender in shares:
            return ignored(message, "second share of this client")
        try:
            share = self._box.open(message.payload, (message.session, *key, message.sender, self.name))
        except SealError as error:
            return ignored(message, str(error))
        length = self._plan.find(message.upload).length
        if len(share) != (SEED_BYTES if self.name == COMPUTE[0] else 8 * length):
            return ignored(message, "share of the wrong length")
        shares[message.sender] = share
        return (self._answer(key, "have", message.sender.encode()),)

    def _reveal(self, message: Message, key: Key) -> tuple[Item, ...]:
        try:
            names = valid_names(self._plan, unpack_value(message.payload))
        except MessageError:
            names = None
        if names is None:
            return (self._answer(key, "refused", b"the list of clients is too short or not of this plan"),)
        shares = self._close(key)
        complete = shares.keys() >= set(names)
        digest = hashlib.sha256(pack_value([self._plan.session, *key, list(names)])).digest()
        total = np.zeros(self._plan.find(message.upload).length, dtype=np.int64)
        for name in names if complete else ():
            total += self._vector(shares[name], total.size)
        opened = self._opener.open_sum(total, digest if complete else bytes(len(digest)))
        if opened is None or not complete:
            return (self._answer(key, "refused", b"the computing servers hold different shares or lists"),)
        raw = opened.astype("<i8", copy=False).tobytes()
        return (self._answer(key, "sum", raw if self.name == COMPUTE[0] else hashlib.sha256(raw).digest()),)

    def _vector(self, share: bytes, length: int) -> Vector:
        return expand(share, length) if self.name == COMPUTE[0] else np.frombuffer(share, dtype="<i8")

    def _close(self, key: Key) -> dict[str, bytes]:
        self._closed.add(key)
        return self._shares.pop(key, {})

    def _answer(self, key: Key, kind: str, payload: bytes) -> Message:
        return Message(self.name, "server", kind, self._plan.session, *key, payload)


@dataclass
class _Progress:
    """Who reached which computing server, whom the sum is of once asked for, and the answers."""

    arrived: dict[str, set[str]] = field(default_factory=lambda: {role: set() for role in COMPUTE})
    asked: tuple[str, ...] = ()
    answers: dict[str, bytes] = field(default_factory=dict)


@holds_secrets
class MpcServer:
    """Counts arrivals and asks the computing servers for the sum; it sees no share."""

    name = "server"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sums = OpenSums(plan)
        self._progress: dict[Key, _Progress] = {}

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`."""
        match item:
            case Begin():
                if self._sums.begin(item):
                    self._progress[(item.round, item.upload)] = _Progress()
                return ()
            case Deadline():
                key = self._sums.key_of(item)
                return () if key is None or self._progress[key].asked else self._ask(key)
            case Message():
                key = self._sums.key_of(item)
                if key is None or item.sender not in COMPUTE:
                    return ignored(item, "no open sum for it, or not from a computing server")
                return self._hear(item, key, self._progress[key])

    def _hear(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        if message.kind == "have" and not progress.asked:
            name = message.payload.decode(errors="replace")
            if name in self._plan.clients:
                progress.arrived[message.sender].add(name)
            both = set.intersection(*progress.arrived.values())
            return self._ask(key) if len(both) == len(self._plan.clients) else ()
        if message.kind == "sum" and progress.asked:
            progress.answers.setdefault(message.sender, message.payload)
            return self._finish(key, progress) if len(progress.answers) == len(COMPUTE) else ()
        if message.kind == "refused" and progress.asked:
            reason = message.payload[:500].decode(errors="replace")
            return self._give_up(key, f"{message.sender} refused: {reason}.")
        return ignored(message, "not expected now")

    def _ask(self, key: Key) -> tuple[Item, ...]:
        progress = self._progress[key]
        names = in_order(self._plan, set.intersection(*progress.arrived.values()))
        abort = self._sums.too_few(key, len(names))
        if abort is not None:
            del self._progress[key]
            return (*self._tell(key, "forget", b""), abort)
        progress.asked = names
        return self._tell(key, "reveal", pack_value(list(names)))

    def _finish(self, key: Key, progress: _Progress) -> tuple[Item, ...]:
        raw, check = (progress.answers[role] for role in COMPUTE)
        if len(raw) != 8 * self._plan.find(key[1]).length or hashlib.sha256(raw).digest() != check:
            return self._give_up(key, "the computing servers opened different sums; restart both.")
        del self._progress[key]
        self._sums.close(key)
        total = np.frombuffer(raw, dtype="<i8").astype(np.int64)
        return (Aggregate(self._plan.session, *key, total, progress.asked),)

    def _give_up(self, key: Key, reason: str) -> tuple[Item, ...]:
        del self._progress[key]
        return (*self._tell(key, "forget", b""), self._sums.abort(key, reason))

    def _tell(self, key: Key, kind: str, payload: bytes) -> tuple[Message, ...]:
        return tuple(Message("server", role, kind, self._plan.session, *key, payload) for role in COMPUTE)
