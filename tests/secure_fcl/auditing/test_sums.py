"""Rows that train no network are attacked: on the sums that the run itself released, and in worlds played anew."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attacks.errors import LedgerContradicted
from attacks.sums.power import noise_found
from evaluation.figures import subjects
from evaluation.report import render_report
from evaluation.run_folder import read_run
from evaluation.sums_tables import run_games
from evaluation.verdict import banners, verdict
from secure_fcl.auditing import audit, require_ledger_holds
from secure_fcl.auditing.sums.items import items_of, rare_classes
from secure_fcl.auditing.sums.playing import mu_record, require_additive
from secure_fcl.auditing.sums.released import NotReadable, SumsRow
from secure_fcl.auditing.sums.view import Attacked
from secure_fcl.auditing.world import slots_of
from secure_fcl.config import Config, load_config
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import Prepared, prepare

ROWS = ("class_sums", "calm")
SETTINGS = (
    f"rows={json.dumps(ROWS)}", "attacks.enabled=true", "attacks.row=class_sums", "scenario.partition=iid",
    "scenario.clients=8", "protection=plain", "scenario.holdout=0.2",
    *(f"{row}.noise=shared" for row in ROWS),
)  # fmt: skip
CLEAR = (
    'rows=["analytic"]', "attacks.enabled=true", "analytic.noise=none", "analytic.epsilon=inf", "scenario.partition=iid"
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(make_config: Callable[..., Config]) -> Prepared:
    return prepare(make_config(*SETTINGS))


@pytest.fixture(scope="module")
def run(run_tiny, prepared: Prepared):  # type: ignore[no-untyped-def]
    made = run_tiny(*SETTINGS)
    audit(prepared, RunFolder.existing(made.path))
    return made


@pytest.fixture(scope="module")
def document(run):  # type: ignore[no-untyped-def]
    return json.loads((run.path / "attacks.json").read_text())


@pytest.fixture(scope="module")
def records(document):  # type: ignore[no-untyped-def]
    return {one["row"]: one for one in document["sums"]}


def rows(prepared: Prepared, path: Path) -> dict[str, SumsRow]:
    return {plan.name: SumsRow(plan, RunFolder.existing(path)) for plan, _ in prepared.rows}


def test_every_row_of_sums_is_attacked_and_the_configured_one_is_judged(document) -> None:  # type: ignore[no-untyped-def]
    assert document["row"] == "class_sums"
    assert [one["row"] for one in document["sums"]] == [*ROWS]
    assert document["outcomes"]
    assert {o["about"] for o in document["outcomes"]} == {"run"}
    assert all("in the sums of class_sums" in o["target"] for o in document["outcomes"])


def test_a_run_of_sums_alone_is_attacked_whatever_row_is_configured(run_tiny, make_config) -> None:  # type: ignore[no-untyped-def]
    made = run_tiny(*CLEAR)
    found = audit(prepare(make_config(*CLEAR)), RunFolder.existing(made.path))
    (record,) = found["sums"]
    assert (found["row"], record["mu"]) == ("analytic", None)
    assert {game["noise"] for game in record["games"]} == {"off"}
    assert {o["ledger_epsilon"] for o in found["outcomes"]} == {None}
    figure = next(s for s in subjects(read_run(made.path)) if s.name == "analytic").figures[3]
    assert figure.verdict == "leak found"
    assert "the attacks read training data to score their guesses" in str(made.certificate("analytic"))


@pytest.mark.parametrize("row", ROWS)
def test_without_noise_rare_classes_are_found_and_with_it_the_charge_holds(records, row: str) -> None:  # type: ignore[no-untyped-def]
    games, mu = records[row]["games"], records[row]["mu"]
    for known in ("all other examples", "all examples but those asked about"):
        (clear,) = (
            g["auc"]
            for g in games
            if g["known"] == known
            and g["noise"] == "off"
            and "rare class" in g["question"]
            and g["stage"] == "rehearsal"
        )
        assert clear > 0.99
    (single,) = (g for g in games if g["question"] == "one example" and g["noise"] == "as ran")
    assert single["trials"] == 400
    assert single["mu"] == pytest.approx(mu["present"], rel=0.2)
    assert mu["present"] < mu["with_colluders"] < mu["ledger"]
    assert mu["run"] == pytest.approx(mu["present"], rel=0.2)
    assert mu["shares"] == {"in_the_sum": 8, "charged_for": 6}
    assert not mu["exceeds"]


def test_the_run_is_told_from_what_was_played_anew(records) -> None:  # type: ignore[no-untyped-def]
    games = records["calm"]["games"]
    assert {(g["stage"], g["trials"] == 1) for g in games} == {("run", True), ("rehearsal", False)}
    assert {g["verdict"] for g in games} <= {"found", "not found", "could not have been found", "void"}


def test_persons_are_asked_about_with_intervals_over_persons(records) -> None:  # type: ignore[no-untyped-def]
    persons = records["class_sums"]["persons"]
    assert persons["persons"] == 8
    assert {(g["known"], g["noise"]) for g in persons["games"]} == {
        (known, noise) for known in ("all other examples", "the population alone") for noise in ("as ran", "off")
    }
    for game in persons["games"]:
        assert game["low"] <= game["auc"] <= game["high"]
    assert persons["group"]["mu"] > records["class_sums"]["mu"]["ledger"]
    assert {one["noise"] for one in persons["activity"]} == {"as ran", "off"}


def test_what_noise_protects_of_few_examples(records) -> None:  # type: ignore[no-untyped-def]
    likeness = {one["noise"]: one["likeness"] for one in records["class_sums"]["few"]["means"]}
    assert likeness["off"] > 0.999 > likeness["as ran"]
    least = {one["noise"]: one["least"] for one in records["class_sums"]["few"]["arrival"]}
    assert least["off"] < 1.0 < least["as ran"]


def test_page_verdict_and_figures_show_them(run, records) -> None:  # type: ignore[no-untyped-def]
    found = read_run(run.path)
    # The noise is a new one each time, and leaves a little to be found: one run in some twenty shows it.
    beaten = [any(game.get("verdict") == "found" for game in run_games(records[row])) for row in ROWS]
    expected = ["leak found" if one else "as charged" for one in beaten]
    assert [s.figures[3].verdict for s in subjects(found)] == expected
    words = verdict(found)
    assert "The sums of calm allow the best attack on one example mu" in words
    assert "Epsilon is not about persons" in words
    page = render_report(run.path)
    assert "Attacks on released sums" in page
    assert "all examples but those asked about" in page


def test_the_noise_of_a_run_is_all_there(prepared: Prepared, run) -> None:  # type: ignore[no-untyped-def]
    for row in rows(prepared, run.path).values():
        attacked = Attacked(row)
        for release in attacked.releases:
            found = noise_found(attacked.noise(release, True), 1 - 1e-8)
            assert found.low < 1.0 < found.high


def test_no_row_allows_more_than_was_charged(document, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert [record["row"] for record in document["sums"] if record["mu"]["exceeds"]] == []
    require_ledger_holds(document, tmp_path)


def test_half_of_the_noise_is_more_than_was_charged(prepared: Prepared, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name, row in rows(prepared, run.path).items():
        sums = Attacked(row).sums
        # What was released, had every share been drawn with half its deviation.
        halved = [
            replace(one, total=(one.total + sums[one.number]) / 2.0) for one in row.releases if one.number in sums
        ]
        row.__dict__["releases"] = tuple(halved)
        mu = mu_record(Attacked(row))
        assert mu is not None
        assert mu["exceeds"], name
        with pytest.raises(LedgerContradicted, match=f"the noise in the sums of {name} allows mu"):
            require_ledger_holds({"contradictions": [], "sums": [{"row": name, "mu": mu}]}, tmp_path)


def test_an_exceeded_charge_is_on_the_page(run, document, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    document["sums"][0]["mu"] |= {"exceeds": True, "surely": 0.9}
    found = replace(read_run(run.path), attacks=document)
    assert subjects(found)[0].figures[2].verdict == "refuted by the audit"
    assert subjects(found)[0].figures[3].verdict == "more than charged"
    assert any(
        banner.severe and "the noise in the sums of class_sums allows mu" in banner.text for banner in banners(found)
    )


def test_a_round_without_its_senders_is_not_attacked(prepared: Prepared, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("ledger", "transcript"):
        (tmp_path / name).symlink_to(run.path / name)
    lines = [line for line in (run.path / "cost.jsonl").read_text().splitlines() if '"class_sums"' in line]
    (tmp_path / "cost.jsonl").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(NotReadable, match="recorded 1 of 2 rounds"):
        _ = SumsRow(prepared.rows[0][0], RunFolder(tmp_path)).releases


def test_sums_that_do_not_add_up_are_not_attacked(prepared: Prepared, run, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    row = rows(prepared, run.path)["class_sums"]
    attacked, items = Attacked(row), items_of(row, slots_of(row.plan))
    require_additive(attacked, items)
    monkeypatch.setattr(SumsRow, "added", lambda self, release, index: np.ones(3) * len(index) ** 2)
    with pytest.raises(NotReadable, match="depends on the other examples"):
        require_additive(attacked, items)


def test_no_two_items_that_are_asked_about_decide_about_one_window(hapt) -> None:  # type: ignore[no-untyped-def]
    config = load_config(None, ['rows=["class_sums"]', "attacks.enabled=false"])
    (plan, _), *_ = prepare(config).rows
    items = items_of(SumsRow(plan, RunFolder(Path())), slots_of(plan))
    moved = np.concatenate([one.moved for one in items])
    assert len(np.unique(moved)) == len(moved)
    scenario = plan.scenario
    for one in items:
        own = np.flatnonzero((scenario.units.item == one.number) & scenario.data.train & (slots_of(plan) >= 0))
        assert set(own) <= set(one.moved)
        # With the item in, all that it moves was trained on; with it out, none.
        assert scenario.held_out[one.moved].all() != one.inside
        assert scenario.held_out[one.moved].any() != one.inside
    assert {one.label for one in items if one.rare} == set(rare_classes(scenario).tolist())
