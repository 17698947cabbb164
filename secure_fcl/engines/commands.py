"""What a run asks of the parties that play its clients, and what they answer: one frozen class for each kind.

The first group is what a deployment has too. The second is a simulation's alone: it hands out what must never leave a
device. How either becomes bytes says `secure_fcl.engines.frames`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from crypto.planning.plans import Plan
from crypto.wire.messages import Item
from privacy import Charge
from secure_fcl.config import Config
from secure_fcl.rows.budgets import Arrivals
from secure_fcl.strategies import State

AnyArray = NDArray[Any]
Arrays = Mapping[str, AnyArray]
PerClient = dict[int, dict[str, AnyArray]]
"""Named arrays of each client, by the client's number."""
Items = tuple[Item, ...]
"""Messages of the secure sums' protocol."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What a simulated device takes from the run's process on trust, and a deployed one must take from no server.

    Attributes:
        noise_multiplier: a deployed device calibrates its noise itself, from its own configuration and its own target:
            whoever may send this number may send 0.
        charged: what earlier starts of the row charged. A deployed device keeps its own count on its own disk.
        secret: the key of repeatable noise (`replay_noise`), None without. Who knows it can subtract all noise: a
            deployment has none.
        journals: folder of the devices' journals, None for none. A deployed device has its own.
        run: the run's random name, under which a journal is kept.
        ledger: hashes of the row's entries so far (`secure_fcl.engines.journals`). A device with a journal does not
            take them on trust: they must go on from what it kept.
    """

    noise_multiplier: float
    charged: tuple[Charge, ...]
    secret: bytes | None = field(repr=False)
    journals: Path | None = None
    run: str = ""
    ledger: bytes = b""


# What a deployment asks too.


@dataclass(frozen=True, kw_only=True)
class Open:
    """Begin a row, or begin it again: devices are as new.

    `config` is the whole configuration; a deployed device will have its own, and compare digests. The only path in it
    that a device reads is that of the data set. `simulated`: see there.
    """

    row: str
    config: Config
    simulated: Simulated


@dataclass(frozen=True, kw_only=True)
class Join:
    """Begin a row, or go on with it, on a deployed device, which has everything but these names on its own disk.

    `run` is the run's random name. `digest`: of the run's public configuration and calendar
    (`secure_fcl.engines.deployed.digests`); a device whose own differs refuses. `ledger`: hashes of the row's entries
    so far, which must go on from what the device kept.
    """

    row: str
    run: str
    digest: str
    ledger: bytes


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Join the secure sums of a roster, and leave those joined before. `items`: what the helper parties say first."""

    plan: Plan
    items: Items


@dataclass(frozen=True, kw_only=True)
class Deliver:
    """Messages of a secure sum for this party."""

    items: Items


@dataclass(frozen=True, kw_only=True, eq=False)
class Visit:
    """Train in one round under `state` and submit the result.

    `retired`: groups of clients and arrival tasks whose budget is spent; their examples stay out. `ledger`: hashes of
    the row's entries, this round's the last, and `entry` that one itself as the ledger has it, where devices keep
    journals: what it says is not charged again (`covered_by`) a device repeats on the word of its own journal alone.
    """

    slot: int
    round: int
    retired: Arrivals
    state: State
    ledger: bytes = b""
    entry: str = ""


@dataclass(frozen=True, kw_only=True)
class Settle:
    """Say, signed, what left of the attempt of the ledger's last entry, which was interrupted; send no more of it.

    `ledger`, `entry`: as in `Visit`.
    """

    ledger: bytes
    entry: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Close:
    """A slot's tasks are over: fill the memory under the slot's last `state`, forget the rest."""

    slot: int
    state: State


@dataclass(frozen=True, kw_only=True, eq=False)
class Disclose:
    """Send the strategy's side channels of a round; no guarantee covers them."""

    slot: int
    round: int
    state: State


# What only a simulation asks.


@dataclass(frozen=True, kw_only=True)
class Identify:
    """Read private keys from `<party>.key` in this folder: in a simulation one process makes everybody's."""

    folder: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class Restore:
    """Be as in an earlier start: `coins` as `GiveCoins` gave them, `kept` as `GiveKept` did; empty: leave as it is."""

    coins: Arrays
    kept: Arrays


@dataclass(frozen=True, kw_only=True)
class GiveCoins:
    """Hand out the retention coins: "keys" in [0, 1), one for each of "items"."""


@dataclass(frozen=True, kw_only=True)
class GiveHeld:
    """Hand out which examples the memory holds: "held"."""


@dataclass(frozen=True, kw_only=True)
class GiveKept:
    """Hand out everything that is kept between rounds, under the names of `device.exported`."""


@dataclass(frozen=True, kw_only=True)
class GiveOwn:
    """Hand out the weights of the client's own model: "own"."""


@dataclass(frozen=True, kw_only=True)
class GiveClear:
    """Hand out the clear update that the configuration declares; nothing from clients of which none is declared."""


# Replies.


@dataclass(frozen=True, kw_only=True)
class Done:
    """It was done, and there is nothing to say."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What follows from messages, and whether the party has keys for the next sum."""

    items: Items
    ready: bool


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One upload, protected (no items: the party lacks keys and sits the sum out), and the seconds that it took.

    `journal`: what a device that keeps one signed for this attempt, a `Head` as JSON; empty without.
    """

    items: Items
    train: float
    encrypt: float
    journal: str = ""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What a device says of an attempt, a `Saying`; both empty where it keeps no journal or cannot say."""

    said: str
    proof: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """Named arrays of one client."""

    arrays: Arrays


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The party could not do it. Text and trace may quote values of the data: only a simulation on one machine sends
    them; what a deployed device may say is `error`, the name of a class.
    """

    error: str
    text: str
    trace: str


Ask = Open | Join | Keys | Deliver | Visit | Settle | Close
LabAsk = Disclose | Identify | Restore | GiveCoins | GiveHeld | GiveKept | GiveOwn | GiveClear
Reply = Done | Answered | Sent | Settled | Given | Failed
Command = Ask | LabAsk | Reply
DEPLOYED_ASKS: tuple[type[Command], ...] = (Join, Keys, Deliver, Visit, Settle, Close)
"""What a deployed party may be asked; all else is refused before any host sees it."""


def failure(error: BaseException) -> Failed:
    """Return what a deployed party says of an error: its class alone, as its text may quote data."""
    return Failed(error=type(error).__name__, text="", trace="")
