"""The plan: everything public about a run of secure sums, fixed and checked before it starts."""

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, assert_never

from crypto.errors import MessageError, PlanRefused, RosterError
from crypto.keys.randomness import system_random
from crypto.keys.roster import PROOF_BYTES, Roster
from crypto.keys.sealed import OVERHEAD as SEAL_OVERHEAD
from crypto.masks.parameters import ASSUMPTIONS, MaskParameters, Mode, overhead_bytes, parameters_for
from crypto.norms import largest_norm
from crypto.packing import COEFFICIENT_PRIMES, PLAIN_MODULUS, RING_DEGREE, Packing, choose_packing
from crypto.wire.messages import MAX_NAME, MAX_ROUND
from crypto.wire.values import pack_value, unpack_value

ProtocolName = Literal["plain", "bfv", "mpc", "secagg", "secagg+"]
ROLE_NAMES = frozenset(("server", "keyholder", "compute0", "compute1", "dealer", "clients"))
MAX_LENGTH = 1 << 27
LOG2_MAX_FAILURE = -40.0
CIPHERTEXT_BYTES = 65_667
SEED_BYTES = 32
# A list of an X25519 key, a model digest of no bytes, a proof, and the ciphertexts, with msgpack's headers.
STATEMENT_BYTES = 1 + (2 + 32) + 2 + (2 + PROOF_BYTES)

_ASSUMPTIONS: dict[ProtocolName, str] = {
    "plain": "None: the server sees every client's vector in the clear.",
    "bfv": (
        "Server and key holder do not collude. The key holder sees each sum. A server that adds other ciphertexts "
        "than those of the clients it lists gets noise. Clients follow the protocol: one that encrypts something else "
        "spoils the sum. BFV with N=4096 and a 109-bit modulus: 128-bit security by "
        "the HomomorphicEncryption.org tables."
    ),
    "mpc": (
        "The server and both computing servers follow the protocol; the computing servers do not collude. The "
        "computing servers see each sum and open it over an unauthenticated local connection. CrypTen is "
        "research-grade software; its random numbers are torch's, seeded with 64 bits."
    ),
}
_ASSUMPTIONS |= dict.fromkeys(("secagg", "secagg+"), ASSUMPTIONS["semi-honest"])
_NORMS = (
    "Norms are checked on shares with products from a dealer process that colludes with neither computing server. "
    "Server and computing servers learn one accept bit for each client and sum, which is constant for honest clients "
    "as they clip first; nobody learns a norm."
)
_PINNED = "Messages are signed by identities that the plan's roster pins."
_FIRST_USE = (
    "Messages are signed; without a roster the first key that each name shows is believed, so the network must "
    "deliver first messages unaltered."
)


@dataclass(frozen=True)
class Upload:
    """One vector that every client sends once a round.

    `length`: number of entries. `bound`: public bound on |x| of ONE client's entry, noise not included.
    `noise_bound`: public bound on |noise of the whole sum| per entry. `noise_excess`: probability that the
    noise of one sum exceeds `noise_bound` in any entry. `norm_bound`: if not 0, the largest L2 norm of one
    client's vector before its noise; "mpc" checks it on shares and leaves out who exceeds it. `noise_norm_bound`:
    the same for the client's noise share, which then travels apart; 0 if there is none.
    """

    name: str
    length: int
    bound: int
    noise_bound: int = 0
    noise_excess: float = 0.0
    norm_bound: int = 0
    noise_norm_bound: int = 0


@dataclass(frozen=True)
class Plan:
    """A checked plan; make it with `plan`. All of it is public."""

    protocol: ProtocolName
    clients: tuple[str, ...]
    uploads: tuple[Upload, ...]
    rounds: int
    max_dropouts: int
    session: str
    min_clients: int
    assumption: str
    packings: tuple[Packing, ...] = field(repr=False)
    roster: Roster | None = field(default=None, repr=False)
    masks: MaskParameters | None = None

    @property
    def checks_norms(self) -> bool:
        """Whether some upload's norms are checked on shares, which takes a dealer process."""
        return any(upload.norm_bound for upload in self.uploads)

    def find(self, name: str) -> Upload:
        """Return the upload of that name; raises PlanRefused if there is none."""
        for upload in self.uploads:
            if upload.name == name:
                return upload
        raise PlanRefused(f"No upload {name!r} in the plan; it has {[u.name for u in self.uploads]}.")

    def sum_bound(self, name: str) -> int:
        """Public bound on |entry| of the sum over all clients, noise included."""
        upload = self.find(name)
        return len(self.clients) * upload.bound + upload.noise_bound

    def client_bytes(self, name: str) -> int:
        """Bytes of payload that one client sends for one sum of this upload (envelopes, about 250 bytes, and
        digests of models aside).
        """
        upload = self.find(name)
        match self.protocol:
            case "plain":
                return 8 * upload.length
            case "bfv":
                chunks = self.packing(name).chunks
                header = 1 if chunks < 16 else 3 if chunks < 1 << 16 else 5
                return STATEMENT_BYTES + header + chunks * (CIPHERTEXT_BYTES + 5)
            case "mpc":
                vectors = 2 if upload.noise_norm_bound else 1
                return 8 * vectors * upload.length + SEED_BYTES + 2 * (SEAL_OVERHEAD + 1)
            case "secagg" | "secagg+":
                return -(-upload.length * self.ring_bits(name) // 8) + overhead_bytes(self.masks)
        assert_never(self.protocol)

    def ring_bits(self, name: str) -> int:
        """Bits of an entry under masks: the smallest ring in which the sum does not wrap."""
        return max(1, (2 * self.sum_bound(name)).bit_length())

    def packing(self, name: str) -> Packing:
        """How the upload lies in BFV plaintexts; raises PlanRefused under another protocol."""
        for upload, packing in zip(self.uploads, self.packings, strict=False):
            if upload.name == name:
                return packing
        raise PlanRefused(f"No packing for {name!r}: the protocol is {self.protocol} or the upload is unknown.")

    def covers(self, number: int, name: str) -> bool:
        """Whether (round `number`, upload `name`) belongs to this plan."""
        return 0 <= number < self.rounds and any(upload.name == name for upload in self.uploads)

    def to_bytes(self) -> bytes:
        """Write the plan for another process; `plan_from_bytes` reads it and checks it again."""
        uploads = [
            [u.name, u.length, u.bound, u.noise_bound, u.noise_excess, u.norm_bound, u.noise_norm_bound]
            for u in self.uploads
        ]
        roster = None if self.roster is None else [list(entry) for entry in self.roster.entries]
        parts = [self.protocol, list(self.clients), uploads, self.rounds, self.max_dropouts, self.session, roster]
        return pack_value([*parts, *([] if self.masks is None else [self.masks.corrupt, self.masks.mode])])


def plan(
    protocol: ProtocolName,
    clients: Iterable[str],
    uploads: Iterable[Upload],
    rounds: int,
    max_dropouts: int = 0,
    session: str | None = None,
    roster: Roster | None = None,
    corrupt: int | None = None,
    mode: Mode = "semi-honest",
) -> Plan:
    """Check everything public about a run and return its plan.

    `session` names the run; None draws 128 random bits, the only thing here that is not a function of the
    arguments. `roster` pins the identities of clients and roles; None believes the first key that each name
    shows. `corrupt` (how many clients may work with the server; None: a tenth) and `mode` are for "secagg" and
    "secagg+", see `crypto.masks.parameters`. Raises PlanRefused, with the value, the limit and the remedy, if names
    clash or the roster lacks one, a number is out of range, fewer than two clients would be summed (unless
    "plain"), a sum could leave 64 bits, a norm cannot be checked, or, under "bfv", a sum does not fit a packed
    field, noise could exceed it with probability above 2^-40 over all rounds, or decryption could fail with
    probability above 2^-40.
    """
    names, vectors = tuple(clients), tuple(_whole_numbers(upload) for upload in uploads)
    rounds, max_dropouts = _whole(rounds, "rounds"), _whole(max_dropouts, "max_dropouts")
    _check_names(names, vectors)
    _check_counts(protocol, len(names), rounds, max_dropouts)
    session = system_random(16).hex() if session is None else session
    if not 0 < len(session) <= MAX_NAME:
        raise PlanRefused(f"The session name has {len(session)} characters; give 1 to {MAX_NAME}.")
    for upload in vectors:
        _check_upload(upload, len(names))
        _check_norms(upload, protocol)
    missing = set(names) - set(names if roster is None else roster.keys)
    if missing:
        raise PlanRefused(f"The roster lacks {len(missing)} clients, {min(missing)!r} for one; add their public keys.")
    corrupt = None if corrupt is None else _whole(corrupt, "corrupt")
    masks = parameters_for(protocol, len(names), max_dropouts, corrupt, mode, roster is not None)
    packings = tuple(_packing(upload, len(names), rounds) for upload in vectors) if protocol == "bfv" else ()
    return Plan(
        protocol=protocol,
        clients=names,
        uploads=vectors,
        rounds=rounds,
        max_dropouts=max_dropouts,
        session=session,
        min_clients=len(names) - max_dropouts,
        assumption=assumption(protocol, vectors, roster is not None, mode),
        packings=packings,
        roster=roster,
        masks=masks,
    )


def assumption(protocol: ProtocolName, uploads: Iterable[Upload], pinned: bool, mode: Mode = "semi-honest") -> str:
    """What a plan of these parts assumes, in words; `pinned`: it has a roster."""
    first = ASSUMPTIONS[mode] if protocol in ("secagg", "secagg+") else _ASSUMPTIONS[protocol]
    parts = [first, _PINNED if pinned else _FIRST_USE]
    if any(upload.norm_bound for upload in uploads):
        parts.insert(1, _NORMS)
    return " ".join(parts)


def plan_from_bytes(data: bytes) -> Plan:
    """Read `Plan.to_bytes` and check the plan again.

    Raises MessageError for malformed bytes and PlanRefused for a plan that `plan` would refuse.
    """
    match unpack_value(data):
        case [
            ("plain" | "bfv" | "mpc" | "secagg" | "secagg+") as protocol,
            list(clients),
            list(uploads),
            int(rounds),
            int(drops),
            str(session),
            (list() | None) as entries,
            *rest,
        ]:
            vectors = []
            for entry in uploads:
                match entry:
                    case [str(name), int(length), int(bound), int(noise), float(excess), int(norm), int(noise_norm)]:
                        vectors.append(Upload(name, length, bound, noise, excess, norm, noise_norm))
                    case _:
                        raise MessageError("An upload of the plan is malformed.")
            match rest:
                case [] if protocol in ("plain", "bfv", "mpc"):
                    return plan(protocol, clients, vectors, rounds, drops, session, _roster(entries))
                case [int(corrupt), ("semi-honest" | "active") as mode]:
                    return plan(protocol, clients, vectors, rounds, drops, session, _roster(entries), corrupt, mode)
    raise MessageError("The bytes are not a plan.")


def _roster(entries: list[object] | None) -> Roster | None:
    if entries is None:
        return None
    found: list[tuple[str, bytes]] = []
    for entry in entries:
        match entry:
            case [str(name), bytes(key)]:
                found.append((name, key))
            case _:
                raise MessageError("The roster of the plan is malformed.")
    try:
        return Roster(tuple(found))
    except RosterError as error:
        raise MessageError(str(error)) from error


def _whole(value: int, what: str) -> int:
    # NumPy's integers overflow silently, so nothing is multiplied before this.
    try:
        return operator.index(value)
    except TypeError as error:
        raise PlanRefused(f"{what} is {value!r}, not a whole number; round it up yourself.") from error


def _whole_numbers(upload: Upload) -> Upload:
    length, bound, noise, norm, noise_norm = (
        _whole(getattr(upload, what), f"{what} of upload {upload.name!r}")
        for what in ("length", "bound", "noise_bound", "norm_bound", "noise_norm_bound")
    )
    return Upload(upload.name, length, bound, noise, float(upload.noise_excess), norm, noise_norm)


def _check_names(clients: tuple[str, ...], uploads: tuple[Upload, ...]) -> None:
    vectors = tuple(upload.name for upload in uploads)
    for what, names in (("client", clients), ("upload", vectors)):
        for name in names:
            if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
                raise PlanRefused(f"The {what} name {name!r} is not text of 1 to {MAX_NAME} characters.")
        if not names or len(set(names)) != len(names):
            raise PlanRefused(f"There are {len(names)} {what}s, {len(set(names))} different; name each one once.")
    taken = ROLE_NAMES.intersection(clients)
    if taken:
        raise PlanRefused(f"Clients cannot be called {sorted(taken)}: these are roles; rename them.")


def _check_counts(protocol: ProtocolName, n: int, rounds: int, max_dropouts: int) -> None:
    if protocol not in _ASSUMPTIONS:
        raise PlanRefused(f"Unknown protocol {protocol!r}; choose one of {sorted(_ASSUMPTIONS)}.")
    if not 1 <= rounds <= MAX_ROUND:
        raise PlanRefused(f"{rounds} rounds are outside 1 to {MAX_ROUND}.")
    if not 0 <= max_dropouts < n:
        raise PlanRefused(f"{max_dropouts} dropouts of {n} clients: allow 0 to {n - 1}.")
    least = n - max_dropouts
    if protocol != "plain" and least < 2:
        raise PlanRefused(
            f"With {n} clients and {max_dropouts} dropouts a sum could hold {least} vector, which hides "
            f"nothing; at least 2 must remain: allow at most {max(0, n - 2)} dropouts or add clients."
        )


def _check_upload(upload: Upload, n: int) -> None:
    where = f"Upload {upload.name!r}"
    if not 1 <= upload.length <= MAX_LENGTH:
        raise PlanRefused(f"{where} has {upload.length} entries; 1 to {MAX_LENGTH} are allowed.")
    if upload.bound < 0 or upload.noise_bound < 0:
        raise PlanRefused(f"{where} has a negative bound ({upload.bound}, {upload.noise_bound}); give 0 or more.")
    if not 0.0 <= upload.noise_excess <= 1.0:
        raise PlanRefused(f"{where} has noise_excess {upload.noise_excess}; a probability is needed.")
    worst = n * upload.bound + upload.noise_bound
    if worst >= 1 << 63:
        raise PlanRefused(
            f"{where}: a sum of {n} clients can reach 2^{math.log2(worst):.1f}, the limit is 2^63; lower the scale."
        )


def _check_norms(upload: Upload, protocol: ProtocolName) -> None:
    where, bounds = f"Upload {upload.name!r}", (upload.norm_bound, upload.noise_norm_bound)
    if min(bounds) < 0 or (upload.noise_norm_bound and not upload.norm_bound):
        raise PlanRefused(f"{where} has norm bounds {bounds}; give 0 or more, and one for the vector before its noise.")
    if upload.norm_bound and protocol != "mpc":
        raise PlanRefused(f"{where} asks for a norm check, which {protocol} cannot do; use mpc or set norm_bound 0.")
    largest = largest_norm(upload.length)
    if max(bounds) > largest:
        raise PlanRefused(
            f"{where}: norms up to {max(bounds)} are to be checked, but for {upload.length} entries a sum of squares "
            f"could wrap above {largest}; lower the scale."
        )


def _packing(upload: Upload, n: int, rounds: int) -> Packing:
    where, worst = f"Upload {upload.name!r}", n * upload.bound + upload.noise_bound
    packing = choose_packing(upload.length, worst)
    if packing is None:
        raise PlanRefused(
            f"{where}: a sum can reach {worst}, a BFV slot holds less than {PLAIN_MODULUS // 2}; lower the "
            "scale or use mpc."
        )
    excess = rounds * upload.noise_excess
    if excess > 2.0**LOG2_MAX_FAILURE:
        raise PlanRefused(
            f"{where}: over {rounds} rounds the noise leaves its field with probability {excess:.2g}, the "
            "limit is 2^-40, as it would corrupt the neighbour; raise noise_bound."
        )
    failure = log2_decryption_failure(n) + math.log2(rounds * packing.chunks)
    if failure > LOG2_MAX_FAILURE:
        raise PlanRefused(
            f"{where}: decrypting sums of {n} ciphertexts may fail with probability 2^{failure:.0f}, the "
            "limit is 2^-40; use fewer clients or mpc."
        )
    return packing


def log2_decryption_failure(n: int) -> float:
    """Bound the probability, as log2, that a sum of `n` fresh BFV ciphertexts decrypts wrongly anywhere.

    After SEAL switches a fresh ciphertext from 109 to 60 bits, its noise is that of rounding, r0 + r1 * s,
    with r in [-1/2, 1/2] and s ternary: sub-Gaussian with variance proxy (1 + N)/4; encoding adds at most 1/2
    for each summand. Decryption is right while the sum's noise stays below q/(2t), q the 60-bit prime. Treats
    rounding errors as independent, as is usual (Costache, Laine, Player, "Evaluating the effectiveness of
    heuristic worst-case noise analysis in FHE", 2020, section 3).
    """
    room = COEFFICIENT_PRIMES[0] / PLAIN_MODULUS / 2 - n / 2
    if room <= 0:
        return 0.0
    tail = room**2 / (2 * n * (1 + RING_DEGREE) / 4)
    return min(0.0, 1 + math.log2(RING_DEGREE) - tail / math.log(2))
