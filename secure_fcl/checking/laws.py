"""One law with its verdict, and the trial of many of them within a budget of time."""

from __future__ import annotations

import inspect
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal

Verdict = Literal["held", "broken", "not applicable", "not reached"]


class NotApplicable(Exception):
    """A law says nothing about this code; the text says why. Raised by trials, and never seen outside."""


class _OutOfTime(BaseException):
    """The budget ended inside a trial. Not an Exception: the code under trial may catch those."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """What came of one law.

    Attributes:
        name: short.
        says: the law in one sentence.
        verdict: held: it was tried and nothing broke it. broken: `found` breaks it. not applicable: `found` says why.
            not reached: the budget ended before, or inside it.
        found: the smallest example that breaks it, or why it does not apply; else empty.
        seconds: it took.
    """

    name: str
    says: str
    verdict: Verdict
    found: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What came of the laws of one kind.

    Attributes:
        reference: `module:name`.
        kind: what it was taken for.
        path, digest: the file of its module and its SHA-256; empty where there is none.
        laws: in the order in which they were tried.
    """

    reference: str
    kind: str
    path: str
    digest: str
    laws: tuple[Law, ...]

    @property
    def broken(self) -> tuple[Law, ...]:
        """The laws that something breaks."""
        return tuple(law for law in self.laws if law.verdict == "broken")

    @property
    def unreached(self) -> tuple[Law, ...]:
        """The laws that there was no time for."""
        return tuple(law for law in self.laws if law.verdict == "not reached")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One law and how it is tried: `run` returns where it holds, and else ends in NotApplicable or any other error."""

    name: str
    says: str
    run: Callable[[], object]

    @staticmethod
    def of(check: Callable[..., object], run: Callable[[], object], where: str = "") -> Trial:
        """Return the trial of a check function, under its own name and its own words."""
        text = inspect.getdoc(check) or ""
        said = " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
        name = check.__name__.removeprefix("check_").replace("_", " ")
        return Trial(name=f"{name}, {where}" if where else name, says=said, run=run)


def tried(trials: Iterable[Trial], seconds: float) -> tuple[Law, ...]:
    """Return the verdict on every law; those that do not fit into the budget are not reached.

    A trial is ended where the time is over, inside the code under trial too, on systems that have interval timers and
    in the main thread; elsewhere the one that runs then is the last.
    """
    end = time.monotonic() + seconds
    return tuple(_tried(trial, end) for trial in trials)


def _tried(trial: Trial, end: float) -> Law:
    begun = time.monotonic()

    def law(verdict: Verdict, found: str = "") -> Law:
        return Law(
            name=trial.name, says=trial.says, verdict=verdict, found=found, seconds=round(time.monotonic() - begun, 3)
        )

    if begun >= end:
        return law("not reached")
    try:
        with _alarm(end - begun):
            trial.run()
    except NotApplicable as error:
        return law("not applicable", str(error))
    except _OutOfTime:
        return law("not reached")
    # Suites raise errors of their own, and the code under trial whatever it likes: each breaks the law.
    except Exception as error:
        return law("broken", _told(error))
    return law("held")


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    ours = type(error).__module__.split(".")[0] in ("secure_fcl", "crypto", "privacy", "attacks", "evaluation")
    return text if ours and text else f"{type(error).__name__}: {text}"


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
