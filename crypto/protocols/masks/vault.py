"""A pair's second secret: of a channel that no quantum computer opens, and recoverable from either end's shares.

Masks of a pair are derived from the X25519 secret of the epoch's keys *and* from a secret that both ends derive, for
each epoch, from the key of their channel (`crypto.protocols.masks.channels`). Of the two, whoever records messages
today and breaks X25519, or ML-KEM, later has one.

A dropped client's masks must come off a sum without it, while its channels serve later sums. So each client locks the
epoch's secrets of all its pairs into a *vault* that lies with the server, under a key derived from the *root* that its
holders have shares of. The root gives the private X25519 key as well, one way: who computes that key from the public
one does not have the root. Nothing else could be shared: ML-KEM's encapsulation takes its randomness from the library.

Beside the vault, both ends commit to each pair's secret. They derive the same, so if the commitments differ one of the
two is corrupt: the server shows each the other's signed one, and the pair's mask rests on X25519 alone, as it protects
nobody. If a vault does not hold what its owner committed to, the owner is at fault, and the evidence of a false dealing
shows it (`crypto.protocols.masks.evidence`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.protocols.masks import listing
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.keys import BOX_OVERHEAD, AgreementKey, digest, head, hkdf, open_box, seal


def pair_secret(channel: bytes, session: str, setup: bytes, epoch: int, ends: tuple[int, int]) -> bytes:
    """The secret of one pair and epoch, from the 32-byte key of its channel; the same at both ends."""
    return hkdf(channel, (min(ends), max(ends)), head("masks pair secret 1", session, setup, epoch))


def pair_commitment(session: str, epoch: int, ends: tuple[int, int], secret: bytes) -> bytes:
    """What both ends say of it: hiding, as the secret is pseudo-random, and binding by SHA-256."""
    return digest((min(ends), max(ends), secret), head("masks pair commitment 1", session, epoch))


def agreement_key(root: bytes) -> AgreementKey:
    """The X25519 key of an epoch, from its 32-byte root; the root cannot be had from it."""
    return AgreementKey(hkdf(root, ("masks root 1", "agreement")))


@dataclass(frozen=True)
class Dealt:
    """The parts of an offer that all its holders see the hash of, for so many holders.

    `shares`: two commitments to shares for each holder. `pairs`: the commitment to the secret shared with each holder,
    zeros in the dealer's own place. `vault`: the locked secrets.
    """

    shares: bytes
    pairs: bytes
    vault: bytes

    @property
    def digest(self) -> bytes:
        """What the dealer signs."""
        return shown_digest(hashlib.sha256(self.shares).digest(), listing.heads(self.pairs), self._vault_digest)

    @property
    def _vault_digest(self) -> bytes:
        return hashlib.sha256(self.vault).digest()

    def to_bytes(self) -> bytes:
        """All parts, joined."""
        return self.shares + self.pairs + self.vault

    @staticmethod
    def from_bytes(joined: bytes, holders: int) -> Dealt:
        """Take them apart.

        Raises:
            RecordError: they are not of so many holders.
        """
        pairs, vault = 2 * KEY_BYTES * holders, 3 * KEY_BYTES * holders
        if len(joined) != vault + KEY_BYTES * holders + BOX_OVERHEAD:
            raise RecordError(f"{len(joined)} bytes are not the commitments to {holders} holders' shares")
        return Dealt(joined[:pairs], joined[pairs:vault], joined[vault:])

    def pair(self, place: int) -> bytes:
        """The commitment to the secret of the pair with the holder at `place`."""
        return self.pairs[KEY_BYTES * place : KEY_BYTES * (place + 1)]

    def show_pair(self, place: int) -> bytes:
        """What shows one such commitment to whoever has the signed hash."""
        heads = listing.heads(self.pairs)
        return hashlib.sha256(self.shares).digest() + self._vault_digest + heads + listing.part(self.pairs, place)


def shown_digest(shares: bytes, heads: bytes, vault: bytes) -> bytes:
    """What a dealer signs of its commitments and vault, from their hashes."""
    return digest(("masks shares 2", shares, heads, vault))


def read_pair(shown: bytes, signed: bytes, place: int, holders: int) -> bytes:
    """The commitment that `Dealt.show_pair` shows, of a dealer with so many holders that signed `signed`.

    Raises:
        RecordError: the dealer did not sign it.
    """
    shares, vault, rest = shown[:KEY_BYTES], shown[KEY_BYTES : 2 * KEY_BYTES], shown[2 * KEY_BYTES :]
    size = len(listing.heads(bytes(KEY_BYTES * holders)))
    found = listing.entry(rest[:size], rest[size:], place)
    if found is None or shown_digest(shares, rest[:size], vault) != signed:
        raise RecordError("the commitment to a pair's secret is not the one that was signed")
    return found


def lock(session: str, epoch: int, dealer: int, root: bytes, secrets: Sequence[bytes], random: RandomBytes) -> bytes:
    """Lock the secrets of all holders, in their order, with `root`, which does this once."""
    return seal(_vault_key(root), b"".join(secrets), ("masks vault 1", session, epoch, dealer), random)


def unlock(
    session: str, epoch: int, dealer: int, root: bytes, holders: Sequence[int], vault: bytes
) -> Mapping[int, bytes]:
    """The secrets by holder.

    Raises:
        RecordError: the vault was not locked with this root.
    """
    plain = open_box(_vault_key(root), vault, ("masks vault 1", session, epoch, dealer))
    return {holder: plain[KEY_BYTES * place : KEY_BYTES * (place + 1)] for place, holder in enumerate(holders)}


def holds_committed(session: str, epoch: int, dealer: int, root: bytes, holders: Sequence[int], dealt: Dealt) -> bool:
    """Whether the vault opens with `root` and holds the secret that the dealer committed to for each other holder."""
    try:
        secrets = unlock(session, epoch, dealer, root, holders, dealt.vault)
    except RecordError:
        return False
    return all(
        pair_commitment(session, epoch, (dealer, holder), secrets[holder]) == dealt.pair(place)
        for place, holder in enumerate(holders)
        if holder != dealer
    )


def _vault_key(root: bytes) -> bytes:
    return hkdf(root, ("masks root 1", "vault"))
