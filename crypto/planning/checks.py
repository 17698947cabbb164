"""What a plan refuses: names, counts, bounds, norms, and fields that could overflow or decrypt wrongly."""

from __future__ import annotations

import math
import operator

from crypto.errors import PlanRefused
from crypto.planning.norms import largest_norm
from crypto.planning.packing import COEFFICIENT_PRIMES, PLAIN_MODULUS, RING_DEGREE, Packing, choose_packing
from crypto.planning.upload import (
    LOG2_MAX_FAILURE,
    MAX_LENGTH,
    ROLE_NAMES,
    Upload,
)
from crypto.wire.messages import MAX_NAME, MAX_ROUND, is_name


def whole(value: int, what: str) -> int:
    """Return a whole number as an int.

    Raises:
        PlanRefused: anything else; names `what`.
    """
    # NumPy's integers overflow silently, so nothing is multiplied before this.
    try:
        return operator.index(value)
    except TypeError as error:
        raise PlanRefused(f"{what} is {value!r}, not a whole number; round it up yourself") from error


def whole_numbers(upload: Upload) -> Upload:
    """Return the upload with Python's own integers.

    Raises:
        PlanRefused: an entry that is no whole number.
    """
    length, bound, noise, norm, noise_norm = (
        whole(getattr(upload, what), f"{what} of upload {upload.name!r}")
        for what in ("length", "bound", "noise_bound", "norm_bound", "noise_norm_bound")
    )
    return Upload(
        name=upload.name,
        length=length,
        bound=bound,
        noise_bound=noise,
        noise_excess=float(upload.noise_excess),
        norm_bound=norm,
        noise_norm_bound=noise_norm,
    )


def check_names(clients: tuple[str, ...], uploads: tuple[Upload, ...], roles: tuple[str, ...]) -> None:
    """Raise PlanRefused unless all names are text of a fit length, name one thing each, and are no role's."""
    vectors = tuple(upload.name for upload in uploads)
    for what, names in (("client", clients), ("upload", vectors)):
        for name in names:
            if not is_name(name):
                raise PlanRefused(f"the {what} name {name!r} is not text of 1 to {MAX_NAME} printable characters")
        if not names or len(set(names)) != len(names):
            raise PlanRefused(f"there are {len(names)} {what}s, {len(set(names))} different; name each one once")
    taken = ROLE_NAMES.union(roles).intersection(clients)
    if taken:
        raise PlanRefused(f"clients cannot be called {sorted(taken)}: these are roles; rename them")


def check_counts(n: int, rounds: int, max_dropouts: int, corrupt: int | None, hides: bool) -> None:
    """Raise PlanRefused for numbers out of range, or for sums that could hide nothing although the protocol `hides`."""
    if not 1 <= rounds <= MAX_ROUND:
        raise PlanRefused(f"{rounds} rounds are outside 1 to {MAX_ROUND}")
    if not 0 <= max_dropouts < n:
        raise PlanRefused(f"{max_dropouts} dropouts of {n} clients: allow 0 to {n - 1}")
    if corrupt is not None and not hides:
        raise PlanRefused(f"corrupt={corrupt} is for protocols that hide vectors, whoever helps; leave it out")
    if corrupt is not None and not 0 <= corrupt < n:
        raise PlanRefused(f"{corrupt} corrupt clients of {n}: assume 0 to {n - 1}")
    least, helpers = n - max_dropouts, corrupt or 0
    if hides and least >= 2 > least - helpers:
        raise PlanRefused(
            f"with {n} clients, {max_dropouts} dropouts and {helpers} corrupt, a sum could hold {least - helpers} "
            "honest vectors; at least 2 must remain: allow fewer dropouts or add clients"
        )
    if hides and least < 2:
        raise PlanRefused(
            f"with {n} clients and {max_dropouts} dropouts a sum could hold {least} vector, which hides "
            f"nothing; at least 2 must remain: allow at most {max(0, n - 2)} dropouts or add clients"
        )


def check_upload(upload: Upload, n: int) -> None:
    """Raise PlanRefused for a length, bound or probability out of range, or a sum of `n` that could leave 64 bits."""
    where = f"upload {upload.name!r}"
    if not 1 <= upload.length <= MAX_LENGTH:
        raise PlanRefused(f"{where} has {upload.length} entries; 1 to {MAX_LENGTH} are allowed")
    if upload.bound < 0 or upload.noise_bound < 0:
        raise PlanRefused(f"{where} has a negative bound ({upload.bound}, {upload.noise_bound}); give 0 or more")
    if not 0.0 <= upload.noise_excess <= 1.0:
        raise PlanRefused(f"{where} has noise_excess {upload.noise_excess}; a probability is needed")
    worst = n * upload.bound + upload.noise_bound
    if worst >= 1 << 63:
        raise PlanRefused(
            f"{where}: a sum of {n} clients can reach 2^{math.log2(worst):.1f}, the limit is 2^63; lower the scale"
        )


def check_norms(upload: Upload, protocol: str, checks: bool) -> None:
    """Raise PlanRefused for norms that the protocol does not check, or whose squares could wrap."""
    where, bounds = f"upload {upload.name!r}", (upload.norm_bound, upload.noise_norm_bound)
    if min(bounds) < 0 or (upload.noise_norm_bound and not upload.norm_bound):
        raise PlanRefused(f"{where} has norm bounds {bounds}; give 0 or more, and one for the vector before its noise")
    if upload.norm_bound and not checks:
        raise PlanRefused(
            f"{where} has norm_bound {upload.norm_bound}, which {protocol} cannot check: one server gets a client's "
            "vector, and nobody holds the second share to check it with; use mpc or helper, or set norm_bound 0"
        )
    largest = largest_norm(upload.length)
    if max(bounds) > largest:
        raise PlanRefused(
            f"{where}: norms up to {max(bounds)} are to be checked, but for {upload.length} entries a sum of squares "
            f"could wrap above {largest}; lower the scale"
        )


def checked_packing(upload: Upload, n: int, rounds: int) -> Packing:
    """Return how sums of `n` clients lie in BFV plaintexts.

    Raises:
        PlanRefused: they do not fit, noise could leave its field, or decryption could fail, each with probability above
            2^-40 over all rounds.
    """
    where, worst = f"upload {upload.name!r}", n * upload.bound + upload.noise_bound
    packing = choose_packing(upload.length, worst)
    if packing is None:
        raise PlanRefused(
            f"{where}: a sum can reach {worst}, a BFV slot holds less than {PLAIN_MODULUS // 2}; lower the "
            "scale or use mpc"
        )
    excess = rounds * upload.noise_excess
    if excess > 2.0**LOG2_MAX_FAILURE:
        raise PlanRefused(
            f"{where}: over {rounds} rounds the noise leaves its field with probability {excess:.2g}, the "
            "limit is 2^-40, as it would corrupt the neighbour; raise noise_bound"
        )
    failure = log2_decryption_failure(n) + math.log2(rounds * packing.chunks)
    if failure > LOG2_MAX_FAILURE:
        raise PlanRefused(
            f"{where}: decrypting sums of {n} ciphertexts may fail with probability 2^{failure:.0f}, the "
            "limit is 2^-40; use fewer clients or mpc"
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
