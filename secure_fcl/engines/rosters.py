"""The secure sums of one row, opened anew when clients joined or left between slots."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from secure_fcl.engines.sums import SecureSums


class Rosters:
    """Holds the sums of the clients that are there now. Use it in a `with` statement.

    Who is there is the public calendar's to say. Somebody who joined has no keys of the sums before, and somebody who
    left must not count as a dropout: every roster makes its own plan, keys and noise shares. So does a device that was
    not reached when keys were handed out and is now: it takes part from the next slot on.

    Args:
        members: names of a slot's clients.
        opened: makes the sums of a slot's clients.
    """

    def __init__(self, members: Callable[[int], tuple[str, ...]], opened: Callable[[int], SecureSums]) -> None:
        self._members_of = members
        self._opened = opened
        self._members: tuple[str, ...] = ()
        self._sums: SecureSums | None = None

    def at(self, slot: int) -> SecureSums:
        """Return the sums of a slot's clients.

        Raises:
            SumAborted: too few of them got keys.
        """
        members = self._members_of(slot)
        if self._sums is None or members != self._members or self._sums.lacks_somebody():
            self.close()
            self._sums, self._members = self._opened(slot), members
        return self._sums

    def close(self) -> None:
        """End the helper parties."""
        if self._sums is not None:
            self._sums.close()
            self._sums = None

    def __enter__(self) -> Rosters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
