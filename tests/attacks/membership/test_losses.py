from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks import ALL_MODELS, Candidates, View
from attacks.errors import CandidatesInvalid, LossesInvalid
from attacks.games.standard import groups_of, standardise
from attacks.membership.families import signals
from attacks.membership.losses import (
    closing_rows,
    first_rows,
    log_odds,
    losses_at,
    opening_rows,
    resolved,
    resolved_at,
)
from attacks.modules.functions import label_losses

Make = Callable[..., Candidates]


def view_of(tasks: list[int]) -> View:
    return View.of(ALL_MODELS, {"models": np.zeros((len(tasks), 2)), "model_tasks": np.array(tasks)})


def test_rows_of_a_calendar_by_hand(make_candidates: Make) -> None:
    view = view_of([-1, 0, 0, 1, 2, 2])
    candidates = make_candidates(4, task=[0, 1, 2, 0])
    assert opening_rows(view, candidates).tolist() == [0, 2, 3, 0]
    assert first_rows(view, candidates).tolist() == [1, 3, 4, 1]
    assert closing_rows(view, candidates).tolist() == [2, 3, 5, 2]


def test_missing_checkpoints_are_named(make_candidates: Make) -> None:
    with pytest.raises(CandidatesInvalid, match=r"\[7\]"):
        closing_rows(view_of([-1, 0]), make_candidates(2, task=[0, 7]))
    with pytest.raises(CandidatesInvalid, match=r"before task\(s\) \[0\]"):
        opening_rows(view_of([0, 1]), make_candidates(2, task=[0, 1]))


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], [np.inf, 0.0], [-0.1, 0.0], [[1.0, 2.0]]])
def test_bad_losses_are_refused(values: list[float], make_candidates: Make) -> None:
    with pytest.raises(LossesInvalid):
        losses_at(lambda w, x, y: np.array(values), np.zeros(2), make_candidates(2))


def test_log_odds_of_known_probabilities() -> None:
    p = np.array([0.5, 0.9, 0.01])
    assert log_odds(-np.log(p)) == pytest.approx(np.log(p / (1 - p)))
    assert log_odds(np.array([200.0])) == pytest.approx([-200.0])
    assert np.isfinite(log_odds(np.array([0.0, 1e4]))).all()


@pytest.mark.parametrize("margin", [-800.0, -30.0, -1.0, 0.0, 3.0, 17.0, 40.0, 100.0, 700.0])
def test_the_margin_of_the_logits_comes_back_however_sure_the_model_is(margin: float) -> None:
    """Float32 cross-entropy is 0 from a margin of 17 on, float64's of 37; `label_losses` keeps it."""
    logits = torch.tensor([[margin, 0.0], [margin - 5.0, -5.0]], dtype=torch.float64)
    found = log_odds(resolved(label_losses(logits, torch.tensor([0, 0])).numpy()))
    assert found == pytest.approx([margin, margin], abs=1e-9, rel=1e-12)


def test_label_losses_are_cross_entropies_and_refuse_labels_of_no_class() -> None:
    logits, y = torch.randn((3, 7, 5), generator=torch.Generator().manual_seed(0)), torch.arange(21).reshape(3, 7) % 5
    known = torch.nn.functional.cross_entropy(logits.reshape(-1, 5), y.reshape(-1), reduction="none")
    assert label_losses(logits, y).reshape(-1).numpy() == pytest.approx(known.numpy(), rel=1e-5)
    for wrong in (5, -1, -100):
        with pytest.raises(LossesInvalid, match=f"such as {wrong} are outside 0 to 4"):
            label_losses(logits[0, :1], torch.tensor([wrong]))
    for shape in ((3, 1), (4, 5)):
        with pytest.raises(LossesInvalid, match="two classes"):
            label_losses(torch.zeros(shape), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([1.0, 0.0]), "1 of 2 losses of type float64 are 0"),
        (np.array([1.0, 5e-7], dtype=np.float32), "type float32 are below 1e-06"),
        (np.array([1.0, 0.0], dtype=np.float16), "float16"),
    ],
)
def test_log_odds_are_not_taken_of_what_rounding_left(values: np.ndarray, said: str, make_candidates: Make) -> None:
    with pytest.raises(LossesInvalid, match=said):
        resolved(values)
    with pytest.raises(LossesInvalid, match="compute losses in float64 from logits"):
        resolved_at(lambda w, x, y: values, np.zeros(2), make_candidates(2))
    with pytest.raises(LossesInvalid, match=said):
        signals(values, "log probability")
    # Their order alone is still an attack.
    assert losses_at(lambda w, x, y: values, np.zeros(2), make_candidates(2))[0] == 1.0


@given(st.lists(st.floats(1e-5, 500.0), min_size=2, max_size=20, unique=True))
def test_log_odds_fall_as_losses_rise(losses: list[float]) -> None:
    odds = log_odds(np.sort(np.array(losses)))
    assert (np.diff(odds) <= 0).all()


GROUPED = st.lists(st.tuples(st.integers(0, 3), st.integers(-1000, 1000)), min_size=1, max_size=40)


@given(GROUPED, st.floats(0.1, 10), st.floats(-50, 50))
def test_standardising_removes_every_groups_place_and_scale(
    rows: list[tuple[int, int]], scale: float, shift: float
) -> None:
    groups = np.array([group for group, _ in rows])
    values = np.array([float(value) for _, value in rows])
    once = standardise(values, groups)
    moved = np.where(groups == groups[0], scale * values + shift, values)
    assert standardise(moved, groups) == pytest.approx(once, abs=1e-6)
    for group in np.unique(groups):
        own = once[groups == group]
        assert own.mean() == pytest.approx(0, abs=1e-9)
        assert own.std() == pytest.approx(1 if len(set(values[groups == group])) > 1 else 0, abs=1e-9)


def test_standardising_columns_is_standardising_each() -> None:
    random = np.random.default_rng(0)
    values, groups = random.normal(size=(30, 4)), random.integers(0, 3, 30)
    each = np.stack([standardise(values[:, k], groups) for k in range(4)], axis=1)
    assert standardise(values, groups) == pytest.approx(each)


def test_groups_are_pairs_of_task_and_label(make_candidates: Make) -> None:
    groups = groups_of(make_candidates(5, task=[0, 0, 1, 1, 0], y=[0, 1, 0, 1, 0]))
    assert len(set(groups.tolist())) == 4
    assert groups[0] == groups[4]
    assert groups_of(make_candidates(0)).shape == (0,)
