"""FedWeIT: what the paper claims, what its parts make together, and what its side channel gives away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crypto.keys.randomness import KeyedStream
from privacy import DpSgdPlan, NonPrivate
from secure_fcl.auditing.channels import play_channels
from secure_fcl.auditing.own_network import OwnBench
from secure_fcl.auditing.world import AuditWorld
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare
from secure_fcl.strategies import Examples, GradientStrategy, Networks, Plain, State
from secure_fcl.strategies.base import Floats
from secure_fcl.strategies.course import Carried, Course, play
from secure_fcl.strategies.methods import Alone, FedWeit, FedWeitWithTransfer
from secure_fcl.strategies.methods.fedweit_parts import Factors, dense, largest
from secure_fcl.streams import Scenario
from secure_fcl.testing import check_alive, check_resume, check_storage
from tests.secure_fcl.strategies.methods.two_tasks import personal_accuracy, strategy_of

Make = Callable[..., GradientStrategy]
Courses = Callable[..., Course]
ALLOWED = 'side_channels=["fedweit.task_weights"]'


def test_claimed_order_above_averaging_where_clients_disagree_and_above_each_alone_where_they_agree() -> None:
    # Yoon et al. 2021, section 4, main results: above FedProx and FedAvg-like baselines, whose clients hurt each other,
    # and above single clients (STL), who do not help each other.
    assert personal_accuracy(FedWeit(), groups=2) > personal_accuracy(Plain(), groups=2) + 0.15
    assert personal_accuracy(FedWeit(), groups=1) > personal_accuracy(Alone(), groups=1) + 0.03


def test_claimed_ablation_without_sparse_weights_clients_that_disagree_hurt_each_other() -> None:
    # The same section, ablation of the parts: without A the model loses most.
    assert personal_accuracy(FedWeit(), groups=2) > personal_accuracy(FedWeit(kept=1e-9), groups=2) + 0.1


@pytest.mark.parametrize("trainer", ["stacked", "opacus"])
def test_penalty_on_drift_and_sparsity_are_alive(make: Make, course: Courses, trainer: str) -> None:
    for on, off in ((FedWeit(drift=5.0), FedWeit(drift=0.0)), (FedWeit(sparse=0.05), FedWeit(sparse=0.0))):
        first, second = make(on, trainer=trainer), make(off, trainer=trainer)
        check_alive(first, second, course(second))


def test_the_first_step_is_that_of_the_gradient_on_every_part() -> None:
    # One client, one step, no penalty: the gradient G at B (m = 1, A = 0) moves all by its derivative.
    method = FedWeit(kept=1.0, sparse=0.0, drift=0.0)
    s = strategy_of(method, steps=1)
    plain = replace(s, method=Plain())
    rounds = Course.of_two_tasks((1, 8, 8), 10, s, 1)
    state, step = s.initial(), rounds.steps[0]
    own = {"own": np.zeros(s.carried["own"], dtype=np.float32)}
    made = s.contribute(state, rounds.view(s, 0, step, own), step, KeyedStream(bytes(32)))
    moved = plain.contribute(state, rounds.view(plain, 0, step, {}), step, KeyedStream(bytes(32))).parts["update"]
    layout = method.parts(s.networks)
    factors = layout.read(made.carried["own"], state["weights"])
    np.testing.assert_allclose(made.parts["update"], moved, atol=1e-6)
    np.testing.assert_allclose(dense(factors.adaptive[0], layout.size), moved, atol=1e-6)
    on_mask = np.bincount(layout.row_of, weights=moved * state["weights"])
    np.testing.assert_allclose(factors.masks[0], np.clip(1.0 + on_mask, 0.0, 1.0), atol=1e-5)


def test_parts_are_read_as_they_were_written() -> None:
    rng = np.random.default_rng(0)
    layout = FedWeitWithTransfer().parts(strategy_of(FedWeit()).networks)
    sparse = np.stack([largest(rng.standard_normal(layout.size).astype(np.float32), layout.kept) for _ in range(2)])
    factors = Factors(
        base=rng.standard_normal(layout.size).astype(np.float32), attention=np.float32([0.1, 0.2, 0.3]), attention_of=1,
        masks=rng.random((2, layout.rows)).astype(np.float32), adaptive=sparse,
    )  # fmt: skip
    own = layout.write(factors)
    assert own.shape == (layout.length(2),)
    back = layout.read(own, np.zeros(layout.size, dtype=np.float32))
    for name in ("base", "attention", "masks", "adaptive"):
        np.testing.assert_allclose(getattr(back, name), getattr(factors, name), atol=1e-6)
    assert back.attention_of == 1


def test_the_largest_entries_are_kept_and_positions_are_exact() -> None:
    vector = np.float32([0.0, -3.0, 1.0, 0.5, 2.0])
    np.testing.assert_array_equal(largest(vector, 2), np.float32([[-3.0, 2.0], [1.0, 4.0]]))
    np.testing.assert_array_equal(dense(largest(vector, 5), 5), vector)


def spoken(s: GradientStrategy, rounds: Course) -> tuple[State, Carried, list[Floats]]:
    """Return state and devices' arrays after a course with its side channel, and what clients said in each slot."""
    state, carried = play(s, rounds, 0, 0)
    said: list[Floats] = []
    for number, step in enumerate(rounds.steps):
        if step.round == 0:
            views = [rounds.view(s, k, step, carried[k]) for k in range(rounds.clients)]
            said.append(np.stack([s.disclose(state, view, step)["fedweit.task_weights"] for view in views]))
        state, carried = play(s, rounds, number, number + 1, state, carried)
        state = s.informed(state, step, {"fedweit.task_weights": said[-1]})
    return state, carried, said


def test_others_weights_are_borrowed_after_the_first_round_of_the_next_task(make: Make, course: Courses) -> None:
    s = make(FedWeitWithTransfer(peers=2), steps=4, rate=1.0)
    state, carried, said = spoken(s, course(s, 4))
    assert not said[0].any()
    assert np.count_nonzero(said[1][:, 0]) > 0
    method: Any = s.method
    found = [method.parts(s.networks).read(own["own"], state["weights"]) for own in carried]
    assert {each.attention_of for each in found} == {1}
    assert max(float(each.attention.max()) for each in found) > 0.0
    np.testing.assert_array_equal(state["knowledge_of"], [1.0])
    first = method.personal(state, carried[0]["own"])
    x = course(s).view(s, 0, course(s).steps[0], {}).current.x
    without = {**first, "knowledge_of": np.float32([0.0])}
    borrows = found[0].attention.any()
    assert np.array_equal(s.scores(first, x)[:, 2:], s.scores(without, x)[:, 2:]) != borrows
    np.testing.assert_array_equal(s.scores(first, x)[:, :2], s.scores(without, x)[:, :2])


def test_the_network_of_a_client_gives_its_scores_and_the_base_stands_for_the_rest(make: Make, course: Courses) -> None:
    s = make(FedWeit())
    state, carried = play(s, course(s))
    x = course(s).view(s, 0, course(s).steps[0], carried[0]).current.x
    np.testing.assert_array_equal(s.scores(state, x), s.networks.outputs(state["weights"], x))
    own = s.method.personal(state, carried[0]["own"])
    assert np.isfinite(s.scores(own, x)).all()
    early = {**own, "announced": np.float32([0, 0, -1, -1])}
    assert np.isneginf(s.scores(early, x)[:, 2:]).all()


@pytest.mark.parametrize("method", [FedWeit(), FedWeitWithTransfer()], ids=["safe", "published"])
def test_storage_is_as_declared_and_a_run_resumes_exactly(make: Make, course: Courses, method: FedWeit) -> None:
    check_storage(make(method, sigma=1.0), course(make(method)))
    check_resume(lambda: make(method, sigma=1.0), course(make(method)))


def test_what_it_charges_is_what_fine_tuning_does(make: Make) -> None:
    assert make(FedWeit(), sigma=1.0).events("current") == make(Plain(), sigma=1.0).events("current")


@pytest.mark.parametrize("changed", [{"momentum": 0.5}, {"optimizer": "adam"}])
def test_another_optimizer_is_refused(make: Make, changed: dict[str, Any]) -> None:
    s = make(FedWeit())
    with pytest.raises(ConfigInvalid, match=r"by plain SGD on the device: set training\.optimizer = 'sgd'"):
        _ = replace(s, dpsgd=replace(s.dpsgd, **changed)).uploads


def test_noise_inside_a_sum_is_refused(make_config: Callable[..., Config]) -> None:
    for row in ("fedweit", "fedweit_safe"):
        with pytest.raises(ConfigInvalid, match="weights of its own, which no noise inside a sum covers"):
            make_config(f"{row}.noise=shared")


def test_the_channel_is_refused_under_protection(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigInvalid, match=r"take fedweit_safe, or allow it with side_channels = \['fedweit"):
        build_row(make_config(), tiny_scenario, "fedweit", 1.0)
    plan, multiplier = calibrated_row(make_config(ALLOWED), tiny_scenario, "fedweit")
    assert not plan.protected
    assert any(isinstance(charge.event, NonPrivate) for charge in plan.charges(0, 0))
    safe = calibrated_row(make_config(), tiny_scenario, "fedweit_safe")
    assert safe[0].protected
    assert safe[1] == pytest.approx(multiplier, rel=1e-6)


@pytest.mark.slow
def test_the_audit_reads_off_the_channel_who_held_which_class(
    run_tiny: Callable[..., Any], make_config: Callable[..., Config]
) -> None:
    settings = (
        'rows=["fedweit","fedweit_safe"]', ALLOWED, "scenario.kind=task", "fedweit.noise=none", "fedweit.epsilon=inf",
        "fedweit_safe.learning_rate=0.2", "replay_noise=true",
    )  # fmt: skip
    run, plan = run_tiny(*settings), prepare(make_config(*settings)).rows[0][0]
    found, _ = play_channels(AuditWorld(plan, plan.strategy, {}, RunFolder(run.path)))  # type: ignore[arg-type]
    (channel,) = [one for one in found if one["channel"] == "fedweit.task_weights"]
    # Five clients, five classes of the first task; the second task's weights are never sent.
    assert channel["n"] == 25
    assert channel["auc"] > 0.9
    assert run.certificate("fedweit")["epsilon"] is None
    assert run.certificate("fedweit_safe")["epsilon"] == pytest.approx(8.0, rel=0.01)


def test_bounds_of_a_visit_hold_for_a_signal_network() -> None:
    plan = DpSgdPlan(steps=2, denominator=4.0, clipping_norm=1.0, noise_multiplier=0.0, learning_rate=0.5)
    networks = Networks(kind="auto", shape=(6, 64), classes=12, seed=1, trainer="stacked")
    s = replace(strategy_of(FedWeit()), networks=networks, dpsgd=plan)
    rounds = Course.of_two_tasks((6, 64), 12, s)
    state, _ = play(s, rounds)
    assert np.isfinite(state["weights"]).all()


def test_the_audit_hears_every_noisy_gradient_that_steps_are_made_of(make: Make) -> None:
    s = make(FedWeit(), sigma=1.0, steps=3)
    nothing = Examples(np.zeros((0, 1, 8, 8), dtype=np.float32), np.zeros(0, dtype=np.int64))
    heard = OwnBench(s, None).visit(nothing, nothing, 0)
    assert heard.shape == (3, s.size)
    # No example: what is heard is the noise alone, of the clipping norm.
    assert float(heard.std()) == pytest.approx(1.0, rel=0.05)
