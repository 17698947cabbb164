from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np

from attacks import MEMBERSHIP, Coin, LossScore, Terms, outcome_record, play
from attacks.controls.memorised import ControlWorld, negative_control, positive_control
from attacks.gradients.reconstruction import Reconstruction
from attacks.report import audit_document, reconstruction_record
from evaluation.evidence import Score

OUTCOME_KEYS = {
    "game", "attack", "view", "target", "n_members", "n_nonmembers", "auc", "auc_low", "auc_high",
    "confidence",
    "blind_auc", "blind_low", "blind_high", "void", "tpr", "epsilon_lower",
    "gaussian", "ledger_epsilon", "control", "about", "task", "stage", "task_name", "member_units", "nonmember_units",
    "p_either_way", "could_contradict", "why_not",
}  # fmt: skip
RECONSTRUCTION_KEYS = {
    "world", "noise", "clients", "n", "correlation", "low", "high", "blind", "blind_low", "blind_high",
}  # fmt: skip


def test_an_audit_is_strict_json_with_the_agreed_keys(member_world: ControlWorld) -> None:
    attack = LossScore(member_world.losses)
    terms = Terms(target="task 0", coin=Coin(0.5), ledger_epsilon=8.0)
    played = play(MEMBERSHIP, attack, member_world.view, member_world.candidates, member_world.truth, terms)
    outcomes = [
        played,
        positive_control(LossScore, member_world),
        negative_control(MEMBERSHIP, attack, member_world.view, member_world.candidates, terms),
        replace(played, terms=replace(terms, coin=None, ledger_epsilon=math.inf), epsilon_lower=None),
    ]
    score = Score(value=0.5, low=math.nan, high=math.nan, confidence=0.95, n=1)
    one = Reconstruction(world="one client", noise="off", n=1, correlation=score, blind=score, gain=score)
    document = audit_document(
        seconds=1.5, row="replay", outcomes=outcomes, reconstructions=[one], not_tested=["shadow models"]
    )
    read = json.loads(json.dumps(document, allow_nan=False))
    assert read == document
    assert set(read) == {
        "seconds", "row", "outcomes", "reconstructions", "not_tested", "reach", "contradictions", "discoveries",
    }  # fmt: skip
    assert all(set(entry) == OUTCOME_KEYS for entry in read["outcomes"])
    assert set(read["reconstructions"][0]) == RECONSTRUCTION_KEYS
    assert [entry["control"] for entry in read["outcomes"]] == [None, "positive", "negative", None]
    assert read["reconstructions"][0]["low"] is None
    assert [entry["stage"] for entry in read["outcomes"]] == ["run", "control", "control", "run"]
    assert all((entry["why_not"] is None) == entry["could_contradict"] for entry in read["outcomes"])


def test_an_outcome_record_says_what_the_outcome_says(member_world: ControlWorld) -> None:
    outcome = positive_control(LossScore, member_world)
    record = outcome_record(outcome)
    assert record["auc"] == outcome.auc.value
    assert (record["blind_low"], record["blind_high"]) == (outcome.blind.low, outcome.blind.high)
    assert record["n_members"] == int(np.sum(member_world.truth))
    assert [entry["fpr"] for entry in record["tpr"]] == [0.1, 0.01, 0.001]
    assert record["tpr"][2]["value"] is None
    assert "non-members" in record["tpr"][2]["reason"]
    assert outcome.epsilon_lower is not None
    assert record["epsilon_lower"]["ceiling"] == outcome.epsilon_lower.ceiling


def test_a_record_names_its_task_and_says_what_it_would_take(member_world: ControlWorld) -> None:
    terms = Terms(target="task 0", task=1)
    world = member_world
    played = play(MEMBERSHIP, LossScore(world.losses), world.view, world.candidates, world.truth, terms)
    record = outcome_record(played, ("walking", "sitting"))
    assert record["task_name"] == "task 2 (sitting)"
    assert record["tpr"][0]["measured_fpr"] == played.tpr[0].measured_fpr
    (tenth, hundredth, _) = record["tpr"]
    assert hundredth["told"] == 0.03
    assert hundredth["value"] is None
    assert hundredth["needed"]["nonmembers"] >= 1000
    assert tenth["needed"]["members"] >= record["member_units"]
    assert outcome_record(replace(played, terms=replace(terms, task=None)))["task_name"] is None


def test_a_record_says_what_was_attacked(member_world: ControlWorld) -> None:
    world = member_world
    played = play(MEMBERSHIP, LossScore(world.losses), world.view, world.candidates, world.truth, Terms(target="t"))
    for about, control, stage in (
        ("run", None, "run"), ("run", "without noise", "run"), ("staged", None, "rehearsal"),
        ("canaries", None, "rehearsal"), ("run", "negative", "control"),
    ):  # fmt: skip
        terms = Terms(target="t", about=about, control=control)  # type: ignore[arg-type]
        assert outcome_record(replace(played, terms=terms))["stage"] == stage


def test_a_reconstruction_record_says_what_the_reconstruction_says() -> None:
    scores = (
        Score(value=0.9, low=0.8, high=1.0, confidence=0.95, n=8),
        Score(value=0.1, low=0.0, high=0.2, confidence=0.95, n=8),
        Score(value=0.8, low=0.7, high=0.9, confidence=0.95, n=8),
    )
    correlation, blind, gain = scores
    result = Reconstruction(
        world="sum of 30", noise="as ran", n=8, correlation=correlation, blind=blind, gain=gain, clients=30
    )
    record = reconstruction_record(result)
    assert record == {
        "world": "sum of 30",
        "noise": "as ran",
        "clients": 30,
        "n": 8,
        "correlation": 0.9,
        "low": 0.8,
        "high": 1.0,
        "blind": 0.1,
        "blind_low": 0.0,
        "blind_high": 0.2,
    }
