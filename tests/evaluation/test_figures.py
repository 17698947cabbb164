"""Five figures and their verdicts: what is said of what was measured, and of what was not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.figures import COLUMNS, NOT_MEASURED, Figure, subjects
from evaluation.files import read_json, read_jsonl, write_json
from evaluation.run_folder import read_run
from evaluation.tasks import task_name, tasks_listed
from evaluation.testing import write_synthetic_run
from evaluation.verdict import verdict


def figure(folder: Path, name: str, row: int = 0) -> Figure:
    place = [column for column, _ in COLUMNS].index(name)
    return subjects(read_run(folder))[row].figures[place]


def change(path: Path, edit: Callable[[Any], None]) -> None:
    value = read_json(path)
    edit(value)
    write_json(path, value)


def final(folder: Path, **more: object) -> None:
    import json

    records = [
        {**record, **more} if record["kind"] == "final" else dict(record)
        for record in read_jsonl(folder / "metrics.jsonl").records
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.parametrize(
    ("share", "verdict", "level"),
    [(0.9, "high", "good"), (0.6, "middling", "fair"), (0.3, "low", "poor"), (0.17, "like guessing", "poor")],
)
def test_accuracy_is_judged_from_guessing_among_its_classes(
    run_folder: Path, share: float, verdict: str, level: str
) -> None:
    final(run_folder, micro=share)  # of six classes
    found = figure(run_folder, "Accuracy")
    assert (found.value, found.verdict, found.level) == (f"{100 * share:.1f} %", verdict, level)


@pytest.mark.parametrize(("lost", "verdict"), [(-0.1, "little"), (0.05, "little"), (0.2, "some"), (0.21, "much")])
def test_forgetting(run_folder: Path, lost: float, verdict: str) -> None:
    final(run_folder, forgetting=lost)
    assert figure(run_folder, "Forgetting").verdict == verdict


@pytest.mark.parametrize(
    ("epsilon", "value", "verdict"),
    [(1.0, "1.00", "strong"), (1.001, "1.01", "moderate"), (10.5, "10.50", "weak"), (None, "none", "no guarantee")],
)
def test_epsilon(run_folder: Path, epsilon: float | None, value: str, verdict: str) -> None:
    change(run_folder / "certificate.json", lambda c: c["rows"]["class_sums"].update(epsilon=epsilon))
    found = figure(run_folder, "Epsilon")
    assert (found.value, found.verdict) == (value, verdict)


def test_an_epsilon_that_does_not_hold_is_never_good(run_folder: Path) -> None:
    certificate, attacks = run_folder / "certificate.json", run_folder / "attacks.json"
    change(certificate, lambda c: c["rows"]["class_sums"].update(epsilon=0.5, protection="plain"))
    assert figure(run_folder, "Epsilon").verdict == "not against the server"
    change(attacks, lambda a: a.update(laws=[{"law": "x", "broken": True}]))
    assert figure(run_folder, "Epsilon").verdict == "refuted by the audit"
    assert figure(run_folder, "Epsilon", row=1).verdict == "moderate"
    change(certificate, lambda c: c["rows"]["replay"].update(noise="none"))
    assert figure(run_folder, "Epsilon", row=1).verdict == "contradicted: no noise"
    change(certificate, lambda c: c["rows"].pop("replay"))
    assert figure(run_folder, "Epsilon", row=1).verdict == "no guarantee"
    certificate.unlink()
    assert figure(run_folder, "Epsilon") == Figure("", "not stated yet", "unknown")


def test_leakage_is_good_only_where_a_control_shows_that_it_would_have_been_found(run_folder: Path) -> None:
    attacks = run_folder / "attacks.json"
    assert figure(run_folder, "Leakage") == Figure("0 of 2", "nothing found", "good", "attacks beat chance")
    assert figure(run_folder, "Leakage", row=1).verdict == NOT_MEASURED
    change(attacks, lambda a: [o.update(auc_low=0.4) for o in a["outcomes"] if o["control"] == "positive"])
    assert figure(run_folder, "Leakage").level == "unknown"
    change(attacks, lambda a: a["outcomes"][0].update(auc_low=0.51))
    assert figure(run_folder, "Leakage").verdict == "leak found"
    attacks.unlink()
    assert figure(run_folder, "Leakage") == Figure("", NOT_MEASURED, "unknown")


def test_what_staged_rounds_find_is_told_beside_and_is_no_leak_of_the_run(run_folder: Path) -> None:
    attacks = run_folder / "attacks.json"

    def stage(document: dict[str, Any]) -> None:
        one = {**document["outcomes"][0], "game": "class arrival from the sum", "about": "staged", "target": "rounds"}
        document["outcomes"].append({**one, "auc": 0.7, "auc_low": 0.6, "auc_high": 0.8})
        document["discoveries"] = [
            {**{key: o[key] for key in ("game", "attack", "target")}, "adjusted": 1.0} for o in document["outcomes"]
        ]
        document["discoveries"][-1]["adjusted"] = 1e-5

    change(attacks, stage)
    found = figure(run_folder, "Leakage")
    assert found == Figure("0 of 2", "nothing found", "good", "attacks beat chance; 1 of 1 in staged rounds")
    words = verdict(read_run(run_folder))
    assert "0 of 2 attacks on class_sums did better than chance" in words
    assert "In staged rounds, which are about more than one example and not about this run, class arrival" in words


def test_inputs_count_as_rebuilt_only_from_what_somebody_sees(run_folder: Path) -> None:
    one = {"world": "w", "noise": "as ran", "n": 8, "correlation": 0.8, "low": 0.7, "high": 0.9, "blind": 0.3,
           "blind_low": 0.2, "blind_high": 0.4, "clients": 1}  # fmt: skip
    change(run_folder / "attacks.json", lambda a: a.update(reconstructions=[one]))
    assert figure(run_folder, "Leakage").verdict == "nothing found"
    change(run_folder / "certificate.json", lambda c: c["rows"]["class_sums"].update(hiding="nothing"))
    assert figure(run_folder, "Leakage").verdict == "inputs rebuilt"
    change(run_folder / "certificate.json", lambda c: c["rows"]["class_sums"].pop("hiding"))
    change(run_folder / "attacks.json", lambda a: a.update(reconstructions=[{**one, "clients": 5}]))
    assert figure(run_folder, "Leakage").verdict == "inputs rebuilt"


def test_what_did_not_run_says_so_and_is_no_number(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "one", rows=("replay",), tasks=1, audited=False)
    (folder / "cost.jsonl").unlink()
    found = {name: figure(folder, name) for name, _ in COLUMNS}
    for name in ("Forgetting", "Leakage", "Cost"):
        assert found[name].value == ""
        assert found[name].verdict.startswith(NOT_MEASURED)
    unfinished = write_synthetic_run(tmp_path / "two", rows=("replay",), finished=False)
    assert figure(unfinished, "Accuracy").verdict == "so far"
    assert subjects(read_run(unfinished))[0].about.endswith("unfinished")


def test_tasks_are_named_and_counted_from_one() -> None:
    assert task_name(0) == "task 1"
    assert task_name(1, ["walking, sitting", "standing"]) == "task 2 (standing)"
    assert task_name(2, ["walking", "standing"]) == "task 3"
    assert len(task_name(0, [", ".join(map(str, range(100)))])) < 60
    assert tasks_listed(["a", "b"]) == "Tasks: 1 a; 2 b."
    assert tasks_listed([]) == ""
