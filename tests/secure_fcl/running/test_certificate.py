from collections.abc import Callable
from pathlib import Path

import pytest

from privacy import Ledger
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.rows.build import calibrated_row
from secure_fcl.running.certificate import render, row_certificate, write_certificate
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.streams import Scenario, build_scenario

Certify = Callable[..., dict[str, object]]


@pytest.fixture
def certify(digits: Dataset, make_config: Callable[..., Config], tmp_path: Path) -> Certify:
    """`certify(row, *settings, rounds=all)`: the certificate after the ledger of so many rounds."""

    def make(name: str, *settings: str, rounds: int | None = None) -> dict[str, object]:
        config = make_config(*settings)
        plan, multiplier = calibrated_row(config, build_scenario(digits, config), name)
        ledger = Ledger(tmp_path / "ledger.jsonl")
        for slot, round in list(plan.schedule())[:rounds]:
            ledger.charge(plan.charges(slot, round), slot=slot, round=round)
        found = row_certificate(plan, ledger, multiplier)
        ledger.close()
        return found

    return make


def test_local_training(certify: Certify) -> None:
    found = certify("replay")
    assert 7.8 < float(str(found["epsilon"])) <= 8.0
    assert found["accountant"] in ("PLD", "RDP")
    assert found["delta"] == 1e-5
    assert found["delta_parts"] == {"accountant": 1e-5 - 1e-9, "memory overflow": 1e-9, "noise beyond its field": 0.0}
    assert found["unit"] == "one example"
    assert "add or remove one example" in str(found["relation"])
    assert "holds against everyone" in str(found["mechanism"])
    assert found["randomness"] == (
        "noise: AES-CTR key stream seeded from the operating system, Gaussian in double precision; "
        "sampling coins: torch generator seeded likewise"
    )
    assert "Poisson" in str(found["sampling"])
    assert found["non_private"] == []
    cohorts = found["cohorts"]
    assert isinstance(cohorts, list)
    assert {(c["arrival"], c["fate"]) for c in cohorts} == {(t, f) for t in (0, 1) for f in ("kept", "discarded")}
    assert max(c["epsilon"] for c in cohorts) == found["epsilon"]


def test_shared_noise(certify: Certify) -> None:
    found = certify("class_sums", "protection=bfv")
    text = render({"class_sums": found}, ["a note"])
    assert found["accountant"] == "PLD"
    assert all(c["epsilon_pld"] < c["epsilon_rdp"] for c in found["cohorts"])  # type: ignore[attr-defined]
    assert "key holder do not collude" in text.replace("\n    ", " ")
    assert "at most 1 clients are missing" in text.replace("\n    ", " ")
    assert "Skellam" in text
    assert max(map(len, text.splitlines())) <= 100


def test_shared_noise_in_the_clear_does_not_hold_against_the_server(certify: Certify) -> None:
    assert any("not the server" in str(line) for line in certify("class_sums")["non_private"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("replay", ("memory.policy=herding",), "herding"),
        ("replay", ("replay.noise=none", "replay.epsilon=inf"), "without noise"),
        ("class_sums", ("class_sums.noise=none", "class_sums.epsilon=inf"), "without noise"),
    ],
)
def test_without_a_guarantee_epsilon_is_null(certify: Certify, name: str, settings: tuple[str, ...], why: str) -> None:
    found = certify(name, *settings)
    assert found["epsilon"] is None
    assert found["accountant"] is None
    assert why in " ".join(map(str, found["non_private"]))  # type: ignore[call-overload]
    assert "epsilon: no guarantee" in render({name: found}, [])


def test_an_empty_ledger_claims_nothing(certify: Certify) -> None:
    assert certify("replay", rounds=0)["epsilon"] is None


def test_rounds_charged_twice_cost_more(certify: Certify) -> None:
    # The fixture appends to one file: the second certificate is of a ledger that holds everything twice.
    first, second = certify("replay"), certify("replay")
    assert float(str(second["epsilon"])) > float(str(first["epsilon"])) + 1.0
    assert second["ledger_entries"] == 2 * int(str(first["ledger_entries"]))
    assert second["ledger_head"] != first["ledger_head"]


def test_repeatable_noise_is_declared(certify: Certify) -> None:
    found = certify("replay", "replay_noise=true")
    assert any("who lacks the noise secret" in str(a) for a in found["assumptions"])  # type: ignore[attr-defined]
    assert "secret outside this folder" in str(found["randomness"])


def test_windows_name_the_most_of_one_person(
    hapt_scenario: Scenario, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_config("data.name=hapt", "scenario.partition=natural", "scenario.clients=30", "scenario.tasks=6")
    plan, multiplier = calibrated_row(config, hapt_scenario, "class_sums")
    found = row_certificate(plan, Ledger(tmp_path / "ledger.jsonl"), multiplier)
    assert "No claim is made about persons" in found["unit"]
    assert str(hapt_scenario.most_examples_of_one_client) in found["unit"]
    assert "up to 2 windows" in found["unit"]


def test_both_files_are_written(certify: Certify, tmp_path: Path) -> None:
    write_certificate(tmp_path, {"replay": certify("replay")})
    assert (tmp_path / "certificate.json").read_text().startswith("{")
    assert (tmp_path / "certificate.txt").read_text().startswith("PRIVACY CERTIFICATE")


def test_the_trainer_and_the_place_of_the_noise_are_named(certify: Certify, tmp_path: Path) -> None:
    opacus = certify("finetune")
    assert opacus["trainer"] == "opacus"
    assert "Opacus" in str(opacus["mechanism"])
    stacked = certify("finetune", "training.trainer=stacked", rounds=0)
    assert stacked["trainer"] == "stacked"
    assert "accelerator" in str(stacked["mechanism"])
    shared = certify("finetune", "finetune.noise=shared", "protection=bfv", rounds=0)
    assert "one clipped gradient sum a round" in str(shared["mechanism"])
    assert "one step a round" in str(shared["sampling"])
    assert "sized for both" in str(shared["tolerated"])
    assert certify("class_sums", rounds=0)["trainer"] is None


def test_the_budget_is_on_the_certificate(certify: Certify) -> None:
    found = certify("class_sums", "protection=bfv")
    assert found["budget"]["epsilon"] == found["epsilon"] <= 2.0  # type: ignore[index, operator]
    text = render({"class_sums": found}, []).replace("\n    ", " ")
    assert "refused before it runs, on server and clients" in text
    assert "clients missing from a sum" in text
    assert certify("finetune", "finetune.noise=none", "finetune.epsilon=inf")["budget"] is None


def test_all_that_a_budget_admits_is_certified_and_what_ran_only_where_it_is_the_schedule(certify: Certify) -> None:
    """One round was left out: whoever decided that may have done so because of a release."""
    whole = certify("replay", "privacy.spare_rounds=1")
    assert 7.8 < float(str(whole["epsilon"])) <= 8.0
    assert whole["epsilon"] == whole["budget"]["epsilon"]  # type: ignore[index]
    # The spare rounds were not needed.
    assert float(str(whole["epsilon_of_what_ran"])) < float(str(whole["epsilon"])) - 0.1
    assert "every round once: epsilon" in render({"replay": whole}, []).replace("\n    ", " ")


def test_a_round_charged_twice_and_one_with_nobody_left_are_no_schedule_that_ran(
    digits: Dataset, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    """They add up to it: a crash repeats the first round of the last task, and its last one then has nobody left."""
    config = make_config("finetune.noise=shared")
    plan, multiplier = calibrated_row(config, build_scenario(digits, config), "finetune")
    *most, last = plan.schedule()
    ran = [*most, most[-1]]
    assert plan.charges(*last) == plan.charges(*most[-1])

    def certificate(name: str, rounds: list[tuple[int, int]], **of_last: int) -> dict[str, object]:
        with Ledger(tmp_path / name) as ledger:
            for number, (slot, round) in enumerate(rounds):
                more = of_last if number == len(rounds) - 1 else {}
                ledger.charge(plan.charges(slot, round) if not more else (), slot=slot, round=round, **more)
            return row_certificate(plan, ledger, multiplier)

    assert certificate("whole", [*most, last])["epsilon_of_what_ran"] is not None
    assert certificate("repeated", ran)["epsilon_of_what_ran"] is None
    assert certificate("retired", [*ran, last], retired=1)["epsilon_of_what_ran"] is None


@pytest.mark.parametrize("rounds", [1, -1])
def test_a_stop_or_a_skip_certifies_no_less(certify: Certify, rounds: int) -> None:
    found = certify("replay", rounds=rounds)
    assert 7.8 < float(str(found["epsilon"])) <= 8.0
    assert found["epsilon_of_what_ran"] is None
    assert "nothing less is claimed for what ran" in render({"replay": found}, []).replace("\n    ", " ")


def test_choices_on_data_are_declared(certify: Certify) -> None:
    found = certify("class_sums", 'privacy.chosen_on_data=["bounds: by a look at client 3"]', rounds=0)
    assert any("bounds: by a look at client 3" in str(line) for line in found["chosen_on_data"])  # type: ignore[attr-defined]


def test_a_strategy_declares_on_whose_data_its_constants_were_chosen(certify: Certify) -> None:
    """By data set: these digits are one that CALM was settled on, and class sums declare none."""
    said = {row: str(certify(row, rounds=0)["chosen_on_data"]) for row in ("calm", "class_sums")}
    assert "calm's constants on digits: " in said["calm"]
    assert "chosen on its training data" in said["calm"]
    assert "constants on digits" not in said["class_sums"]
    assert "session 1, over persons" in ENTRIES["calm"].chosen_on["hapt"]


def test_doubts_about_units_are_on_the_certificate(certify: Certify, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "doubts" not in certify("class_sums", rounds=0)
    monkeypatch.setattr("secure_fcl.running.certificate.values_cut", lambda plan: [f"{plan.name} cuts"])
    assert certify("class_sums", rounds=0)["doubts"] == ["class_sums cuts"]


def test_what_a_window_means_for_one_reading(
    hapt_scenario: Scenario, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_config(
        "data.name=hapt", "scenario.partition=natural", "scenario.clients=30", "scenario.tasks=6", "finetune.epsilon=1"
    )
    plan, multiplier = calibrated_row(config, hapt_scenario, "finetune")
    with Ledger(tmp_path / "l.jsonl") as ledger:
        for slot, round in plan.schedule():
            ledger.charge(plan.charges(slot, round))
        found = row_certificate(plan, ledger, multiplier)
    # Both windows of a reading: more than one window's epsilon, less than that of three composed alone.
    assert 1.2 * found["epsilon"] < found["epsilon_of_one_reading"] < 3.0 * found["epsilon"]
    assert f"costs epsilon {found['epsilon_of_one_reading']:.4g}" in found["unit"]


def test_what_nobody_looked_at_is_said(certify: Certify) -> None:
    def told(row: str, *settings: str) -> str:
        return " ".join(certify(row, *settings, rounds=0)["not_checked"])  # type: ignore[arg-type]

    audited, alone = told("replay", "attacks.enabled=true"), told("replay")
    assert "attacks.json says how they stood" in audited
    assert "no audit of this row belongs to the run" in alone
    assert all("made-up inputs" in text and "timing" in text for text in (audited, alone))
    assert all("assumptions" not in text for text in (audited, alone))
    hidden = told("class_sums", "protection=secagg")
    assert "nobody can see who works together" in hidden
    assert "clipping" not in hidden
