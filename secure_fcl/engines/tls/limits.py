"""What a stranger, and a party, may cost a listening server; and who may connect how often."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Caps of one listening server.

    Attributes:
        answer: bytes of the longest answer; what the plan's longest message takes, and a little.
        handshake: seconds for the TLS handshake, and once more for the first frame.
        strangers: connections that are not authenticated yet, all addresses together.
        burst: connections that one address may make at once.
        rate: connections a second that one address may make after that.
        heartbeat: seconds between two signs of life; who gives none for three is gone.
        grace: seconds for which an answer is awaited of a party that is gone and may come back.
    """

    answer: int = 64 * MIB
    handshake: float = 5.0
    strangers: int = 64
    burst: int = 64
    rate: float = 4.0
    heartbeat: float = 5.0
    grace: float = 20.0

    @property
    def silence(self) -> float:
        """Seconds without a byte after which a connection is given up."""
        return 3.0 * self.heartbeat


class RateLimit:
    """A token bucket for each address, of a bounded number of addresses: the one heard of longest ago is forgotten."""

    ADDRESSES = 4096

    def __init__(self, burst: int, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate, self._clock = burst, rate, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admits(self, address: str) -> bool:
        """Take one token of an address; False when it has none left."""
        now = self._clock()
        tokens, then = self._buckets.pop(address, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._rate)
        admitted = tokens >= 1.0
        self._buckets[address] = (tokens - 1.0 if admitted else tokens, now)
        while len(self._buckets) > self.ADDRESSES:
            self._buckets.popitem(last=False)
        return admitted
