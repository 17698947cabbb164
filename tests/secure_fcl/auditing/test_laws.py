"""The claimed law: honest code follows it, and bugs planted in the code that the audit runs break it at p < 1e-6.

No run is trained: the ledger is written as a run writes it, round by round, and the audit asks the code itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import attacks
from attacks.bounds.laws import LAW_LEVEL
from privacy import Charge, DistributedSum, Ledger, SampledGaussian, SampledSkellam, Stratum, distributed
from privacy import dpsgd as local
from privacy import secure_optimizer as optimizer
from privacy.batches import Batch
from privacy.randomness import RandomBytes, key_stream
from privacy.secure_optimizer import SecureNoiseOptimizer
from privacy.stacked import noise as stacked_noise
from privacy.stacked import trainer as stacked
from secure_fcl.auditing import bench, require_ledger_holds
from secure_fcl.auditing.canaries import play_canaries
from secure_fcl.auditing.world import AuditWorld
from secure_fcl.config import Config
from secure_fcl.memory import Held, ThresholdMemory
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare
from secure_fcl.strategies import GradientStrategy

KINDS = {
    "local": ("replay.noise=local", "training.trainer=opacus"),
    "stacked": ("replay.noise=local", "training.trainer=stacked"),
    "shared": ("replay.noise=shared", "training.trainer=opacus"),
}
"""Where the noise is added, and by whom."""
SETTINGS = ('rows=["replay"]', "scenario.clients=30", "privacy.max_dropouts=3", "scenario.partition=iid")

Laws = dict[str, float]
Plant = Callable[[pytest.MonkeyPatch], None]


def written(plan: RowPlan, folder: Path) -> AuditWorld:
    """A row whose ledger holds its schedule."""
    assert isinstance(plan.strategy, GradientStrategy)
    world = AuditWorld(plan, plan.strategy, {}, RunFolder(folder))
    path = world.folder.ledger_path(plan.name)
    path.parent.mkdir(parents=True)
    with Ledger(path) as ledger:
        for slot, round in plan.schedule():
            ledger.charge(plan.charges(slot, round), row=plan.name)
    return world


def judged(world: AuditWorld) -> Laws:
    played = dict(play_canaries(world).more)
    return {one["law"]: one["p_value"] for one in played["laws"]}


def broken(laws: Laws) -> set[str]:
    return {name for name, p_value in laws.items() if p_value < LAW_LEVEL}


@pytest.fixture(scope="module")
def worlds(make_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> dict[str, AuditWorld]:
    return {
        kind: written(prepare(make_config(*SETTINGS, *settings)).rows[0][0], tmp_path_factory.mktemp(kind))
        for kind, settings in KINDS.items()
    }


@pytest.fixture(scope="module", autouse=True)
def honest(worlds: dict[str, AuditWorld]) -> dict[str, Laws]:
    """What honest code shows; played first, as trainers check each network once, and would refuse some bugs."""
    return {kind: judged(world) for kind, world in worlds.items()}


def test_honest_code_follows_every_law(honest: dict[str, Laws]) -> None:
    for laws in honest.values():
        assert broken(laws) == set()
        assert len(laws) == 20
        assert all(0.0 < p_value <= 1.0 for p_value in laws.values())


def change_noise(patch: pytest.MonkeyPatch, factor: float, reseeded: bool = False) -> None:
    """Noise times a factor wherever it is drawn; `reseeded`: from the same bytes at every draw."""
    normals, integers = optimizer.release_noise, distributed.sample_skellam

    def source(random: RandomBytes) -> RandomBytes:
        return key_stream(lambda n: bytes(n)) if reseeded else random

    def gaussian(std: float, shape: Sequence[int], random: RandomBytes) -> torch.Tensor:
        return factor * normals(std, shape, source(random))

    def skellam(variance: float, entries: int, random: RandomBytes) -> Any:
        return integers(variance * factor**2, entries, source(random)) if factor else np.zeros(entries, dtype=np.int64)

    patch.setattr(optimizer, "release_noise", gaussian)
    patch.setattr(stacked_noise, "release_noise", gaussian)
    patch.setattr(distributed, "sample_skellam", skellam)


def change_batches(patch: pytest.MonkeyPatch, change: Callable[[Sequence[Stratum], torch.Generator], Batch]) -> None:
    for module in (local, distributed, stacked):
        patch.setattr(module, "poisson_batch", change)


honest_batch = distributed.poisson_batch


def at_rates(*factors: float) -> Callable[[Sequence[Stratum], torch.Generator], Batch]:
    def drawn(strata: Sequence[Stratum], coins: torch.Generator) -> Batch:
        return honest_batch([replace(s, q=min(1.0, s.q * f)) for s, f in zip(strata, factors, strict=True)], coins)

    return drawn


def fixed_coins(strata: Sequence[Stratum], coins: torch.Generator) -> Batch:
    return honest_batch(strata, torch.Generator().manual_seed(11))


def coins_of_pairs(strata: Sequence[Stratum], coins: torch.Generator) -> Batch:
    """Every coin decides about two examples in a row."""
    chosen = [(torch.rand((len(s.y) + 1) // 2, generator=coins) < s.q).repeat_interleave(2)[: len(s.y)] for s in strata]
    parts = [Stratum(x=s.x[k], y=s.y[k], q=1.0) for s, k in zip(strata, chosen, strict=True)]
    return honest_batch(parts, coins)


def same_noise_at_every_visit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(local, "key_stream", lambda random: key_stream(bytes))
    patch.setattr(stacked_noise, "key_stream", lambda random: key_stream(bytes))
    integers = distributed.sample_skellam
    streams: dict[int, RandomBytes] = {}

    def skellam(variance: float, entries: int, random: RandomBytes) -> Any:
        # One stream for each visit's coins, all of one key.
        return integers(variance, entries, streams.setdefault(id(random), key_stream(bytes)))

    patch.setattr(distributed, "sample_skellam", skellam)


def shares(count: Callable[[int], int]) -> Plant:
    return lambda patch: patch.setattr(bench, "shares_in_a_sum", lambda noise: count(noise.honest))


def share_of_one_more(patch: pytest.MonkeyPatch) -> None:
    found = property(lambda self: self.guaranteed_variance / (self.honest + 1))
    patch.setattr(DistributedSum, "share_variance", found)


def noisy(patch: pytest.MonkeyPatch, factor: Callable[[int], float]) -> None:
    """Opacus's noise times a factor that depends on how many examples came."""
    honest_noise = SecureNoiseOptimizer.add_noise
    came = [0]
    clip = SecureNoiseOptimizer.clip_and_accumulate

    def counted(self: SecureNoiseOptimizer) -> None:
        came[0] = len(self.grad_samples[0])
        clip(self)

    def add(self: SecureNoiseOptimizer) -> None:
        declared = self.noise_multiplier
        self.noise_multiplier = declared * factor(came[0])
        honest_noise(self)
        self.noise_multiplier = declared

    patch.setattr(SecureNoiseOptimizer, "clip_and_accumulate", counted)
    patch.setattr(SecureNoiseOptimizer, "add_noise", add)


def clipped(patch: pytest.MonkeyPatch, factors: Callable[[list[torch.Tensor], float], torch.Tensor]) -> None:
    """Per-example gradients (n, size) by tensor times other factors than those of clipping, for both Opacus ways."""

    def accumulate(self: SecureNoiseOptimizer) -> None:
        samples = [self._get_flat_grad_sample(p).reshape(-1, p.numel()) for p in self.params]
        scale = factors(samples, float(self.max_grad_norm))
        for parameter, sample in zip(self.params, samples, strict=True):
            parameter.summed_grad = (scale.to(sample.dtype) @ sample).view_as(parameter)

    def summed(samples: Sequence[torch.Tensor], clip: float, weights: torch.Tensor | None) -> Any:
        scale = factors(list(samples), clip).double()
        return np.concatenate([(scale @ s.double()).numpy() for s in samples])

    patch.setattr(SecureNoiseOptimizer, "clip_and_accumulate", accumulate)
    patch.setattr(distributed, "_clipped_sum", summed)


def norms(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([s.norm(dim=1) for s in samples]).norm(dim=0)


def of_the_sum(samples: list[torch.Tensor], clip: float) -> torch.Tensor:
    length = torch.cat([s.sum(dim=0) for s in samples]).norm()
    return torch.full((len(samples[0]),), float(min(1.0, clip / max(float(length), 1e-9))))


def without_the_last_tensor(samples: list[torch.Tensor], clip: float) -> torch.Tensor:
    return (clip / norms(samples[:-1])).clamp(max=1.0)


def to_twice_the_norm(samples: list[torch.Tensor], clip: float) -> torch.Tensor:
    return (2.0 * clip / norms(samples)).clamp(max=1.0)


def unclipped_last_tensor(patch: pytest.MonkeyPatch) -> None:
    """The last tensor of each gradient is added as it is."""

    def whole(self: SecureNoiseOptimizer) -> None:
        samples = [self._get_flat_grad_sample(p).reshape(-1, p.numel()) for p in self.params]
        scale = (float(self.max_grad_norm) / norms(samples)).clamp(max=1.0)
        for number, (parameter, sample) in enumerate(zip(self.params, samples, strict=True)):
            last = number == len(samples) - 1
            summed = sample.sum(dim=0) if last else scale.to(sample.dtype) @ sample
            parameter.summed_grad = summed.view_as(parameter)

    patch.setattr(SecureNoiseOptimizer, "clip_and_accumulate", whole)


def kept(decide: Callable[[np.ndarray, float], np.ndarray], forget: bool = True) -> Plant:
    def close(self: ThresholdMemory, task: int, held: Held, arrived: Held, draws: Any, x: Any, y: Any) -> Held:
        threshold = self.thresholds[task]
        older = held.where(draws[held.item] < threshold) if forget else held
        return older.plus(arrived.where(decide(draws[arrived.item], threshold)))

    return lambda patch: patch.setattr(ThresholdMemory, "close", close)


ALL, OPACUS, SHARED, LOCAL = ("local", "stacked", "shared"), ("local", "shared"), ("shared",), ("local",)
PLANTS: dict[str, tuple[Plant, tuple[str, ...]]] = {
    "no noise": (lambda patch: change_noise(patch, 0.0), ALL),
    "noise halved": (lambda patch: change_noise(patch, 0.5), ALL),
    "variance a tenth too small": (lambda patch: change_noise(patch, 0.9**0.5), ALL),
    "variance a tenth too large": (lambda patch: change_noise(patch, 1.1**0.5), ALL),
    "generator reseeded at every step": (lambda patch: change_noise(patch, 1.0, reseeded=True), ALL),
    "generator reseeded at every visit": (same_noise_at_every_visit, ALL),
    "rates doubled": (lambda patch: change_batches(patch, at_rates(2.0, 2.0)), ALL),
    "memory's rate doubled": (lambda patch: change_batches(patch, at_rates(1.0, 2.0)), ALL),
    "rates halved": (lambda patch: change_batches(patch, at_rates(0.5, 0.5)), ALL),
    "all that is current in every batch": (lambda patch: change_batches(patch, at_rates(100.0, 1.0)), ALL),
    "coins fixed": (lambda patch: change_batches(patch, fixed_coins), ALL),
    "noise by the batch that came": (lambda patch: noisy(patch, lambda came: float(came)), LOCAL),
    "noise by the root of the batch": (lambda patch: noisy(patch, lambda came: max(1.0, (came / 16) ** 0.5)), LOCAL),
    "halved once the batch is not empty": (lambda patch: noisy(patch, lambda came: 0.5 if came else 1.0), LOCAL),
    "none where nobody came": (lambda patch: noisy(patch, lambda came: float(came > 0)), LOCAL),
    "clipping of the sum": (lambda patch: clipped(patch, of_the_sum), OPACUS),
    "one tensor outside the norm": (lambda patch: clipped(patch, without_the_last_tensor), OPACUS),
    "one tensor not clipped": (unclipped_last_tensor, LOCAL),
    "clipping to twice the norm": (lambda patch: clipped(patch, to_twice_the_norm), OPACUS),
    "no clipping": (lambda patch: clipped(patch, lambda samples, clip: torch.ones(len(samples[0]))), OPACUS),
    "one share too few": (shares(lambda honest: honest - 1), SHARED),
    "one share too many": (shares(lambda honest: honest + 1), SHARED),
    "no client adds its share": (shares(lambda honest: 0), SHARED),
    "shares for one more than there are": (share_of_one_more, SHARED),
    "memory keeps everything": (kept(lambda keys, threshold: keys < 1.0), LOCAL),
    "memory keeps twice as much": (kept(lambda keys, threshold: keys < 2 * threshold), LOCAL),
    "memory keeps by the other half": (kept(lambda keys, threshold: keys < 0.5 * threshold), LOCAL),
}


@pytest.mark.parametrize(("bug", "kind"), [(bug, kind) for bug, (_, kinds) in PLANTS.items() for kind in kinds])
def test_a_planted_bug_breaks_a_law(
    bug: str, kind: str, worlds: dict[str, AuditWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    PLANTS[bug][0](monkeypatch)
    laws = judged(worlds[kind])
    assert min(laws.values()) < LAW_LEVEL


def charged_otherwise(patch: pytest.MonkeyPatch, change: Callable[[Charge], Charge | None]) -> None:
    honest_charges = RowPlan.charges

    def charges(self: RowPlan, slot: int, round: int) -> list[Charge]:
        found = [change(charge) for charge in honest_charges(self, slot, round)]
        return [charge for charge in found if charge is not None]

    patch.setattr(RowPlan, "charges", charges)


def at_half_the_rate(charge: Charge) -> Charge:
    assert isinstance(charge.event, SampledGaussian | SampledSkellam)
    return replace(charge, event=replace(charge.event, q=charge.event.q / 2))


def with_more_noise(charge: Charge) -> Charge:
    match charge.event:
        case SampledGaussian() as event:
            return replace(charge, event=replace(event, noise_multiplier=2 * event.noise_multiplier))
        case SampledSkellam() as event:
            return replace(charge, event=replace(event, variance=4 * event.variance))
        case other:
            raise AssertionError(other)


LEDGERS: dict[str, Callable[[RowPlan, Charge], Charge | None]] = {
    "half the rate": lambda plan, charge: at_half_the_rate(charge),
    "more noise": lambda plan, charge: with_more_noise(charge),
    "no replay": lambda plan, charge: None if getattr(charge.event, "q") == plan.strategy.memory_rate else charge,  # noqa: B009
    "nothing": lambda plan, charge: None,
}


@pytest.mark.parametrize("kind", ["local", "shared"])
@pytest.mark.parametrize("ledger", LEDGERS)
def test_a_ledger_of_another_mechanism_is_contradicted(
    ledger: str, kind: str, worlds: dict[str, AuditWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = worlds[kind].plan
    charged_otherwise(monkeypatch, lambda charge: LEDGERS[ledger](plan, charge))
    assert min(judged(written(plan, tmp_path)).values()) < LAW_LEVEL


def test_a_broken_law_is_a_verdict(worlds: dict[str, AuditWorld], monkeypatch: pytest.MonkeyPatch) -> None:
    change_batches(monkeypatch, at_rates(1.0, 2.0))
    document = {"contradictions": []} | dict(play_canaries(worlds["local"]).more)
    with pytest.raises(attacks.LedgerContradicted, match=r"does not hold for .*memory.*\(p = .*: ") as found:
        require_ledger_holds(document, Path("report.html"))
    assert "do not rely on the certificate, and see report.html" in str(found.value)


#: Settings that change what a visit is: noise that is coarse, steps, networks, optimizers, one slot alone.
ODD = (
    ("training.trainer=stacked", "training.optimizer=adam"),
    ("training.trainer=stacked", "training.momentum=0.9", "training.keep_moments=true"),
    ("training.trainer=stacked", "training.model=softmax", "training.clipping_norm=10"),
    ("training.trainer=stacked", "training.model=cnn", "training.clipping_norm=0.1"),
    ("training.trainer=stacked", "training.q_current=1", "training.q_memory=1"),
    ("training.trainer=stacked", "compression.trained=last", "scenario.kind=task"),
    ("training.trainer=stacked", "compression.kind=low_rank", "compression.bits=8"),
    ("training.trainer=stacked", "compression.bits=4"),
    ("training.trainer=stacked", "memory.policy=herding"),
    ("training.trainer=stacked", "scenario.setting=cross-silo"),
    ("training.trainer=stacked", "scenario.tasks=1", "training.scale_bits=8"),
    ("training.steps=1", "attacks.row=derpp", 'rows=["derpp"]'),
    ("training.steps=9", "attacks.row=fedprox", 'rows=["fedprox"]'),
)


@pytest.mark.parametrize("settings", ODD, ids=" ".join)
def test_other_visits_follow_their_laws(
    settings: tuple[str, ...], make_config: Callable[..., Config], tmp_path: Path
) -> None:
    for place in ("local", "shared"):
        row = settings[-1][7:-2] if settings[-1].startswith("rows") else "replay"
        plan = prepare(make_config(*SETTINGS, f"{row}.noise={place}", *settings)).rows[0][0]
        laws = judged(written(plan, tmp_path / place))
        assert broken(laws) == set()
        assert len(laws) >= 10


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["stacked", "shared"])
def test_honest_seeds(kind: str, worlds: dict[str, AuditWorld], campaign: Callable[[int, int], list[int]]) -> None:
    """Of 200 seeds no law alarms and two games at most, and each law's p-values are uniform."""
    found: dict[str, list[float]] = {}
    accused = 0
    for seed in campaign(200, 12):
        plan = worlds[kind].plan
        own = replace(plan, config=plan.config.model_copy(update={"seed": seed}))
        played = play_canaries(replace(worlds[kind], plan=own))
        accused += bool(attacks.contradictions(played.outcomes))
        for one in dict(played.more)["laws"]:
            found.setdefault(one["law"], []).append(one["p_value"])
    assert min(min(values) for values in found.values()) > LAW_LEVEL
    assert accused <= 2
    for law, values in found.items():
        assert stats.kstest(values, "uniform").pvalue > 1e-4, law
