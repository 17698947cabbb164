"""The claimed law on the run's own network, loss and method: what its visits release, against what they should hold.

A visit holds many copies of one made-up example, whose gradient is known, or nobody. Along the gradient it releases
that many clipping norms as copies were drawn, and in every other direction nothing but noise. Local noise is read
where it is added, before the method changes a gradient; the step size is next to nothing, so that weights stand still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attacks.bounds.laws import ScoreLaw, drawn_counts, remainders, variance_p_value
from crypto.keys.randomness import KeyedStream, derive_key
from privacy import AfterNoise, DistributedSum
from privacy.batches import Batch
from secure_fcl.auditing.bench import Floats, resized, summed
from secure_fcl.auditing.claims import Claim
from secure_fcl.auditing.law_tests import LawTest, empty_laws, quiet_multiplier
from secure_fcl.randomness import public_generator, public_seed
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, State, StepContext

if TYPE_CHECKING:
    import torch

#: Copies of an example in a visit, and visits with copies in each stratum.
_COPIES, _VISITS = 64, 6
#: Empty visits, at least and at most, and entries that are wanted of them: a variance that is 4 % off shows then.
_FEWEST, _MOST, _ENTRIES = 10, 100, 200_000
#: Noise multiplier of visits that show what a draw adds, well above the rounding of sums of float32 gradients.
_QUIET = 0.02
_STILL = 1e-9


class _Heard:
    """A method as it is, that also notes the noisy gradients that its steps are made of."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self.heard: list[Floats] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def after(self, state: State, carried: Mapping[str, Any]) -> AfterNoise:
        """Return the method's change of a noisy gradient, noting what it is given."""
        change: AfterNoise | None = self._method.after(state, carried)

        def noted(gradient: torch.Tensor, weights: torch.Tensor, learning_rate: float) -> torch.Tensor:
            self.heard.append(gradient.detach().cpu().numpy().astype(np.float64))
            return gradient if change is None else change(gradient, weights, learning_rate)

        return noted


@dataclass(frozen=True, eq=False)
class OwnBench:
    """The run's own strategy, its public initial weights, and the noise inside its sums."""

    strategy: GradientStrategy
    noise: DistributedSum | None
    heard: _Heard = field(init=False)

    def __post_init__(self) -> None:
        visit = replace(self.strategy.dpsgd, learning_rate=_STILL)
        heard = _Heard(self.strategy.method)
        encoding = replace(self.strategy.encoding, sum_clip=max(self.strategy.encoding.sum_clip, float(_COPIES)))
        strategy = replace(self.strategy, dpsgd=visit, method=heard, encoding=encoding)
        object.__setattr__(self, "strategy", strategy)
        object.__setattr__(self, "heard", heard)

    @property
    def step(self) -> StepContext:
        """The first round of the first slot."""
        return StepContext(slot=0, round=0, classes=tuple(range(self.strategy.networks.classes)))

    def view(self, current: Examples, memory: Examples) -> DeviceView:
        """Return a device that keeps nothing yet but these examples."""
        strategy = self.strategy
        if strategy.columns:
            memory = replace(memory, columns=np.zeros((len(memory), strategy.columns), dtype=np.float32))
        carried = {name: np.zeros(shape, dtype=np.float32) for name, shape in strategy.carried.items()}
        return DeviceView(current, memory, carried)

    def visit(self, current: Examples, memory: Examples, number: int) -> Floats:
        """Return what each step of a round releases, (steps, trained weights), in units of gradients."""
        strategy = self.strategy
        coins = KeyedStream(derive_key(b"the run's own network in an audit", str(number)))
        self.heard.heard.clear()
        made = strategy.contribute(strategy.initial(), self.view(current, memory), self.step, coins).parts
        if strategy.shared:
            found = np.asarray(summed(strategy.uploads["train"], made, self.noise, coins)["gradient"])[None]
        else:
            # A surrogate's visit comes after the client's own, and is another release.
            found = np.stack(self.heard.heard[: strategy.dpsgd.steps]) * strategy.dpsgd.denominator
        return found[:, self._frozen :]

    @property
    def _frozen(self) -> int:
        return self.strategy.networks.frozen if self.strategy.last_from == 0 else 0

    def gradient(self, current: Examples, memory: Examples) -> tuple[Floats, ...]:
        """Return the gradient of one example of either stratum at the initial weights, tensor by tensor.

        By torch alone, without hooks and without what clips.
        """
        import torch

        strategy, state = self.strategy, self.strategy.initial()
        strata = strategy.visit(state, self.view(current, memory), bytes).strata
        number = 0 if len(current) else 1
        own = strata[number]
        extra = torch.zeros((1, 0)) if own.extra is None else own.extra
        batch = Batch(own.x.cpu(), own.y.cpu(), extra.cpu(), torch.full((1,), number, dtype=torch.int64))
        module = strategy.network(state)
        outputs = module(batch.x)
        loss = strategy.method.loss(strategy.head, state, self.step)(outputs, batch).sum()
        trained = [p for p in module.parameters() if p.requires_grad]
        if strategy.last_from == 0:
            trained = trained[-len(strategy.networks.last.shapes) :]
        return tuple(part.reshape(-1).double().numpy() for part in torch.autograd.grad(loss, trained))


def own_network_laws(plan: RowPlan, strategy: GradientStrategy, claimed: Sequence[Claim], seed: int) -> list[LawTest]:
    """Return the tests of the run's own network: of empty visits, and of visits with many copies of one example.

    `claimed`: about current examples, and about those of the memory if the run replays any.
    """
    noise = resized(plan, strategy.size, fine=True)
    bench, quiet = OwnBench(strategy, noise), _quiet(strategy, noise)
    as_run = OwnBench(strategy, resized(plan, strategy.size))
    random = public_generator(seed, "examples for the run's own network")
    base = public_seed(seed, "visits of the run's own network")
    nothing = _examples(strategy, random, 0)
    empty = min(max(_FEWEST, -(-_ENTRIES // (strategy.size * claimed[0].steps))), _MOST)
    steps = np.concatenate([as_run.visit(nothing, nothing, base + number) for number in range(empty)])
    found = empty_laws(steps, replace(claimed[0], steps=1), "the run's own network")
    for number, (claim, where) in enumerate(zip(claimed, ("current", "memory"), strict=False)):
        first = base + empty + 2 * number * _VISITS
        found += _noisy_laws(bench, claim, where, first, random)
        found += _quiet_laws(quiet, where, first + _VISITS, random)
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class _Copies:
    """What a visit with copies of one example releases, in units of gradients.

    Attributes:
        along: the gradient, (steps,).
        between: its tensors, but for it: how they are weighed against each other, (steps, tensors - 1).
        beside: in every other direction, (steps, weights), with so many dimensions less.
        shift: what one copy adds along its gradient.
    """

    along: Floats
    between: Floats
    beside: Floats
    lost: int
    shift: float


def _copies(bench: OwnBench, where: str, number: int, random: np.random.Generator) -> _Copies | None:
    """Return one visit; None if its example has no gradient."""
    one = _examples(bench.strategy, random, 1)
    nothing = Examples(one.x[:0], one.y[:0])
    parts = bench.gradient(*((one, nothing) if where == "current" else (nothing, one)))
    length = float(np.linalg.norm(np.concatenate(parts)))
    if length == 0.0:
        return None
    many = Examples(np.repeat(one.x, _COPIES, axis=0), np.repeat(one.y, _COPIES))
    released = bench.visit(*((many, nothing) if where == "current" else (nothing, many)), number)
    axes = _axes(parts)
    placed = released @ axes.T
    return _Copies(
        along=placed[:, 0],
        between=placed[:, 1:],
        beside=released - placed @ axes,
        lost=placed.size,
        shift=min(length, bench.strategy.dpsgd.clipping_norm),
    )


def _axes(parts: Sequence[Floats]) -> Floats:
    """Return orthogonal unit vectors that span a gradient's tensors, (tensors, weights): first the gradient itself."""
    sizes = np.array([float(np.linalg.norm(part)) for part in parts])
    ends = np.cumsum([len(part) for part in parts])
    alone = np.zeros((len(parts), int(ends[-1])))
    for row, (part, size, end) in enumerate(zip(parts, sizes, ends, strict=True)):
        if size > 0.0:
            alone[row, end - len(part) : end] = part / size
    there = sizes > 0.0
    turn, _ = np.linalg.qr(np.column_stack([sizes[there], np.eye(int(there.sum()))]))
    return np.asarray((turn * np.sign(turn[:, 0] @ sizes[there])).T @ alone[there])


def _noisy_laws(bench: OwnBench, claim: Claim, where: str, first: int, random: np.random.Generator) -> list[LawTest]:
    """Return the tests of visits as they run."""
    found = [each for k in range(_VISITS) if (each := _copies(bench, where, first + k, random)) is not None]
    if not found:
        return []
    counts = drawn_counts([(claim.rate, _COPIES)])
    laws = [ScoreLaw(counts=counts, shift=each.shift, std=claim.std) for each in found]
    drawn = np.concatenate([law.normal_scores(each.along) for law, each in zip(laws, found, strict=True)])
    beside = np.concatenate([each.beside for each in found]) / claim.std
    return [
        LawTest(
            law=f"copies of one example in the run's own network, {where}",
            means="rate, clipping or noise of a sampled example are not those that were charged",
            entries=drawn.size,
            p_value=variance_p_value(drawn),
        ),
        LawTest(
            law=f"noise beside a drawn example in the run's own network, {where}",
            means="the noise depends on who was drawn, or an example adds something beside its clipped gradient",
            entries=beside.size,
            p_value=variance_p_value(beside, lost=sum(each.lost for each in found)),
        ),
    ]


def _quiet(strategy: GradientStrategy, noise: DistributedSum | None) -> OwnBench:
    """Return the bench with little noise."""
    factor = max(_QUIET, quiet_multiplier(noise, strategy.dpsgd.clipping_norm))
    visit = replace(strategy.dpsgd, noise_multiplier=factor)
    return OwnBench(replace(strategy, dpsgd=visit), None if noise is None else replace(noise, noise_multiplier=factor))


def _quiet_laws(quiet: OwnBench, where: str, first: int, random: np.random.Generator) -> list[LawTest]:
    """Return the test of visits with little noise: each copy adds its clipped gradient, and nothing else."""
    found = [each for k in range(_VISITS) if (each := _copies(quiet, where, first + k, random)) is not None]
    std = quiet.strategy.dpsgd.noise_multiplier * quiet.strategy.dpsgd.clipping_norm
    # A gradient so short that the noise hides its copies is tested by its distribution alone.
    clear = [each for each in found if each.shift >= 12.0 * std]
    if not clear:
        return []
    left = [np.append(remainders(each.along, each.shift, std), each.between / std) for each in clear]
    return [
        LawTest(
            law=f"what one draw adds in the run's own network, {where}",
            means="an example adds more or less than its clipped gradient, or a tensor lies outside the clipped norm",
            entries=sum(len(each) for each in left),
            p_value=variance_p_value(np.concatenate(left)),
        )
    ]


def _examples(strategy: GradientStrategy, random: np.random.Generator, count: int) -> Examples:
    """Return made-up examples of the run's shape."""
    x = random.normal(size=(count, *strategy.networks.shape)).astype(np.float32)
    return Examples(x, random.integers(0, strategy.networks.classes, count))
