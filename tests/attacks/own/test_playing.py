"""Audits from files: a known leak is found, a model that leaks nothing is not, and too few examples could not tell."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import attacks
from attacks.errors import AuditInvalid, GameInvalid
from evaluation.model_page import render_audit
from tests.attacks.own.conftest import Case, X, Y, network, trained

ORDER = np.random.default_rng(5).permutation(len(X))
MEMBERS, OTHERS, STRANGERS = ORDER[:500], ORDER[500:1000], ORDER[1000:1500]
Make = Callable[..., Case]


@pytest.fixture(scope="module")
def leaky() -> torch.nn.Module:
    """Half of its labels are wrong, so that it can only know them by heart."""
    return trained(MEMBERS, steps=300, y=_half_wrong())


@pytest.fixture(scope="module")
def honest() -> torch.nn.Module:
    """Trained on others than those who are asked about."""
    return trained(STRANGERS)


def _half_wrong() -> Any:
    random = np.random.default_rng(2)
    return np.where(random.random(len(Y)) < 0.5, (Y + random.integers(1, 10, len(Y))) % 10, Y)


def answer(found: dict[str, Any], words: str) -> dict[str, Any]:
    (one,) = [one for one in found["answers"] if words in one["question"]]
    return dict(one)


def test_a_known_leak_is_found(case: Make, leaky: torch.nn.Module) -> None:
    y, own = _half_wrong(), case(MEMBERS, OTHERS, leaky)
    for name, rows in (("members", MEMBERS), ("others", OTHERS)):
        np.savez(own.folder / f"{name}.npz", x=X[rows], y=y[rows])
    found = own.audit(seed="3")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    told = answer(found, "does the last model tell")
    assert told["verdict"] == "found"
    assert told["figures"]["auc_low"] > 0.7
    at_ten = told["rates"][0]
    assert (at_ten["fpr"], at_ten["verdict"]) == (0.1, "found")
    assert at_ten["low"] > 0.1
    # At 0.1 % the 500 non-members cannot place a threshold, and the record says what would.
    at_thousandth = told["rates"][2]
    assert at_thousandth["verdict"] == "could not have been found"
    assert at_thousandth["value"] is None
    assert "needs at least 10000" in at_thousandth["reason"]
    assert at_thousandth["more"][1] >= 9500
    # No coins, no epsilon: not a number anywhere.
    assert not [one for one in found["answers"] if "epsilon" in one["question"]]
    assert all(one["epsilon_lower"] is None for one in found["outcomes"] if one["control"] is None)
    assert any("none is stated" in text for text in found["not_tested"])
    assert [(c["control"], c["held"]) for c in found["controls"]] == [
        ("positive", True), ("negative", True), ("positive", True),
    ]  # fmt: skip
    assert "could not have been found" in render_audit(found)


def test_a_model_that_leaks_nothing_is_not_found_and_few_examples_could_not_tell(
    case: Make, honest: torch.nn.Module
) -> None:
    told = answer(case(MEMBERS, OTHERS, honest).audit(), "does the last model tell")
    assert told["verdict"] == "not found"
    assert told["figures"]["smallest_auc"] < 0.6
    assert told["figures"]["needed_members"] == 500
    few = case(MEMBERS[:40], OTHERS[:40], honest).audit()
    told = answer(few, "does the last model tell")
    assert told["verdict"] == "could not have been found"
    assert told["figures"]["smallest_auc"] > 0.65
    assert told["figures"]["needed_members"] > 100
    assert "40 members and 40 non-members would have shown no leak below AUC" in told["said"]
    # Who calls smaller leaks unimportant, has examples enough.
    told = answer(case(MEMBERS[:40], OTHERS[:40], honest).audit("[leak]", "auc = 0.8"), "does the last model tell")
    assert told["verdict"] == "not found"


def test_members_from_another_source_are_void(case: Make, honest: torch.nn.Module) -> None:
    own = case(MEMBERS, OTHERS, honest)
    np.savez(own.folder / "members.npz", x=np.clip(X[MEMBERS] + 0.3, 0, 1), y=Y[MEMBERS])
    found = own.audit()
    assert answer(found, "does the last model tell")["verdict"] == "void"
    assert "Members and non-members differ by themselves" in render_audit(found)


def test_coins_give_a_bound_and_refute_a_claim(case: Make, leaky: torch.nn.Module) -> None:
    y, own = _half_wrong(), case(MEMBERS, OTHERS, leaky)
    canaries = ORDER[:1000]
    np.savez(own.folder / "canaries.npz", x=X[canaries], y=y[canaries], inserted=np.isin(canaries, MEMBERS))
    found = own.audit("[canaries]", 'file = "canaries.npz"', "claimed_epsilon = 0.5")
    told = answer(found, "(canaries)")
    assert told["verdict"] == "found"
    assert 0.5 < told["figures"]["epsilon_lower"] < told["figures"]["ceiling"]
    assert found["contradictions"][0]["ledger_epsilon"] == 0.5
    assert "refuted" in render_audit(found)
    # What so many coins can show ends below this claim.
    told = answer(own.audit("[canaries]", 'file = "canaries.npz"', "claimed_epsilon = 50.0"), "(canaries)")
    assert told["verdict"] == "could not have been found"
    with pytest.raises(GameInvalid, match="coin of rate"):
        own.audit("[canaries]", 'file = "canaries.npz"', "rate = 0.1")


def test_shadow_models_by_a_declared_optimiser_and_by_a_function(case: Make, leaky: torch.nn.Module) -> None:
    own = case(MEMBERS[:150], OTHERS[:150], leaky)
    np.savez(own.folder / "rest.npz", x=X[STRANGERS], y=Y[STRANGERS])
    declared = own.audit(
        "[shadows]", "models = 4", 'optimiser = "adam"', "learning_rate = 0.01", "epochs = 3", "batch = 64",
        'background = "rest.npz"', population='"rest.npz"',
    )  # fmt: skip
    names = {one["attack"] for one in declared["outcomes"] if one["control"] is None}
    assert {"RMIA", "BaVarIA-n", "LiRA, common variance", "RMIA, offline"} <= names
    assert answer(declared, "does the last model tell")["attack_at_rates"] == "RMIA"
    calls = []

    def train(x: Any, y: Any, seed: int) -> torch.nn.Module:
        calls.append((x.shape, y.dtype, seed))
        return network()

    found = own.audit("[shadows]", "models = 4", 'train = "nets:train"', functions={"nets:train": train})
    # Every model sees half of the candidates, with a seed of its own.
    assert sum(shape[0] for shape, _, _ in calls) == 4 * 150
    assert len({seed for _, _, seed in calls}) == 4
    assert [one["reference"] for one in found["code"]] == ["nets:network", "nets:train"]


def test_models_over_time(case: Make, leaky: torch.nn.Module) -> None:
    own = case(MEMBERS, OTHERS, leaky)
    torch.manual_seed(1)
    torch.save(network().state_dict(), own.folder / "before.pt")
    found = own.audit(checkpoints='["before.pt", "model.pt"]', tasks="[-1, 0]")
    assert answer(found, "do the models over time tell")["figures"]["attacks"] == 3
    assert "over time" not in " ".join(found["not_tested"])


def test_a_score_of_ones_own_takes_the_place_of_the_loss(case: Make, leaky: torch.nn.Module) -> None:
    def score(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        assert not model.training
        return model(x).log_softmax(1).max(1).values

    found = case(MEMBERS, OTHERS, leaky).audit(score='"nets:score"', functions={"nets:score": score})
    assert {one["attack"] for one in found["outcomes"] if one["control"] is None} == {"score of your own"}
    # The planted leak is looked for by the user's own score.
    assert found["controls"][-1]["attack"] == "score of your own"
    assert found["controls"][-1]["held"]
    blind = {"nets:score": lambda model, x, y: torch.sin(1e3 * x.sum(1))}
    missed = case(MEMBERS, OTHERS, leaky).audit(score='"nets:score"', functions=blind)
    assert not missed["controls"][-1]["held"]
    assert "missed a planted leak" in render_audit(missed)


@pytest.mark.slow
def test_saved_updates_tell_labels_and_examples(case: Make, honest: torch.nn.Module) -> None:
    own, behind = case(MEMBERS, OTHERS, honest), ORDER[1500:1504]
    for number, row in enumerate(behind):
        honest.zero_grad()
        torch.nn.functional.cross_entropy(honest(torch.from_numpy(X[[row]])), torch.from_numpy(Y[[row]])).backward()
        step = {name: -0.1 * p.grad.numpy() for name, p in honest.named_parameters() if p.grad is not None}
        np.savez(own.folder / f"u{number}.npz", **step)
    np.savez(own.folder / "truth.npz", x=X[behind], y=Y[behind])
    files = "files = [" + ", ".join(f'"u{number}.npz"' for number in range(4)) + "]"
    found = own.audit("[updates]", files, 'kind = "step"', 'truth = "truth.npz"')
    assert answer(found, "tell the labels")["figures"]["value"] == 1.0
    rebuilt = answer(found, "be rebuilt")
    assert rebuilt["figures"]["value"] > 0.95
    assert rebuilt["verdict"] == "found"
    # A step taken for a gradient points the wrong way, and tells no label.
    # The size of a step is nobody's but the client's: of several examples no labels are counted.
    np.savez(own.folder / "truth.npz", x=np.repeat(X[behind], 2, axis=0), y=np.repeat(Y[behind], 2))
    several = own.audit("[updates]", files, 'kind = "step"', 'truth = "truth.npz"', "examples = 2")
    assert several["updates"] == []
    assert any("a step of 2 examples has an unknown size" in text for text in several["not_tested"])


def test_label_counts_of_a_batch(case: Make) -> None:
    torch.manual_seed(4)
    fresh, batch = network().eval(), 16
    own, behind = (
        case(MEMBERS, OTHERS, fresh),
        np.concatenate([ORDER[Y[ORDER] == label][:16] for label in (1, 7, 4, 2)]),
    )
    for number, rows in enumerate(behind.reshape(-1, batch)):
        fresh.zero_grad()
        torch.nn.functional.cross_entropy(fresh(torch.from_numpy(X[rows])), torch.from_numpy(Y[rows])).backward()
        np.savez(own.folder / f"u{number}.npz", **{name: p.grad.numpy() for name, p in fresh.named_parameters()})
    np.savez(own.folder / "truth.npz", x=X[behind], y=Y[behind])
    files = 'files = ["u0.npz", "u1.npz", "u2.npz", "u3.npz"]'
    found = own.audit("[updates]", files, 'truth = "truth.npz"', f"examples = {batch}")
    told = answer(found, "tell the labels")
    assert told["figures"]["value"] > 0.9
    assert told["figures"]["blind"] < 0.3
    assert any("rebuilding examples from 16 at once" in text for text in found["not_tested"])


def test_recordings_count_once(case: Make, leaky: torch.nn.Module) -> None:
    y, own = _half_wrong(), case(MEMBERS, OTHERS, leaky)
    for name, rows in (("members", MEMBERS), ("others", OTHERS)):
        names = [f"{name} {number // 25}" for number in range(500)]
        np.savez(own.folder / f"{name}.npz", x=X[rows], y=y[rows], cluster=names)
    found = own.audit("[coins]", "per_cluster = true", "claimed_epsilon = 1.0")
    told = answer(found, "does the last model tell")
    assert (told["figures"]["members"], told["figures"]["nonmembers"]) == (20, 20)
    # The exact test of hits is about independent candidates; here the interval decides.
    assert {rate["p_value"] for rate in told["rates"]} == {None}
    assert told["verdict"] == "found"
    assert told["figures"]["smallest_auc"] > 0.7
    assert answer(found, "(members)")["figures"]["coins"] == 40
    with pytest.raises(GameInvalid, match=r"Coin\(per_cluster=True\)"):
        own.audit("[coins]", "per_cluster = false")


def test_what_a_memory_still_holds(case: Make) -> None:
    kept = np.arange(500) < 150
    module = trained(MEMBERS[kept], steps=300, y=_half_wrong())
    own = case(MEMBERS, OTHERS, module)
    np.savez(own.folder / "members.npz", x=X[MEMBERS], y=_half_wrong()[MEMBERS], kept=kept)
    np.savez(own.folder / "others.npz", x=X[OTHERS], y=_half_wrong()[OTHERS])
    told = answer(own.audit(seed="1"), "does the last model tell what the memory still holds")
    assert told["verdict"] == "found"
    assert (told["figures"]["members"], told["figures"]["nonmembers"]) == (150, 350)


def test_the_record_names_what_it_rests_on(case: Make, honest: torch.nn.Module) -> None:
    own = case(MEMBERS[:30], OTHERS[:30], honest)
    subprocess.run(["git", "init", "-q", own.folder], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", own.folder, *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    found = own.audit()
    assert found["commit"].endswith(" with changes")
    assert len(found["commit"].split()[0]) == 40
    assert {name.rpartition("/")[2] for name in found["digests"]} == {
        "audit.toml", "model.pt", "members.npz", "others.npz",
    }  # fmt: skip
    assert all(len(digest) == 64 for digest in found["digests"].values())
    assert found["versions"]["torch"] == torch.__version__
    assert found["seeds"] == {"seed": 0}
    again = own.audit()
    assert {**found, "seconds": 0} == {**again, "seconds": 0}


def test_nothing_is_imported_that_was_not_given(case: Make, honest: torch.nn.Module) -> None:
    own = case(MEMBERS[:30], OTHERS[:30], honest)
    with pytest.raises(AuditInvalid, match="not among those given"):
        attacks.audit_model(own.toml(), {})
