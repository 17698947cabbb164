"""How often one example takes part in a stream: what a sensitivity was computed for, and whoever holds it to that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from privacy.errors import InvalidParameter, PrivacyError


class ParticipationRefused(PrivacyError):
    """An example would take part more often, or sooner again, than its stream was planned for."""


@dataclass(frozen=True, kw_only=True)
class Participation:
    """At most `times` steps of a stream for each example, every two of them at least `separation` steps apart.

    Both are public and fixed before the stream starts: they come from a calendar, never from the data.

    Raises:
        InvalidParameter: times or separation is below 1.
    """

    times: int = 1
    separation: int = 1

    def __post_init__(self) -> None:
        if self.times < 1 or self.separation < 1:
            raise InvalidParameter(f"times={self.times} and separation={self.separation} must be at least 1")

    def most(self, steps: int) -> int:
        """Return how often an example can take part in `steps` steps in a row."""
        return min(self.times, -(-steps // self.separation))


ONCE = Participation()
"""One pass over the data."""


class Attendance:
    """Which examples took part in a stream, and when last: it refuses the next participation beyond the plan.

    *Guarantee*: among the steps that were accepted no example takes part more than `plan.times` times, and none twice
    within `plan.separation` steps; a step that is refused counts nothing. It holds for the numbers that it is given:
    one example under two numbers is two. It knows what its owner's data are called, so it stays on the device.
    """

    def __init__(self, plan: Participation) -> None:
        self._plan = plan
        # By example: how often so far, and the step of the last time.
        self._seen: dict[int, tuple[int, int]] = {}
        self._step = 0

    @property
    def nbytes(self) -> int:
        """Bytes that a device needs for it: a number, a count and a step for each example that took part."""
        return 24 * len(self._seen)

    def take(self, examples: Iterable[int]) -> None:
        """Count the examples of the next step, perhaps none.

        Raises:
            ParticipationRefused: one comes too often or too soon, or twice in this step; says which bound, and not
                which example.
        """
        found: dict[int, tuple[int, int]] = {}
        for example in examples:
            times, last = self._seen.get(example, (0, -self._plan.separation))
            if example in found or self._step - last < self._plan.separation:
                apart = 0 if example in found else self._step - last
                raise ParticipationRefused(
                    f"an example comes {apart} steps after it took part, and the noise is planned for "
                    f"{self._plan.separation}; leave it out of this step, or plan a smaller separation"
                )
            if times == self._plan.times:
                raise ParticipationRefused(
                    f"an example takes part {times + 1} times, and the noise is planned for {times}; leave it out of "
                    "this step, or plan for more times"
                )
            found[example] = times + 1, self._step
        self._seen |= found
        self._step += 1
