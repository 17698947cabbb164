"""What a person sends of training: one vector clipped as a whole, or silence, and a bit of a coin of its own."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from crypto.keys.randomness import KeyedStream, derive_key
from privacy import DpSgdPlan
from privacy.batches import cross_entropy
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, StepContext
from secure_fcl.strategies.gradient.networks import Networks, Visit
from secure_fcl.strategies.gradient.numbers import LearntNorm, Rates
from secure_fcl.strategies.gradient.uploads.persons import PersonUpload, within
from secure_fcl.strategies.gradient.uploads.upload import ClientRound
from secure_fcl.strategies.methods.regularisation import Proximal

SHAPE, CLASSES, NORM = (1, 4, 4), 3, 0.05
STEP = StepContext(slot=0, round=0, classes=(0, 1, 2))
Make = Callable[..., GradientStrategy]


def strategy(**changed: object) -> GradientStrategy:
    plan = DpSgdPlan(
        steps=4, denominator=16.0, clipping_norm=NORM, noise_multiplier=1.0, learning_rate=0.3, momentum=0.0
    )
    given = {
        "name": "fact", "dpsgd": plan, "rates": Rates(current=1.0), "rounds": 3, "examples": 12, "shared": True,
        "networks": Networks(kind="mlp", shape=SHAPE, classes=CLASSES, seed=1, trainer="stacked"),
        "persons": True, "sends": "difference",
    }  # fmt: skip
    return GradientStrategy(**(given | changed))  # type: ignore[arg-type]


def view(examples: int, seed: int = 5) -> DeviceView:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((examples, *SHAPE)).astype(np.float32)
    nothing = Examples(x[:0], np.zeros(0, dtype=np.int64))
    return DeviceView(Examples(x, rng.integers(0, CLASSES, examples)), nothing)


def coins(number: int) -> KeyedStream:
    return KeyedStream(derive_key(bytes(32), str(number)))


def own_steps(made: GradientStrategy, held: DeviceView, pull: float = 0.0) -> np.ndarray:
    """The model difference by torch alone: full steps by the mean loss, with a pull back to where they began."""
    import torch

    network = made.networks.fresh()
    start = [p.detach().clone() for p in network.parameters()]
    for _ in range(made.dpsgd.steps):
        loss = torch.nn.functional.cross_entropy(
            network(torch.from_numpy(held.current.x)), torch.from_numpy(held.current.y)
        )
        slopes = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for p, slope, first in zip(network.parameters(), slopes, start, strict=True):
                p -= made.dpsgd.learning_rate * (slope + pull * (p - first))
    pairs = zip(network.parameters(), start, strict=True)
    return torch.cat([(p.detach() - first).reshape(-1) for p, first in pairs]).numpy().astype(np.float64)


@pytest.mark.parametrize("trainer", ["opacus", "stacked"])
@pytest.mark.parametrize("examples", [1, 30])
def test_a_difference_is_that_of_its_own_steps_drawn_to_the_norm_as_a_whole(trainer: str, examples: int) -> None:
    networks = Networks(kind="mlp", shape=SHAPE, classes=CLASSES, seed=1, trainer=trainer)  # type: ignore[arg-type]
    made, held = strategy(networks=networks), view(examples)
    sent = made.contribute(made.initial(), held, STEP, coins(0)).parts["difference"]
    whole = own_steps(made, held)
    assert np.linalg.norm(whole) > 2 * NORM
    assert np.linalg.norm(sent) <= NORM
    assert sent == pytest.approx(whole * NORM / np.linalg.norm(whole), abs=1e-6)
    wide = strategy(networks=networks, dpsgd=DpSgdPlan(
        steps=4, denominator=16.0, clipping_norm=100.0, noise_multiplier=1.0, learning_rate=0.3
    ))  # fmt: skip
    assert wide.contribute(wide.initial(), held, STEP, coins(0)).parts["difference"] == pytest.approx(whole, abs=1e-5)


def test_a_term_of_the_method_acts_in_the_steps_of_a_client() -> None:
    made, held = strategy(method=Proximal(mu=1.5)), view(20)
    wanted = own_steps(made, held, pull=1.5)
    sent = made.contribute(made.initial(), held, STEP, coins(0)).parts["difference"]
    assert sent == pytest.approx(wanted * NORM / np.linalg.norm(wanted), abs=1e-6)


@pytest.mark.parametrize("sends", ["gradient", "difference"])
def test_a_coin_chooses_between_the_vector_and_silence(sends: str) -> None:
    made, held = strategy(sends=sends, rates=Rates(current=0.3)), view(40)
    norms = [
        float(np.linalg.norm(made.contribute(made.initial(), held, STEP, coins(k)).parts[sends])) for k in range(60)
    ]
    assert max(norms) <= NORM
    assert {round(size, 6) for size in norms} == {0.0, NORM}
    assert 6 <= sum(size > 0 for size in norms) <= 32


@pytest.mark.parametrize("sends", ["gradient", "difference"])
def test_who_holds_nothing_sends_nothing_even_where_a_method_moves_every_model(sends: str) -> None:
    made = strategy(sends=sends, learnt=LearntNorm(), method=Proximal(mu=1.5))
    parts = made.contribute(made.initial(), view(0), STEP, coins(0)).parts
    assert set(parts) == {sends, "within"}
    assert not any(part.any() for part in parts.values())


def test_the_server_moves_by_the_mean_over_the_people_expected_and_keeps_its_momentum() -> None:
    plan = DpSgdPlan(
        steps=4, denominator=16.0, clipping_norm=NORM, noise_multiplier=1.0, learning_rate=0.3, momentum=0.5
    )
    made = strategy(rates=Rates(current=0.25), dpsgd=plan)
    state, total = made.initial(), {"difference": np.full(made.size, 2.0)}
    once = made.apply(state, STEP, total, 40)
    twice = made.apply(once, STEP, total, 40)
    assert once["weights"] - state["weights"] == pytest.approx(np.full(made.size, 0.2), abs=1e-6)
    assert twice["weights"] - once["weights"] == pytest.approx(np.full(made.size, 0.3), abs=1e-6)


def test_within_makes_silence_of_what_has_no_norm() -> None:
    assert not within(np.array([1.0, math.nan]), 1.0).any()
    assert within(np.array([3.0, 4.0]), 1.0) == pytest.approx([0.6, 0.8])


def test_a_count_splits_the_noise_as_published() -> None:
    """Andrew et al. 2021: z_sum = (1 / z^2 - 1 / (2 sigma_b)^2)^(-1/2), sigma_b the noise of a count of halves."""
    learnt, z_sum = LearntNorm(target=0.5, share=0.05), 3.0
    # An entry has the noise z_sum, where one client changes the sum by 1; in people, it is over the weight of a bit.
    sigma_b = z_sum / learnt.weight
    z = (1.0 / z_sum**2 + 1.0 / (2.0 * sigma_b) ** 2) ** -0.5
    assert z_sum == pytest.approx((z**-2 - (2.0 * sigma_b) ** -2) ** -0.5)
    assert (1.0 / (2.0 * sigma_b) ** 2) / (1.0 / z**2) == pytest.approx(0.05)
    assert z_sum == pytest.approx(z / math.sqrt(1.0 - 0.05))


@pytest.mark.parametrize("target", [0.5, 0.2, 0.9])
def test_a_bit_changes_the_count_by_no_more_than_is_charged(target: float) -> None:
    learnt = LearntNorm(target=target, share=0.1)
    bits = [learnt.counted(True), learnt.counted(False)]
    assert bits[0] > 0.0 > bits[1]
    assert max(map(abs, bits)) == pytest.approx(learnt.most) == pytest.approx(1.0 / 3.0)


class Given:
    """A trainer that makes of every client's visit the vector it was given."""

    def __init__(self, vectors: list[np.ndarray]) -> None:
        self._vectors = vectors

    def sums(self, weights: object, visits: object, clipping_norm: float, loss: object) -> list[np.ndarray]:
        return self._vectors


@pytest.mark.parametrize(("start", "rate"), [(0.01, 1.0), (500.0, 1.0), (1.0, 0.5)])
def test_a_learnt_norm_ends_where_its_share_of_those_who_hold_data_lies_within(start: float, rate: float) -> None:
    """Whoever is silent by its coin, or holds nothing, does not move it; nor does what it starts from."""
    sizes = np.geomspace(0.5, 8.0, 20)
    plan = DpSgdPlan(steps=1, denominator=1.0, clipping_norm=start, noise_multiplier=1.0, learning_rate=0.1)
    made = strategy(sends="gradient", learnt=LearntNorm(target=0.75, rate=0.3), dpsgd=plan, rates=Rates(current=rate))
    upload = PersonUpload(made.numbers)
    # Every other client holds nothing, and the trainer makes a zero of it.
    views = [view(3), view(0)] * 20
    vectors = [np.full(made.size, size / math.sqrt(made.size)) * one for size in sizes for one in (1.0, 0.0)]
    state, norms = made.initial(), []
    for number in range(240):
        visits = [Visit((), coins(number * 40 + k)) for k in range(40)]
        round = ClientRound(
            trainer=Given(vectors), state=state, step=STEP, views=views, visits=visits, loss=cross_entropy  # type: ignore[arg-type]
        )  # fmt: skip
        sent = [one.parts for one in upload.fill(round)]
        assert max(np.linalg.norm(parts["gradient"]) for parts in sent) <= 1.0
        total = {name: np.sum([parts[name] for parts in sent], axis=0) for name in sent[0]}
        state = {**state, "norm": upload.read(state, STEP, total, len(views))[0]["norm"]}
        norms.append(float(state["norm"][0]))
    assert np.quantile(sizes, 0.65) <= np.median(norms[-80:]) <= np.quantile(sizes, 0.85)


def test_bit_and_vector_have_coins_of_their_own() -> None:
    """Under one coin they would be one release of the joint norm, and two charges of the ledger would be too little."""
    made, held = strategy(learnt=LearntNorm(), rates=Rates(current=0.5)), view(20)
    pairs = set()
    for number in range(60):
        parts = made.contribute(made.initial(), held, STEP, coins(number)).parts
        pairs.add((bool(parts["difference"].any()), bool(parts["within"].any())))
    assert pairs == {(False, False), (False, True), (True, False), (True, True)}


def test_what_is_summed_under_a_learnt_norm_is_multiplied_with_it_again() -> None:
    made, held = strategy(learnt=LearntNorm()), view(30)
    state = made.initial() | {"norm": np.array([0.02], dtype=np.float32)}
    parts = made.contribute(state, held, STEP, coins(0)).parts
    assert np.linalg.norm(parts["difference"]) == pytest.approx(1.0, abs=1e-6)
    moved = made.apply(state, STEP, parts, 1)["weights"] - state["weights"]
    assert float(np.linalg.norm(moved)) == pytest.approx(0.02, rel=1e-4)
