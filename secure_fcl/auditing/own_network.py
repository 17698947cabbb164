"""The claimed law on the run's own network, loss and method: what its visits release, against what they should hold.

A visit holds many copies of one made-up example, whose gradient is known, or nobody. Along the gradient it releases
that many clipping norms as copies were drawn, and in every other direction nothing but noise. Local noise is read
where it is added, before the method changes a gradient; the step size is next to nothing, so that weights stand still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attacks.bounds.laws import ScoreLaw, drawn_counts, variance_p_value
from crypto.keys.randomness import KeyedStream, derive_key
from privacy import AfterNoise, DistributedSum
from privacy.batches import Batch
from secure_fcl.auditing.bench import Floats, resized, summed, unhooked_inputs
from secure_fcl.auditing.claims import Claim
from secure_fcl.auditing.law_tests import LawTest, empty_laws
from secure_fcl.randomness import public_generator, public_seed
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, State, StepContext

if TYPE_CHECKING:
    import torch

#: Copies of an example in a visit, visits with copies in each stratum, and empty visits.
_COPIES, _VISITS, _EMPTY = 64, 6, 10
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
        with unhooked_inputs():
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


def own_network_laws(
    plan: RowPlan, strategy: GradientStrategy, claimed: tuple[Claim, Claim], seed: int
) -> list[LawTest]:
    """Return the tests of the run's own network: of empty visits, and of visits with many copies of one example."""
    bench = OwnBench(strategy, resized(plan, strategy.size))
    random = public_generator(seed, "examples for the run's own network")
    base = public_seed(seed, "visits of the run's own network")
    nothing = _examples(strategy, random, 0)
    steps = np.concatenate([bench.visit(nothing, nothing, base + number) for number in range(_EMPTY)])
    found = empty_laws(steps, replace(claimed[0], steps=1), "the run's own network")
    for number, (claim, where) in enumerate(zip(claimed, ("current", "memory"), strict=True)):
        if where == "memory" and strategy.memory_rate == 0.0:
            continue
        first = base + _EMPTY + number * _VISITS
        parts = [_copies(bench, claim, where, first + visit, random) for visit in range(_VISITS)]
        found += _copy_laws([part for part in parts if part is not None], where)
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class _Copies:
    """Standard normals that a visit with copies of one example leaves, under the claim.

    drawn: along the gradient, (steps,). inside: in the span of its tensors, but for it. outside: everywhere else,
    with so many dimensions less.
    """

    drawn: Floats
    inside: Floats
    outside: Floats
    lost: int


def _copies(bench: OwnBench, claim: Claim, where: str, number: int, random: np.random.Generator) -> _Copies | None:
    one = _examples(bench.strategy, random, 1)
    nothing = Examples(one.x[:0], one.y[:0])
    parts = bench.gradient(*((one, nothing) if where == "current" else (nothing, one)))
    length = float(np.linalg.norm(np.concatenate(parts)))
    if length == 0.0:
        return None
    many = Examples(np.repeat(one.x, _COPIES, axis=0), np.repeat(one.y, _COPIES))
    released = bench.visit(many if where == "current" else nothing, many if where == "memory" else nothing, number)
    shift = min(length, bench.strategy.dpsgd.clipping_norm)
    law = ScoreLaw(counts=drawn_counts([(claim.rate, _COPIES)]), shift=shift, std=claim.std)
    # An axis for each tensor, turned so that the first is the whole gradient: the others tell how tensors are weighed.
    sizes = [float(np.linalg.norm(part)) for part in parts]
    axes = np.zeros((sum(size > 0.0 for size in sizes), len(released[0])))
    begin, row = 0, 0
    for part, size in zip(parts, sizes, strict=True):
        if size > 0.0:
            axes[row, begin : begin + len(part)] = part / size
            row += 1
        begin += len(part)
    lengths = np.array([size for size in sizes if size > 0.0])
    turn, _ = np.linalg.qr(np.column_stack([lengths / length, np.eye(len(lengths))]))
    turned = (turn * np.sign(turn[:, 0] @ lengths)).T @ axes
    along = released @ turned.T
    rest = released - along @ turned
    return _Copies(
        drawn=law.normal_scores(along[:, 0]),
        inside=along[:, 1:] / claim.std,
        outside=rest / claim.std,
        lost=len(released) * len(turned),
    )


def _copy_laws(found: list[_Copies], where: str) -> list[LawTest]:
    if not found:
        return []
    drawn = np.concatenate([each.drawn for each in found])
    outside = np.concatenate([each.outside for each in found])
    tests = [
        LawTest(
            law=f"copies of one example in the run's own network, {where}",
            means="rate, clipping or noise of a sampled example are not those that were charged",
            entries=drawn.size,
            p_value=variance_p_value(drawn),
        ),
        LawTest(
            law=f"noise beside a drawn example in the run's own network, {where}",
            means="the noise depends on who was drawn, or an example adds something beside its clipped gradient",
            entries=outside.size,
            p_value=variance_p_value(outside, lost=sum(each.lost for each in found)),
        ),
    ]
    inside = np.concatenate([each.inside for each in found])
    if inside.size:
        tests.append(
            LawTest(
                law=f"tensors of one gradient in the run's own network, {where}",
                means="tensors of a gradient are weighed differently: one lies outside the clipped norm",
                entries=inside.size,
                p_value=variance_p_value(inside),
            )
        )
    return tests


def _examples(strategy: GradientStrategy, random: np.random.Generator, count: int) -> Examples:
    """Return made-up examples of the run's shape."""
    x = random.normal(size=(count, *strategy.networks.shape)).astype(np.float32)
    return Examples(x, random.integers(0, strategy.networks.classes, count))
