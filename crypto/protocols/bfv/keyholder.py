"""The key holder of `crypto.protocols.bfv.sessions`: it alone decrypts, and only sums of listed clients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crypto.errors import CiphertextError, MessageError
from crypto.keys.randomness import RandomBytes
from crypto.keys.roster import Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.packing import PLAIN_MODULUS, RING_DEGREE, unpack_fields
from crypto.planning.plans import Plan
from crypto.protocols.bfv.pads import HolderPads, Statement, blocks_of, pad
from crypto.protocols.bfv.sessions import KEYHOLDER, MAX_FRESH_KEYS, SET_UP, write_keys
from crypto.protocols.bfv.tenseal_backend import KeyPair
from crypto.protocols.bookkeeping import Journal, Key, Released, ignored, valid_names
from crypto.wire.messages import Input, Item, Message
from crypto.wire.values import unpack_value


@holds_secrets
class BfvKeyHolder:
    """Makes the key pair, and decrypts one sum for each (round, upload), of enough signed clients.

    Whether a decrypted sum keeps the plan's bound depends on the key, and whoever chooses ciphertexts could ask for the
    key bit by bit. So a sum that does not keep it destroys the key; a fresh one serves later rounds, at most
    `MAX_FRESH_KEYS` times, and then nothing is decrypted any more. What is refused before decryption costs no key.
    """

    name = KEYHOLDER

    def __init__(self, plan: Plan, trust: Trust, random: RandomBytes, journal: Journal | None = None) -> None:
        self._plan = plan
        self._trust = trust
        self._keys: KeyPair | None = KeyPair()
        self._number = 0
        self._padding = HolderPads(plan, random)
        self._opened: set[Key] = set()
        self._released = Released(self.name, journal)

    def start(self) -> tuple[Item, ...]:
        """Send the public keys to server and clients."""
        if self._keys is None:
            return ()
        public = write_keys(self._number, self._keys.public_bytes(), self._padding.public)
        return tuple(
            Message(
                sender=KEYHOLDER,
                receiver=to,
                kind="key",
                session=self._plan.session,
                round=SET_UP[0],
                upload=SET_UP[1],
                payload=public,
            )
            for to in ("server", "clients")
        )

    def on(self, item: Input) -> tuple[Item, ...]:
        """Answer the server's "open" with a "sum" or a "refused" that says why; ignore everything else."""
        if not isinstance(item, Message) or item.kind != "open" or item.sender != "server":
            return ()
        key = (item.round, item.upload)
        if item.session != self._plan.session or not self._plan.covers(*key):
            return ignored(item, "other session or unknown sum")
        if key in self._opened:
            return self._answer(key, "refused", b"this sum was already opened once")
        if self._keys is None:
            spent = f"{MAX_FRESH_KEYS + 1} keys were destroyed by sums that left the plan's bound; open a new session"
            return self._answer(key, "refused", spent.encode())
        try:
            statements, blocks = self._request(item)
            names, model = [statement.name for statement in statements], self._model(statements)
            for block in blocks:
                self._keys.check(block)
            pads = self._pads(key, statements, len(blocks))
            clash = self._released.take(item.round, item.upload, model, names)
            if clash:
                raise MessageError(clash)
            self._opened.add(key)
        except (MessageError, CiphertextError) as error:
            return self._answer(key, "refused", str(error).encode())
        try:
            total = self._decrypt(self._keys, item.upload, blocks, pads, len(statements))
        except CiphertextError as error:
            return (*self._answer(key, "refused", str(error).encode()), *self._renew())
        return self._answer(key, "sum", total.astype("<i8", copy=False).tobytes())

    def _request(self, item: Message) -> tuple[list[Statement], list[bytes]]:
        """The statements and ciphertexts of a request.

        Raises:
            MessageError: a signature does not hold.
        """
        match unpack_value(item.payload):
            case [int(number), list(entries), list(blocks)]:
                if number != self._number:
                    raise MessageError(f"the ciphertexts are under key {number}, which is not key {self._number}")
                statements = [self._statement(item, entry) for entry in entries]
                if valid_names(self._plan, [statement.name for statement in statements]) is None:
                    least = self._plan.min_clients
                    raise MessageError(f"the list is not of at least {least} different clients of the plan")
                return statements, blocks_of(blocks, self._plan.packing(item.upload).chunks)
        raise MessageError("the request is malformed")

    def _statement(self, item: Message, entry: object) -> Statement:
        match entry:
            case [str(name), bytes(digest), bytes(exchange), bytes(model), bytes(proof)] if name in self._plan.places:
                statement = Statement(self._number, name, digest, exchange, model)
                if self._trust.holds(name, statement.signed_bytes(self._plan, item.round, item.upload), proof):
                    return statement
                raise MessageError(f"the statement of {name!r} for this sum is not signed by it")
        raise MessageError("a statement is malformed or not of a client of the plan")

    def _model(self, statements: list[Statement]) -> bytes:
        models = {statement.model for statement in statements}
        if len(models) != 1:
            raise MessageError(f"the vectors listed belong to {len(models)} models")
        return models.pop()

    def _pads(self, key: Key, statements: list[Statement], chunks: int) -> npt.NDArray[np.int64]:
        total = np.zeros((chunks, RING_DEGREE), dtype=np.int64)
        for statement in statements:
            agreed = self._padding.key(statement.name, statement.exchange)
            total = (total + pad(agreed, *key, chunks)) % PLAIN_MODULUS
        return total

    def _renew(self) -> tuple[Item, ...]:
        """Destroy the key, and hand out a fresh one if there may be another."""
        self._keys = KeyPair() if self._number < MAX_FRESH_KEYS else None
        self._number += 1
        return self.start()

    def _decrypt(
        self, keys: KeyPair, name: str, blocks: list[bytes], pads: npt.NDArray[np.int64], clients: int
    ) -> npt.NDArray[np.int64]:
        upload, packing = self._plan.find(name), self._plan.packing(name)
        slots = np.stack([keys.decrypt(block) for block in blocks])
        total, padding = unpack_fields(slots - pads, packing)
        limit = clients * upload.bound + upload.noise_bound
        if padding.any() or int(total.max()) > limit or int(total.min()) < -limit:
            raise CiphertextError(
                "the sum leaves the plan's bound: a ciphertext was malformed or of another key, or the sum is not that "
                "of the clients listed"
            )
        return total

    def _answer(self, key: Key, kind: str, payload: bytes) -> tuple[Item, ...]:
        return (
            Message(
                sender=KEYHOLDER,
                receiver="server",
                kind=kind,
                session=self._plan.session,
                round=key[0],
                upload=key[1],
                payload=payload,
            ),
        )
