"""CFeD: what the paper claims, what is sent of answers, who reviews, and public inputs that are public."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crypto.keys.randomness import KeyedStream
from secure_fcl.config import Config
from secure_fcl.config.outside import outside_references
from secure_fcl.errors import ConfigInvalid
from secure_fcl.forecast.strategy_facts import fact_sheets
from secure_fcl.rows.build import build_row
from secure_fcl.running.prepare import prepare
from secure_fcl.strategies import GradientStrategy, Plain
from secure_fcl.strategies.course import Course, play
from secure_fcl.strategies.gradient.public_inputs import made_up, refuse_overlap
from secure_fcl.strategies.methods import Cfed, LwF
from secure_fcl.strategies.methods.cfed import PublicAnswers
from secure_fcl.streams import Scenario
from secure_fcl.testing import check_alive
from tests.secure_fcl.strategies.methods.two_tasks import ends

Make = Callable[..., GradientStrategy]
Courses = Callable[..., Course]


def test_claimed_order_on_both_tasks_together_it_is_above_fedavg_and_distillation_on_new_data() -> None:
    # Ma et al. 2022, section on results: CFeD leads FedAvg and FedLwF in accuracy averaged over old and new tasks.
    cfed, others = sum(ends(Cfed(), 8)), [sum(ends(method, 8)) for method in (Plain(), LwF())]
    assert cfed > max(others) + 0.1


def test_claimed_ablation_without_reviewers_the_old_task_is_forgotten() -> None:
    # The same section: without distillation at clients the old task is lost, and the new one learned a little better.
    (old, new), (old_without, new_without) = ends(Cfed(), 8), ends(Cfed(review=0.0), 8)
    assert old > old_without + 0.15
    assert new_without > new


@pytest.mark.parametrize("shared", [False, True], ids=["local", "shared"])
def test_reviewing_is_alive_in_both_places_of_noise(make: Make, course: Courses, shared: bool) -> None:
    on, off = (make(Cfed(review=r), shared=shared, q=0.9) for r in (0.5, 0.0))
    check_alive(on, off, course(off))


def test_distillation_at_the_server_is_alive(make: Make, course: Courses) -> None:
    on, off = (make(Cfed(server_steps=n), q=0.9) for n in (5, 0))
    check_alive(on, off, course(off))
    assert [part.name for part in on.uploads["train"].parts] == ["update", "answers"]
    assert [part.name for part in off.uploads["train"].parts] == ["update"]


def test_the_sum_of_answers_is_all_that_distillation_from_single_clients_takes(make: Make) -> None:
    s = make(Cfed())
    public = PublicAnswers(s.numbers, 2.0)
    rng = np.random.default_rng(0)
    teachers = [(s.networks.initial + 0.1 * rng.standard_normal(s.size)).astype(np.float32) for _ in range(3)]
    outputs = torch.from_numpy(rng.standard_normal(public.shape).astype(np.float32)).requires_grad_()
    single = torch.stack([public.loss(public.of(weights))(outputs) for weights in teachers]).mean()
    mean = public.loss(np.mean([public.of(weights) for weights in teachers], axis=0))(outputs)
    torch.testing.assert_close(mean, single)


@pytest.mark.parametrize("groups", [None, (0, 0, 1, 1)], ids=["class", "task"])
def test_answers_are_probabilities_and_a_networks_own_have_no_gradient(
    make: Make, groups: tuple[int, ...] | None
) -> None:
    s = replace(make(Cfed()), groups=groups)
    public = PublicAnswers(s.numbers, 2.0)
    own = public.of(s.networks.initial)
    np.testing.assert_allclose(own.sum(axis=1), 1.0 if groups is None else 2.0, rtol=1e-5)
    assert np.abs(public.gradient(s.networks.initial, own, 0)).max() < 1e-6
    other = np.roll(own, 1, axis=0)
    assert 0.0 < np.linalg.norm(public.gradient(s.networks.initial, other, 0)) <= s.dpsgd.clipping_norm + 1e-9


def test_who_reviews_is_a_coin_and_a_reviewer_says_nothing_of_its_examples(make: Make, course: Courses) -> None:
    s = make(Cfed(review=0.5), sigma=1.0)
    rounds = course(s)
    state, _ = play(s, rounds, 0, 2)
    state["answers"] = np.roll(state["answers"], 1, axis=1)
    view, other = (rounds.view(s, k, rounds.steps[2], {}) for k in (0, 1))
    silent = 0
    for number in range(12):
        key = number.to_bytes(32, "little")
        first, second = (s.contribute(state, v, rounds.steps[2], KeyedStream(key)).parts for v in (view, other))
        silent += np.array_equal(first["update"], second["update"])
    assert 2 <= silent <= 10


def test_what_it_charges_is_what_fine_tuning_does(make: Make) -> None:
    cfed, plain = make(Cfed(), sigma=1.0), make(Plain(), sigma=1.0)
    assert cfed.events("current") == plain.events("current")
    assert make(Cfed(), shared=True).sampled("current") == make(Plain(), shared=True).sampled("current")


@pytest.mark.parametrize("shape", [(6, 64), (1, 28, 28), (3, 8, 8), (40,), (3, 4)])
def test_made_up_inputs_follow_the_shape_and_the_seed_alone(shape: tuple[int, ...]) -> None:
    first, again, other = made_up(shape, 1, 5), made_up.__wrapped__(shape, 1, 5), made_up(shape, 2, 5)
    assert first.x.shape == (5, *shape)
    assert np.isfinite(first.x).all()
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)
    assert first.kept_bytes == 0


CODE = """
import numpy
def strokes(shape):
    return numpy.random.default_rng(0).random((7, *shape), dtype=numpy.float32)
def known(shape):
    from secure_fcl.data import load_digits
    return numpy.concatenate([strokes(shape), load_digits().x[-2:]])
def moody(shape):
    return numpy.random.random((7, *shape))
def narrow(shape):
    return numpy.zeros((7, 2))
def broken(shape):
    raise RuntimeError("no such folder")
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    name = f"public_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(CODE)
    return name


def test_inputs_of_ones_own_are_used_kept_and_named_as_code(code: str, make_config: Callable[..., Config]) -> None:
    config = make_config('rows=["cfed"]', f"cfed.public={code}:strokes")
    plan = prepare(config).rows[0][0]
    assert isinstance(plan.strategy, GradientStrategy)
    assert plan.strategy.uploads["train"].parts[1].shape == (7, 10)
    assert dict(plan.storage.kept)["public inputs"] == 7 * 64 * 4
    assert outside_references(config.model_dump()) == (f"{code}:strokes",)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("known", r"cfed\.public: 2 of 9 public inputs are those of training or test examples; .* from outside"),
        ("moody", "returns other inputs when asked again; draw them from a fixed seed"),
        ("narrow", r"returns an array \(7, 2\); return finite numbers \(n, 1, 8, 8\)"),
        ("broken", "fails for examples of shape .* with RuntimeError: no such folder; it takes the shape"),
        ("absent", "defines no 'absent'"),
    ],
)
def test_inputs_that_are_not_public_or_not_the_same_are_refused(
    code: str, make_config: Callable[..., Config], function: str, said: str
) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        prepare(make_config('rows=["cfed"]', f"cfed.public={code}:{function}"))


def test_overlapping_windows_are_refused_by_their_readings() -> None:
    readings = np.random.default_rng(0).standard_normal((2, 40)).astype(np.float32)
    windows = np.stack([readings[:, i : i + 8] for i in (0, 4, 8)])
    public = replace(made_up((2, 8), 1, 2), raw=readings[None, :, 14:22])
    with pytest.raises(ConfigInvalid, match="2 of 8 public readings"):
        refuse_overlap("cfed.public", public, windows, 2)
    refuse_overlap("cfed.public", public, windows, 1)
    refuse_overlap("cfed.public", replace(public, raw=readings[None, :, 20:28]), windows, 2)


def test_the_table_says_what_it_sends(make_config: Callable[..., Config]) -> None:
    sheet = next(sheet for sheet in fact_sheets(make_config()) if sheet.row == "cfed")
    assert sheet.sums_only
    assert sheet.per_example_dp
    assert sheet.extra_releases == 0
    assert sheet.places == ("local", "shared")
    assert sheet.shared_equals is None


@pytest.mark.parametrize(
    "settings",
    [
        ("cfed.noise=shared",),
        pytest.param((), marks=pytest.mark.slow),
        pytest.param(("compression.trained=last_later",), marks=pytest.mark.slow),
    ],
)
def test_it_trains_to_the_end(run_tiny: Callable[..., object], settings: tuple[str, ...]) -> None:
    run = run_tiny('rows=["cfed"]', "replay_noise=true", "cfed.made_up=16", *settings)
    certificate = run.certificate("cfed")  # type: ignore[attr-defined]
    assert certificate["epsilon"] == pytest.approx(8.0, rel=0.01)
    assert any("16 made-up public inputs" in fact for fact in certificate["public"])


def test_an_earlier_runs_noise_is_what_it_was(
    make_config: Callable[..., Config], tiny_scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, changed = (prepare(make_config('rows=["finetune"]', *more)) for more in ((), ("cfed.review=0.3",)))
    assert same.noise_key(bytes(32)) != changed.noise_key(bytes(32))
    assert build_row(make_config(), tiny_scenario, "cfed", 1.0).strategy.rounds == 2
