"""The conformance suite: what every strategy must do, ours or a user's own.

Give `check_strategy` a strategy and the public facts it was made for, or run the functions of `CHECKS` one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crypto.keys.randomness import KeyedStream, derive_key
from crypto.opening import open_client, open_party
from crypto.planning.upload import Upload
from crypto.protocols.plans import plan
from crypto.protocols.session import plan_roles
from crypto.running.driver import run_round, set_up
from crypto.vectors.encoding import FixedPoint
from crypto.wire.messages import Aggregate
from secure_fcl.errors import SecureFclError
from secure_fcl.strategies import DeviceView, Examples, State, StepContext, Strategy, Stratum, UploadSpec

Vector = NDArray[np.float64]
CLIENTS = 4
EXAMPLES = 6


class StrategyBroken(SecureFclError):
    """A strategy broke a law of the suite; the message says which."""


@dataclass(frozen=True)
class Bench:
    """A strategy with the public facts it was made for.

    Attributes:
        strategy: it must accept `EXAMPLES` examples in a chunk, of any classes of `step`.
        shape: shape of one example.
        classes: size of the public label set.
        step: a round in which at least one class is announced.
    """

    strategy: Strategy
    shape: tuple[int, ...]
    classes: int
    step: StepContext

    def examples(self, count: int, labels: tuple[int, ...], seed: int) -> Examples:
        """Return `count` made-up examples with labels from `labels` in turn."""
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(count, *self.shape)).astype(np.float32)
        return Examples(x, np.array([labels[i % len(labels)] for i in range(count)], dtype=np.int64))

    def views(self) -> dict[str, DeviceView]:
        """Return what devices may hold: much, one class, nothing, and nothing but memory."""
        nothing = self.examples(0, self.step.classes, 0)
        full = self.examples(EXAMPLES, self.step.classes, 1)
        old = self.examples(EXAMPLES, tuple(range(self.classes)), 2)
        one = self.examples(EXAMPLES, self.step.classes[:1], 3)
        return {
            "full": self._view(full, old),
            "one class": self._view(one, nothing),
            "empty": self._view(nothing, nothing),
            "memory only": self._view(nothing, old),
        }

    def _view(self, current: Examples, memory: Examples) -> DeviceView:
        """Return a view with made-up columns beside the memory, and the device's arrays as they start."""
        columns = np.random.default_rng(4).normal(size=(len(memory), self.strategy.columns)).astype(np.float32)
        carried = {name: np.zeros(shape, dtype=np.float32) for name, shape in self.strategy.carried.items()}
        return DeviceView(current, replace(memory, columns=columns) if self.strategy.columns else memory, carried)

    @property
    def upload(self) -> UploadSpec:
        """The declared upload of the step's phase."""
        return self.strategy.uploads[self.step.phase]

    def vector(self, view: DeviceView, seed: str = "coins") -> Vector:
        """Return the flat contribution of a view."""
        made = self.strategy.contribute(self.strategy.initial(), view, self.step, coins(seed))
        return self.upload.flatten(made.parts)

    @property
    def encoder(self) -> FixedPoint:
        """Real to integer, as a run does it."""
        return FixedPoint(scale=self.upload.scale, clip=self.upload.largest_bound)


def coins(label: str) -> KeyedStream:
    """Return a repeatable stream of coins; only for tests."""
    return KeyedStream(derive_key(b"strategy conformance suite", label))


def check_upload(bench: Bench) -> None:
    """Parts have different names and finite bounds; split inverts flatten, and both are linear."""
    upload = bench.upload
    names = [part.name for part in upload.parts]
    _expect(bool(names) and len(set(names)) == len(names), f"its parts {names} are none, or not all different")
    for part in upload.parts:
        _expect(math.isfinite(part.bound) and part.bound > 0, f"part {part.name!r} has the bound {part.bound}")
    rng = np.random.default_rng(0)
    first, second = ({p.name: rng.normal(size=p.shape) for p in upload.parts} for _ in range(2))
    flat = upload.flatten(first)
    _expect(flat.shape == (upload.length,), f"flatten gives {flat.shape}, length says {upload.length}")
    back = upload.split(flat)
    _expect(all(np.array_equal(back[n], first[n]) for n in names), "split(flatten(a)) is not a")
    both = upload.split(2.0 * flat + upload.flatten(second))
    linear = all(np.allclose(both[n], 2.0 * first[n] + second[n]) for n in names)
    _expect(linear, "flatten is not linear, so a sum of uploads means nothing")


def check_shapes(bench: Bench) -> None:
    """Every client sends the declared parts, finite, whatever it holds; also with nothing at all."""
    for name, view in bench.views().items():
        vector = bench.vector(view)
        _expect(vector.shape == (bench.upload.length,), f"a client with {name} sends {vector.shape}")
        _expect(bool(np.isfinite(vector).all()), f"a client with {name} sends NaN or infinities")


def check_bounds(bench: Bench) -> None:
    """After clipping and encoding every entry is within the plan's bound; a sensitive upload is within it before."""
    upload = bench.upload
    for name, view in bench.views().items():
        vector = bench.vector(view)
        clipped, beyond = upload.clip(vector)
        if upload.sensitivity_l2 is not None:
            _expect(beyond == 0, f"a client with {name} exceeds the declared bound in {beyond} entries")
        values = bench.encoder.encode(clipped, coins(name)).values
        _expect(int(np.abs(values).max()) <= bench.encoder.bound, f"a client with {name} leaves the encoder's bound")


def check_sensitivity(bench: Bench) -> None:
    """One example more changes an upload by no more than declared; without a declaration, rounds are charged.

    For uploads that are private before they are sent, `events` must say what a round costs.
    """
    upload, strategy, phase = bench.upload, bench.strategy, bench.step.phase
    if upload.sensitivity_l2 is None:
        _expect(bool(strategy.events("current", phase)), "the upload declares no sensitivity and no event is charged")
        charged = bool(strategy.events("memory", phase))
        reads = strategy.memory_rate > 0 and phase == "train"
        _expect(charged == reads, f"memory_rate = {strategy.memory_rate}, charged: {charged}")
        return
    _expect(upload.sensitivity_entries is not None, "sensitivity_l2 is declared without sensitivity_entries")
    views: dict[Stratum, DeviceView] = {"current": bench.views()["one class"], "memory": bench.views()["memory only"]}
    for stratum, view in views.items():
        _check_weight(bench, stratum, view)


def _check_weight(bench: Bench, stratum: Stratum, view: DeviceView) -> None:
    """Take one example of a view's only stratum away; the upload changes by no more than its releases declare."""
    upload, whole = bench.upload, getattr(view, stratum)
    rates = bench.strategy.sampled(stratum, bench.step.phase)
    # Where coins decide, only the last example can leave without moving the coins of the others.
    leaving = range(len(whole)) if all(rate == 1.0 for rate in rates) else [len(whole) - 1]
    before: Vector = upload.clip(bench.vector(view))[0]
    for i in leaving:
        columns = None if whole.columns is None else np.delete(whole.columns, i, axis=0)
        fewer = Examples(np.delete(whole.x, i, axis=0), np.delete(whole.y, i), columns)
        left = replace(view, current=fewer) if stratum == "current" else replace(view, memory=fewer)
        change: Vector = before - upload.clip(bench.vector(left))[0]
        size, entries = float(np.linalg.norm(change)), int(np.count_nonzero(change))
        _expect(size == 0.0 or bool(rates), f"examples of {stratum} are read but no release of them is declared")
        most = math.sqrt(len(rates)) * (upload.sensitivity_l2 or 0.0)
        _expect(
            size <= most * (1 + 1e-6), f"one example of {stratum} changes the upload by {size:.4g}, declared {most:.4g}"
        )
        _expect(
            entries <= len(rates) * (upload.sensitivity_entries or 0),
            f"one example of {stratum} changes {entries} entries, declared {upload.sensitivity_entries} a release",
        )


def check_repeatable(bench: Bench) -> None:
    """Equal coins give equal uploads, and contributing changes neither the state nor the next client's upload."""
    view = bench.views()["full"]
    state = bench.strategy.initial()
    copies = {name: array.copy() for name, array in state.items()}
    first = bench.strategy.contribute(state, view, bench.step, coins("a"))
    bench.vector(bench.views()["memory only"], "b")
    again = bench.strategy.contribute(state, view, bench.step, coins("a"))
    same = all(np.array_equal(first.parts[n], again.parts[n]) for n in first.parts)
    _expect(
        same and all(np.array_equal(first.carried[n], again.carried[n]) for n in first.carried),
        "equal coins gave two different uploads",
    )
    _expect(all(np.array_equal(state[n], copies[n]) for n in copies), "contribute changed the server's state")


def check_company(bench: Bench) -> None:
    """A client's upload is the same, bit for bit, whichever other clients one machine plays."""
    state, views = bench.strategy.initial(), bench.views()
    streams = [coins(name) for name in views]
    together = bench.strategy.contribute_all(state, list(views.values()), bench.step, streams)
    for (name, view), made in zip(views.items(), together, strict=True):
        alone = next(iter(bench.strategy.contribute_all(state, [view], bench.step, [coins(name)])))
        same = all(np.array_equal(made.parts[n], alone.parts[n]) for n in alone.parts)
        _expect(
            same and all(np.array_equal(made.carried[n], alone.carried[n]) for n in alone.carried),
            f"a client with {name} sends something else when others contribute beside it",
        )


def check_server(bench: Bench) -> None:
    """`apply` returns a state of the same form and leaves the old one alone; scores are (n, classes), never NaN."""
    strategy = bench.strategy
    state = strategy.initial()
    copies = {name: array.copy() for name, array in state.items()}
    total = np.asarray(sum(bench.vector(view, name) for name, view in bench.views().items()), dtype=np.float64)
    after = strategy.apply(state, bench.step, bench.upload.split(total), CLIENTS)
    _expect(all(np.array_equal(state[n], copies[n]) for n in copies), "apply changed the state it was given")
    _expect(_form(after) == _form(state), f"apply returned {_form(after)} for a state {_form(state)}")
    for count in (0, 5):
        scores = strategy.scores(after, bench.examples(count, bench.step.classes, 4).x)
        _expect(scores.shape == (count, bench.classes), f"scores of {count} examples have shape {scores.shape}")
        _expect(not np.isnan(scores).any(), "a score is NaN")


def check_secure(bench: Bench) -> None:
    """The encrypted sum (BFV, in this process) equals the plain one bit for bit, and so do the states after it."""
    upload, strategy = bench.upload, bench.strategy
    names = tuple(f"client{k}" for k in range(CLIENTS))
    clipped = [upload.clip(bench.vector(view, name))[0] for name, view in bench.views().items()]
    vectors = {n: bench.encoder.encode(v, coins(n)).values for n, v in zip(names, clipped, strict=True)}
    expected = np.sum(list(vectors.values()), axis=0, dtype=np.int64)
    states = []
    for protocol in ("plain", "bfv"):
        secure = plan(protocol, names, (Upload(name=upload.name, length=upload.length, bound=bench.encoder.bound),), 1)
        parties = {n: open_client(secure, n) for n in names} | {r: open_party(secure, r) for r in plan_roles(secure)}
        set_up(parties)
        outcome = run_round(parties, 0, upload.name, vectors)
        if not isinstance(outcome, Aggregate):
            raise StrategyBroken(f"the {protocol} sum was aborted: {outcome.reason}")
        _expect(np.array_equal(outcome.total, expected), f"the {protocol} sum is not the sum of the uploads")
        parts = upload.split(bench.encoder.decode(outcome.total))
        states.append(strategy.apply(strategy.initial(), bench.step, parts, CLIENTS))
    same = all(np.array_equal(states[0][n], states[1][n]) for n in states[0])
    _expect(same, "the state after an encrypted sum differs from that after a plain one")


CHECKS: tuple[Callable[[Bench], None], ...] = (
    check_upload,
    check_shapes,
    check_bounds,
    check_repeatable,
    check_company,
    check_sensitivity,
    check_server,
    check_secure,
)


def check_strategy(strategy: Strategy, shape: tuple[int, ...], classes: int, step: StepContext) -> None:
    """Run all checks on a strategy made for examples of `shape`, `classes` classes and the announced ones of `step`.

    Raises:
        StrategyBroken: at the first law broken; names it. Errors that the strategy itself raises pass through.
    """
    for phase in strategy.uploads:
        for check in CHECKS:
            check(Bench(strategy, shape, classes, replace(step, phase=phase)))


def _form(state: State) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape, str(array.dtype)) for name, array in state.items()}


def _expect(condition: bool, problem: str) -> None:
    if not condition:
        raise StrategyBroken(f"strategy conformance: {problem}")
