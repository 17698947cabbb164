"""Sums under homomorphic encryption: clients encrypt for a key holder, the server adds ciphertexts.

BFV is exact, so no error is added (Fan, Vercauteren, "Somewhat practical fully homomorphic encryption",
2012). The server holds the public key only; the key holder sees nothing but one sum for each (round, upload),
of at least the plan's number of clients *if the server adds what it says it added*: the list of names is
believed.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from crypto.bookkeeping import Key, OpenSums, Submissions, ignored, in_order, valid_names
from crypto.errors import CiphertextError, MessageError, SubmissionRefused
from crypto.messages import Aggregate, Begin, Deadline, Input, Item, Message
from crypto.packing import pack_fields, unpack_fields
from crypto.planning import Plan
from crypto.secrecy import holds_secrets
from crypto.tenseal_backend import CiphertextSum, KeyPair, PublicKey, encrypt, parse_public_key
from crypto.wire import pack_value, unpack_value

SET_UP = (0, "-")
KEYHOLDER = "keyholder"


def _public_key(plan: Plan, item: Message) -> PublicKey | None:
    """The key holder's public key if this message is one, else None."""
    if item.session != plan.session or item.kind != "key" or item.sender != KEYHOLDER:
        return None
    try:
        return parse_public_key(item.payload)
    except CiphertextError as error:
        ignored(item, str(error))
        return None


def _blocks(payload: bytes, count: int) -> list[bytes]:
    """The ciphertexts of one message; raises MessageError unless there are exactly `count`."""
    blocks = unpack_value(payload)
    if not isinstance(blocks, list) or len(blocks) != count:
        raise MessageError(f"{count} ciphertexts are expected.")
    if not all(isinstance(block, bytes) for block in blocks):
        raise MessageError("A ciphertext is bytes.")
    return blocks


@holds_secrets
class BfvClient:
    """Packs and encrypts its vectors."""

    def __init__(self, plan: Plan, name: str, public: object | None = None) -> None:
        self.name = name
        self._plan = plan
        self._submissions = Submissions(plan)
        self._key = public if isinstance(public, PublicKey) else None

    @property
    def ready(self) -> bool:
        """Whether the public key is here."""
        return self._key is not None

    @property
    def public(self) -> object | None:
        """The parsed public key, or None before it is here."""
        return self._key

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """Take the public key; the first one counts."""
        if isinstance(item, Message) and self._key is None:
            self._key = _public_key(self._plan, item)
        return ()

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64]) -> tuple[Message, ...]:
        """See `ClientSession.submit`: one message with a ciphertext for every 4,096 slots."""
        if self._key is None:
            raise SubmissionRefused("The public key has not arrived; deliver the key holder's start messages.")
        self._submissions.check(round, upload, vector)
        rows = pack_fields(vector, self._plan.packing(upload))
        payload = pack_value([encrypt(self._key, row) for row in rows])
        return (Message(self.name, "server", "ciphertexts", self._plan.session, round, upload, payload),)


@dataclass
class _Progress:
    """One open sum at the server."""

    sums: list[CiphertextSum]
    arrived: set[str] = field(default_factory=set)
    asked: tuple[str, ...] = ()


@holds_secrets
class BfvServer:
    """Adds ciphertexts as they arrive and asks the key holder once for each sum."""

    name = "server"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._key: PublicKey | None = None
        self._sums = OpenSums(plan)
        self._progress: dict[Key, _Progress] = {}

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`. Without the public key no sum is opened."""
        match item:
            case Begin():
                if self._key is not None and self._sums.begin(item):
                    count = self._plan.packing(item.upload).chunks
                    sums = [CiphertextSum(self._key) for _ in range(count)]
                    self._progress[(item.round, item.upload)] = _Progress(sums)
                return ()
            case Deadline():
                key = self._sums.key_of(item)
                return () if key is None or self._progress[key].asked else self._ask(key)
            case Message():
                return self._hear(item)

    def _hear(self, message: Message) -> tuple[Item, ...]:
        if message.kind == "key":
            self._key = self._key or _public_key(self._plan, message)
            return ()
        key = self._sums.key_of(message)
        if key is None:
            return ignored(message, "no open sum for it")
        progress = self._progress[key]
        if message.kind == "ciphertexts" and message.sender in self._plan.clients and not progress.asked:
            return self._add(message, key, progress)
        if message.kind == "sum" and message.sender == KEYHOLDER and progress.asked:
            return self._finish(message, key, progress)
        if message.kind == "refused" and message.sender == KEYHOLDER and progress.asked:
            del self._progress[key]
            reason = message.payload[:500].decode(errors="replace")
            return (self._sums.abort(key, f"The key holder refused: {reason}."),)
        return ignored(message, "not expected now")

    def _add(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        if message.sender in progress.arrived:
            return ignored(message, "second ciphertext of this client")
        try:
            blocks = _blocks(message.payload, len(progress.sums))
            parsed: list[Any] = [total.parse(raw) for total, raw in zip(progress.sums, blocks, strict=True)]
        except (MessageError, CiphertextError) as error:
            return ignored(message, str(error))
        for total, vector in zip(progress.sums, parsed, strict=True):
            total.add(vector)
        progress.arrived.add(message.sender)
        return self._ask(key) if len(progress.arrived) == len(self._plan.clients) else ()

    def _ask(self, key: Key) -> tuple[Item, ...]:
        progress = self._progress[key]
        abort = self._sums.too_few(key, len(progress.arrived))
        if abort is not None:
            del self._progress[key]
            return (abort,)
        progress.asked = in_order(self._plan, progress.arrived)
        payload = pack_value([list(progress.asked), [total.to_bytes() for total in progress.sums]])
        progress.sums.clear()
        return (Message("server", KEYHOLDER, "open", self._plan.session, *key, payload),)

    def _finish(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        del self._progress[key]
        if len(message.payload) != 8 * self._plan.find(message.upload).length:
            return (self._sums.abort(key, "The key holder's answer has the wrong length; restart it."),)
        self._sums.close(key)
        total = np.frombuffer(message.payload, dtype="<i8").astype(np.int64)
        return (Aggregate(self._plan.session, *key, total, progress.asked),)


@holds_secrets
class BfvKeyHolder:
    """Makes the key pair and decrypts one sum for each (round, upload), of enough clients."""

    name = KEYHOLDER

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._keys = KeyPair()
        self._opened: set[Key] = set()

    def start(self) -> tuple[Item, ...]:
        """Send the public key to clients and server."""
        public = self._keys.public_bytes()
        return tuple(Message(KEYHOLDER, to, "key", self._plan.session, *SET_UP, public) for to in ("server", "clients"))

    def on(self, item: Input) -> tuple[Item, ...]:
        """Answer the server's "open" with a "sum" or a "refused" that says why; ignore everything else."""
        if not isinstance(item, Message) or item.kind != "open" or item.sender != "server":
            return ()
        key = (item.round, item.upload)
        if item.session != self._plan.session or not self._plan.covers(*key):
            return ignored(item, "other session or unknown sum")
        if key in self._opened:
            return self._answer(key, "refused", b"this sum was already opened once")
        try:
            names, payload = self._request(item)
            self._opened.add(key)
            total = self._decrypt(item.upload, payload, len(names))
        except (MessageError, CiphertextError) as error:
            return self._answer(key, "refused", str(error).rstrip(".").encode())
        return self._answer(key, "sum", total.astype("<i8", copy=False).tobytes())

    def _request(self, item: Message) -> tuple[tuple[str, ...], list[bytes]]:
        match unpack_value(item.payload):
            case [list(names), list(blocks)]:
                listed = valid_names(self._plan, names)
                if listed is None:
                    least = self._plan.min_clients
                    raise MessageError(f"the list is not of at least {least} different clients of the plan")
                if len(blocks) != self._plan.packing(item.upload).chunks:
                    raise MessageError("the number of ciphertexts is not the plan's")
                if not all(isinstance(block, bytes) for block in blocks):
                    raise MessageError("a ciphertext is bytes")
                return listed, blocks
        raise MessageError("the request is malformed")

    def _decrypt(self, name: str, blocks: list[bytes], clients: int) -> npt.NDArray[np.int64]:
        upload, packing = self._plan.find(name), self._plan.packing(name)
        slots = np.stack([self._keys.decrypt(block) for block in blocks])
        total, padding = unpack_fields(slots, packing)
        limit = clients * upload.bound + upload.noise_bound
        if padding.any() or int(total.max()) > limit or int(total.min()) < -limit:
            raise CiphertextError("the sum leaves the plan's bound: a ciphertext was malformed or of another key")
        return total

    def _answer(self, key: Key, kind: str, payload: bytes) -> tuple[Item, ...]:
        return (Message(KEYHOLDER, "server", kind, self._plan.session, *key, payload),)
