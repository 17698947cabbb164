"""The client of "secagg" and "secagg+": one masked vector and one answer for each sum.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017 (double
masks), on the graph of Bell et al., CCS 2020, with fresh keys for every sum: the answer to one sum carries the
offer for the next (see `crypto.protocols.masks.offers`), so a steady sum takes two exchanges, or three in active mode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from crypto.errors import CryptoError, SubmissionRefused
from crypto.keys.randomness import RandomBytes, system_random
from crypto.keys.roster import Identity
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Journal, Released, Submissions, ignored
from crypto.protocols.masks import rules
from crypto.protocols.masks.enrolment import Checked, Enrolment
from crypto.protocols.masks.epoch import ClientEpoch
from crypto.protocols.masks.errors import RecordError, UnmaskRefused
from crypto.protocols.masks.journal import MemoryJournal
from crypto.protocols.masks.members import mask_parameters
from crypto.protocols.masks.offers import EpochKeys, make_offer
from crypto.protocols.masks.requests import (
    KeyList,
    Shares,
    UnmaskRequest,
    read_number,
    read_survivors,
    statement,
    write_masked,
)
from crypto.wire.messages import Input, Item, Message

SERVER = "server"
SET_UP = (0, "-")


@holds_secrets
class MaskClient:
    """Masks its vectors, and reveals for each sum either of two secrets of each neighbour, never both."""

    def __init__(
        self,
        plan: Plan,
        identity: Identity,
        random: RandomBytes = system_random,
        public: object | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Open the session of `identity.name`.

        `public`: another client's `public`. `journal`: where answers are recorded before they are given; None
        keeps the record in memory, so that a crash must end the session.
        """
        self.name = identity.name
        self._plan, self._identity, self._random = plan, identity, random
        self._parameters = mask_parameters(plan)
        self._journal = MemoryJournal() if journal is None else journal
        self._checked = public if isinstance(public, Checked) else Checked()
        self._enrolment = Enrolment(plan, identity, random, self._checked)
        self._me = plan.clients.index(identity.name)
        self._submissions = Submissions(plan)
        self._released = Released(self.name, self._journal)
        self._offered: tuple[EpochKeys, bytes] | None = None
        self._epoch: ClientEpoch | None = None

    @property
    def ready(self) -> bool:
        """Whether this client has unused keys for the next sum: false also while it sits one out."""
        return self._epoch is not None and self._epoch.stage == "ready"

    @property
    def public(self) -> object | None:
        """What this client has checked of the set-up, to spare others of this process the work."""
        return self._checked

    def start(self) -> tuple[Item, ...]:
        """Send the hello; nothing if the journal shows that this session was started before a crash."""
        if not self._claim("start"):
            return ()
        return (self._message("hello", SET_UP, self._enrolment.hello()),)

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`."""
        if not isinstance(item, Message) or item.session != self._plan.session or item.sender != SERVER:
            return ()
        try:
            return self._answer(item)
        except CryptoError as error:
            return ignored(item, str(error))

    def _answer(self, item: Message) -> tuple[Item, ...]:
        match item.kind:
            case "directory":
                return (self._message("open", SET_UP, self._enrolment.open_for(item.payload)),)
            case "openings":
                return self._capsules(self._enrolment.finish(item.payload))
            case "lattices":
                return self._capsules(self._enrolment.begin_channels(item.payload))
            case "capsules":
                self._enrolment.finish_channels(item.payload)
                return self._offer(0)
            case "prepare":
                return self._offer(read_number(item.payload))
            case "begin":
                return self._begin(item)
            case "keys":
                return self._keys(KeyList.from_bytes(item.payload))
            case "confirm":
                return self._confirm(item)
            case "unmask":
                return self._unmask(item, UnmaskRequest.from_bytes(item.payload))
        return ignored(item, "of no kind that a client takes")

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64], model: bytes = b"") -> tuple[Message, ...]:
        """See `ClientSession.submit`: one message of `ring_bits` bits an entry."""
        return self._submit(round, upload, (vector,), model)

    def submit_apart(
        self,
        round: int,
        upload: str,
        vector: npt.NDArray[np.int64],
        noise: npt.NDArray[np.int64],
        model: bytes = b"",
    ) -> tuple[Message, ...]:
        """The same for a vector and its noise share, whose sum is only made in the ring."""
        return self._submit(round, upload, (vector, noise), model)

    def _submit(
        self, round: int, upload: str, parts: Sequence[npt.NDArray[np.int64]], model: bytes
    ) -> tuple[Message, ...]:
        if self._epoch is None or not self.ready:
            raise SubmissionRefused(
                f"{self.name!r} has no unused keys: it missed the set-up or the last sum, and sits this one out"
            )
        self._submissions.check(round, upload, parts[0], model)
        if not self._claim(f"{self._epoch.number} sent"):
            raise SubmissionRefused(f"the journal shows that the keys of epoch {self._epoch.number} were used")
        try:
            packed = self._epoch.mask(round, upload, model, parts)
        except CryptoError as error:
            raise SubmissionRefused(str(error)) from error
        return (self._message("masked", (round, upload), write_masked(self._epoch.number, model, packed)),)

    def _capsules(self, payload: bytes) -> tuple[Item, ...]:
        return (self._message("capsules", SET_UP, payload),) if payload else ()

    def _offer(self, epoch: int) -> tuple[Item, ...]:
        blob = self._offer_for(epoch)
        return () if blob is None else (self._message("offer", SET_UP, blob),)

    def _offer_for(self, epoch: int) -> bytes | None:
        """The offer for `epoch`, made once; None if it is over or the set-up is not finished."""
        setup, channels = self._enrolment.setup, self._enrolment.channels
        current = -1 if self._epoch is None else self._epoch.number
        if setup is None or not channels or epoch <= current or (self._offered and epoch < self._offered[0].epoch):
            return None
        if self._offered is None or epoch > self._offered[0].epoch:
            if self._offered:
                self._offered[0].erase()
            keys = EpochKeys(epoch, self._random)
            blob = make_offer(
                self._plan, setup, self._identity, keys, channels, self._parameters.threshold, self._random
            )
            self._offered = (keys, blob)
        return self._offered[1]

    def _keys(self, listed: KeyList) -> tuple[Item, ...]:
        setup = self._enrolment.setup
        if setup is None or self._offered is None:
            raise RecordError("a key list came before the offer it answers")
        channels = self._enrolment.channels
        epoch = ClientEpoch(self._plan, setup, setup.trust, self._me, self._offered[0], channels, listed)
        if self._epoch is not None:
            self._epoch.erase()
        self._epoch, self._offered = epoch, None
        return ()

    def _begin(self, item: Message) -> tuple[Item, ...]:
        """Answer with an offer for the next epoch if the keys of this one cannot serve this sum."""
        number = read_number(item.payload)
        fits = self._epoch is not None and self._epoch.number == number
        if fits and self._epoch is not None and self._epoch.used_for() in (None, (item.round, item.upload)):
            return ()
        if self._epoch is not None and self._epoch.number < number:
            self._epoch.erase()
        blob = self._offer_for(number + 1)
        return () if blob is None else (self._message("spent", SET_UP, blob),)

    def _used(self, item: Message, number: int) -> ClientEpoch:
        epoch = self._epoch
        if epoch is None or epoch.number != number or epoch.used_for() != (item.round, item.upload):
            raise UnmaskRefused(f"no vector was sent with the keys of epoch {number} for this sum")
        return epoch

    def _confirm(self, item: Message) -> tuple[Item, ...]:
        number, survivors = read_survivors(item.payload)
        epoch = self._used(item, number)
        if self._parameters.mode != "active" or epoch.stage != "sent" or epoch.context is None:
            raise UnmaskRefused("a set of survivors is confirmed once, and in active mode only")
        rules.check_survivors(self._plan, self._me, epoch.cohort, survivors)
        rules.check_released(self._released, item.round, item.upload, epoch.context.model, self.name)
        if not self._claim(f"{number} confirmed"):
            raise UnmaskRefused(f"the journal shows that a set of survivors of epoch {number} was confirmed")
        epoch.stage, epoch.survivors = "confirmed", survivors
        proof = self._identity.prove(statement(epoch.context, epoch.cohort, survivors))
        return (self._message("confirmed", (item.round, item.upload), proof),)

    def _unmask(self, item: Message, request: UnmaskRequest) -> tuple[Item, ...]:
        epoch, setup = self._used(item, request.epoch), self._enrolment.setup
        active = self._parameters.mode == "active"
        if epoch.stage != ("confirmed" if active else "sent") or epoch.context is None or setup is None:
            raise UnmaskRefused("an epoch is answered once, and in active mode after its survivors were confirmed")
        rules.check_split(epoch.cohort, request.survivors, request.dropped)
        rules.check_survivors(self._plan, self._me, epoch.cohort, request.survivors)
        rules.check_released(self._released, item.round, item.upload, epoch.context.model, self.name)
        if active:
            if request.survivors != epoch.survivors:
                raise UnmaskRefused("the set of survivors is not the one that this client confirmed")
            signed = statement(epoch.context, epoch.cohort, request.survivors)
            rules.check_proofs(self._plan, setup.trust, self._parameters.corrupt, signed, request.proofs)
        if not self._claim(f"{request.epoch} answered"):
            raise UnmaskRefused(f"the journal shows that epoch {request.epoch} was answered")
        reason = self._released.take(item.round, item.upload, epoch.context.model, (self.name,))
        if reason:
            raise UnmaskRefused(reason)
        bad = tuple(sorted(epoch.bad))
        triples = epoch.reveal(request.survivors)
        blob = self._offer_for(request.epoch + 1) or b""
        answer = Shares(request.epoch, triples, bad, blob)
        return (self._message("shares", (item.round, item.upload), answer.to_bytes()),)

    def _claim(self, what: str) -> bool:
        return self._journal.claim(f"{self._plan.session} {self.name} {what}")

    def _message(self, kind: str, place: tuple[int, str], payload: bytes) -> Message:
        return Message(
            sender=self.name,
            receiver=SERVER,
            kind=kind,
            session=self._plan.session,
            round=place[0],
            upload=place[1],
            payload=payload,
        )
