"""The server of "secagg" and "secagg+": adds masked vectors as they come, and takes the masks off their sum.

It keeps a few vectors, however many clients there are. Sums are run one at a time; a sum that is begun while
another is under way waits for it. `Deadline` closes the phase that a sum is in (set-up, keys, vectors,
confirmations, shares) without the clients that are missing.

A client that signs what no client says is left out of the session from then on, and the sum goes on without waiting
for it. If its masks cannot be taken off, that sum is aborted and the next ones do without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from crypto.errors import CryptoError, MessageError
from crypto.keys.secrecy import holds_secrets
from crypto.planning.masks import signatures_needed
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Key, OpenSums, beyond_bound, ignored
from crypto.protocols.envelope import is_signed
from crypto.protocols.faults import Fault, Faults
from crypto.protocols.masks.adding import VectorSum, vector_sum
from crypto.protocols.masks.errors import FaultError, RecordError
from crypto.protocols.masks.keyring import SET_UP, Keyring
from crypto.protocols.masks.keys import MaskContext
from crypto.protocols.masks.members import mask_parameters
from crypto.protocols.masks.recovery import Recovery, signed_total
from crypto.protocols.masks.requests import Shares, UnmaskRequest, read_masked, statement, write_number, write_survivors
from crypto.protocols.masks.stream import Ring
from crypto.wire.messages import MAX_REASON, Aggregate, Begin, Deadline, Input, Item, Message

Phase = Literal["keys", "vectors", "confirm", "shares"]


@dataclass
class _Pile:
    """The sum of the vectors that came with one model digest."""

    total: VectorSum
    senders: set[int] = field(default_factory=set)


@dataclass
class _Opening:
    """A closed pile on its way to the sum."""

    context: MaskContext
    total: Ring
    survivors: tuple[int, ...]
    signed: bytes
    recovery: Recovery
    asked: frozenset[int]
    proofs: dict[int, bytes] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)


@dataclass
class _Sum:
    """The sum under way."""

    key: Key
    phase: Phase = "keys"
    piles: dict[bytes, _Pile] = field(default_factory=dict)
    opening: _Opening | None = None

    def sent(self) -> set[int]:
        """Everybody whose vector arrived."""
        return {index for pile in self.piles.values() for index in pile.senders}


@holds_secrets
class MaskServer:
    """Learns one sum for each (round, upload), and nothing else about the vectors in it."""

    name = "server"

    def __init__(self, plan: Plan, threads: int = 1) -> None:
        """Serve `plan`, computing on so many `threads`."""
        self._plan, self._threads = plan, threads
        self._parameters = mask_parameters(plan)
        self._places = {name: place for place, name in enumerate(plan.clients)}
        self._sums = OpenSums(plan)
        self._keys = Keyring(plan)
        self._faults = Faults(plan)
        self._unusable: set[str] = set()
        self._opened: dict[str, Message] = {}
        self._current: _Sum | None = None
        self._waiting: deque[Key] = deque()

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The clients that were found at fault and are left out, with the evidence."""
        return self._faults.found

    def start(self) -> tuple[Item, ...]:
        """Nothing to send before the clients' hellos."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`."""
        match item:
            case Begin():
                if not self._sums.begin(item):
                    return ()
                self._waiting.append((item.round, item.upload))
                return self._next_sum()
            case Deadline():
                return self._deadline(item)
            case Message():
                if item.session != self._plan.session or item.sender not in self._places:
                    return ignored(item, "of another session, or not from a client")
                if item.sender in self._faults or item.sender in self._unusable:
                    return ignored(item, "from a client that is left out")
                try:
                    return self._take(item, self._places[item.sender])
                except FaultError as error:
                    self._blame(item, str(error))
                    return self._leave_out(self._places[item.sender])
                except CryptoError as error:
                    return ignored(item, str(error))

    def _blame(self, item: Message, reason: str) -> None:
        """Note a fault, if a third party can be shown that the message is its sender's.

        A vector's tag proves that to this server and shows it to nobody else; where the signature beside it does not
        hold, the sender is left out as unusable, and counts as absent.
        """
        if item.kind in self._plan.rules.tagged and self._plan.roster is not None and not is_signed(self._plan, item):
            self._unusable.add(item.sender)
            ignored(item, f"{reason}; unusable, and left out without blame, as its signature does not hold")
        else:
            self._faults.in_message(item, reason)

    def _take(self, item: Message, sender: int) -> tuple[Item, ...]:
        if item.kind in ("hello", "open", "capsules"):
            return self._enrol(item)
        if item.kind in ("offer", "spent"):
            self._keys.offer(sender, item.payload)
            return self._offered(sender, item.kind == "spent")
        current = self._current
        if current is None or current.key != (item.round, item.upload):
            return ignored(item, "its sum is not under way")
        match item.kind:
            case "masked" if current.phase == "vectors":
                return self._masked(current, sender, item)
            case "confirmed" if current.phase == "confirm" and current.opening is not None:
                return self._confirmed(current, current.opening, sender, item)
            case "shares" if current.phase == "shares" and current.opening is not None:
                return self._shares(current, current.opening, sender, item)
        return ignored(item, "of a kind or phase that is not waited for")

    def _enrol(self, item: Message) -> tuple[Item, ...]:
        self._keys.enrol(item.kind, item.sender, item.payload)
        if item.kind == "open":
            self._opened[item.sender] = item
        sharers = self._keys.sharers()
        shown = tuple(self._opened[name] for name in sharers)
        for name in sharers:
            why = f"{name!r} has a channel key that another client has as well"
            self._faults.note(Fault(name=name, reason=why, evidence=shown))
            self._keys.leave_out(self._places[name])
        return self._gathered(self._keys.go_on())

    def _gathered(self, sent: tuple[Message, ...]) -> tuple[Item, ...]:
        """What follows from a step of the set-up: the next broadcast, or the end of a sum that waits for it."""
        return (*sent, *self._abort(self._current, self._keys.failed)) if self._keys.failed else sent

    def _leave_out(self, *indices: int) -> tuple[Item, ...]:
        """Go on without clients, whatever phase the sum is in."""
        for index in indices:
            self._keys.leave_out(index)
        if not self._keys.enrolled:
            return self._gathered(self._keys.go_on())
        current = self._current
        opening = None if current is None else current.opening
        if current is None or current.phase == "keys":
            return self._close_keys(current) if self._keys.complete else ()
        if opening is None:
            return self._close_vectors(current) if self._arrived(current) else ()
        opening.asked -= set(indices)
        if current.phase == "confirm":
            return self._close_confirm(current, opening) if opening.asked <= set(opening.proofs) else ()
        return self._finish(current, opening) if opening.answered >= opening.asked else ()

    def _deadline(self, item: Deadline) -> tuple[Item, ...]:
        key, current = (item.round, item.upload), self._current
        if key == SET_UP:
            return self._tick()
        if self._sums.key_of(item) is None:
            return ()
        if current is None or current.key != key:
            self._waiting.remove(key)
            return (self._sums.abort(key, "0 clients arrived: another sum was under way; begin it after that one."),)
        if current.phase == "keys":
            return self._close_keys(current) if self._keys.enrolled else self._tick()
        if current.phase == "vectors" or current.opening is None:
            return self._close_vectors(current)
        if current.phase == "confirm":
            return self._close_confirm(current, current.opening)
        return self._finish(current, current.opening)

    def _tick(self) -> tuple[Item, ...]:
        """Go on with the set-up, or with the first keys."""
        if self._keys.enrolled:
            return () if self._keys.begun else self._close_keys(self._current)
        return self._gathered(self._keys.tick())

    def _offered(self, sender: int, spent: bool) -> tuple[Item, ...]:
        current = self._current
        if spent and self._keys.begun and sender in self._keys.epoch.offers:
            self._keys.epoch.spent.add(sender)
            if current is not None and current.phase == "vectors" and not current.piles and self._keys.worn_out:
                current.phase = "keys"
                return self._keys.invite()
            if current is not None and current.phase == "vectors" and self._arrived(current):
                return self._close_vectors(current)
        if self._keys.complete and (current is None or current.phase == "keys"):
            return self._close_keys(current)
        return ()

    def _close_keys(self, current: _Sum | None) -> tuple[Item, ...]:
        """Hand out keys to those who have offered; a sum that waits for keys takes vectors then."""
        offered, waits = self._keys.offered, current is not None and current.phase == "keys"
        sent = self._keys.hand_out()
        if current is None or not waits:
            return sent
        if not sent:
            n, least = len(self._plan.clients), self._plan.min_clients
            return self._abort(
                current, f"{offered} of {n} clients have keys, the plan demands {least}; run another round."
            )
        return (*sent, *self._open_vectors(current))

    def _next_sum(self) -> tuple[Item, ...]:
        if self._current is not None or not self._waiting:
            return ()
        current = self._current = _Sum(self._waiting.popleft())
        if self._keys.failed:
            return self._abort(current, self._keys.failed)
        if not self._keys.enrolled:
            return ()
        if not self._keys.worn_out:
            return self._open_vectors(current)
        return self._close_keys(current) if self._keys.complete else self._keys.invite()

    def _open_vectors(self, current: _Sum) -> tuple[Item, ...]:
        current.phase = "vectors"
        number = write_number(self._keys.epoch.number)
        return tuple(self._keys.message(index, "begin", current.key, number) for index in self._keys.members)

    def _masked(self, current: _Sum, sender: int, item: Message) -> tuple[Item, ...]:
        number, model, packed = read_masked(item.payload)
        epoch, upload = self._keys.epoch, self._plan.find(item.upload)
        again = any(sender in pile.senders for pile in current.piles.values())
        if number != epoch.number or sender not in epoch.offers or again:
            raise RecordError(f"a vector with keys of epoch {number}, a second one, or of somebody outside the cohort")
        bits = self._plan.ring_bits(upload.name)
        pile = current.piles.get(model)
        if pile is None:
            # Vectors of different models do not add up; as many corrupt clients as may be each name one of their own.
            if len(current.piles) > self._plan.max_dropouts:
                raise RecordError(f"a vector of a further model; {len(current.piles)} are told apart")
            pile = _Pile(vector_sum(upload.length, bits, self._threads))
        try:
            pile.total.add(packed)
        except MessageError as error:
            raise FaultError(str(error)) from error
        pile.senders.add(sender)
        current.piles[model] = pile
        return self._close_vectors(current) if self._arrived(current) else ()

    def _arrived(self, current: _Sum) -> bool:
        """Whether everybody with unused keys has sent a vector."""
        epoch = self._keys.epoch
        few = sum(len(pile.senders) for pile in current.piles.values()) + len(epoch.spent) < len(epoch.offers)
        # Counting first: it is asked after every vector, and sets of a thousand clients take their time.
        return bool(current.piles) and not few and current.sent() | epoch.spent >= set(epoch.offers)

    def _close_vectors(self, current: _Sum) -> tuple[Item, ...]:
        plan, epoch, setup = self._plan, self._keys.epoch, self._keys.setup
        model, pile = max(current.piles.items(), key=lambda each: len(each[1].senders), default=(b"", None))
        arrived = 0 if pile is None else len(pile.senders)
        if pile is None or arrived < plan.min_clients:
            n, least = len(plan.clients), plan.min_clients
            return self._abort(
                current, f"{arrived} of {n} clients arrived, the plan demands {least}; run another round."
            )
        survivors = tuple(sorted(pile.senders))
        dropped = tuple(sorted(set(epoch.offers) - pile.senders))
        round, upload = current.key
        context = MaskContext(
            protocol=plan.protocol,
            session=plan.session,
            setup=setup.digest,
            epoch=epoch.number,
            round=round,
            upload=upload,
            model=model,
        )
        recovery = Recovery(plan, setup, epoch.offers, self._parameters.threshold, survivors, dropped, epoch.disputed)
        signed = statement(context, epoch.offers, survivors)
        opening = _Opening(context, pile.total.take(), survivors, signed, recovery, frozenset(survivors))
        current.piles, current.opening = {}, opening
        if self._parameters.mode == "semi-honest":
            return self._open_shares(current, opening)
        current.phase = "confirm"
        body = write_survivors(epoch.number, survivors)
        return tuple(self._keys.message(index, "confirm", current.key, body) for index in survivors)

    def _confirmed(self, current: _Sum, opening: _Opening, sender: int, item: Message) -> tuple[Item, ...]:
        if sender not in opening.asked or sender in opening.proofs:
            raise RecordError("a confirmation that was not asked for, or a second one")
        if not self._keys.setup.trust.holds(item.sender, opening.signed, item.payload):
            raise FaultError("a confirmation of something else than the set of survivors")
        opening.proofs[sender] = item.payload
        return self._close_confirm(current, opening) if opening.asked <= set(opening.proofs) else ()

    def _close_confirm(self, current: _Sum, opening: _Opening) -> tuple[Item, ...]:
        needed = signatures_needed(len(self._plan.clients), self._parameters.corrupt)
        if len(opening.proofs) < needed:
            return self._abort(current, f"{len(opening.proofs)} clients confirmed the survivors, {needed} are needed.")
        opening.asked = frozenset(opening.proofs)
        return self._open_shares(current, opening)

    def _open_shares(self, current: _Sum, opening: _Opening) -> tuple[Item, ...]:
        """Ask for shares; everybody who is not asked is invited to the sum after this one."""
        current.phase = "shares"
        recovery = opening.recovery
        asked = UnmaskRequest(opening.context.epoch, recovery.survivors, recovery.dropped, opening.proofs).to_bytes()
        requests = (self._keys.message(index, "unmask", current.key, asked) for index in sorted(opening.asked))
        return (*self._keys.invite(but=opening.asked), *requests)

    def _shares(self, current: _Sum, opening: _Opening, sender: int, item: Message) -> tuple[Item, ...]:
        answer = Shares.from_bytes(item.payload)
        if sender not in opening.asked or sender in opening.answered or answer.epoch != opening.context.epoch:
            raise RecordError("an answer that was not asked for, or a second one")
        opening.recovery.take(sender, answer.triples, answer.bad)
        opening.answered.add(sender)
        if answer.offer:
            try:
                self._keys.offer(sender, answer.offer)
            except FaultError:
                raise
            except RecordError as error:
                ignored(item, str(error))
        return self._finish(current, opening) if opening.answered >= opening.asked else ()

    def _finish(self, current: _Sum, opening: _Opening) -> tuple[Item, ...]:
        recovery = opening.recovery
        liars = recovery.liars(len(opening.answered))
        for fault in liars:
            self._faults.note(fault)
            self._keys.leave_out(self._places[fault.name])
        missing = recovery.missing()
        if liars:
            return self._abort(current, "; ".join(fault.reason for fault in liars))
        if missing:
            few = f"too few shares came for {len(missing)} clients, {missing[0]} for one; run another round"
            return self._abort(current, few)
        try:
            recovery.unmask(opening.context, opening.total, self._threads)
        except CryptoError as error:
            return self._abort(current, str(error))
        total = signed_total(opening.total, self._plan.ring_bits(current.key[1]))
        beyond = beyond_bound(self._plan, current.key[1], total, len(opening.survivors))
        if beyond:
            return self._abort(current, beyond)
        self._sums.close(current.key)
        names = tuple(self._plan.clients[index] for index in opening.survivors)
        outcome = Aggregate(self._plan.session, *current.key, total, names, blamed=self._faults.names)
        return (outcome, *self._after())

    def _abort(self, current: _Sum | None, reason: str) -> tuple[Item, ...]:
        if current is None:
            return ()
        abort = self._sums.abort(current.key, reason[:MAX_REASON], self._faults.names)
        # The invitation is for keys of the next epoch; these of the cohort cannot be used again.
        invited = self._keys.invite() if self._keys.begun else ()
        return (abort, *invited, *self._after())

    def _after(self) -> tuple[Item, ...]:
        """Hand out keys for the next sum if there are enough, and begin the sum that waits."""
        self._current = None
        self._keys.spend()
        keys = self._keys.hand_out()
        return (*keys, *self._next_sum())
