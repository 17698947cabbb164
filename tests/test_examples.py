"""The examples run as a user runs them: from another folder, each in a process of its own."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_secure_sum(tmp_path: Path) -> None:
    output = run("secure_sum.py", tmp_path)
    assert "summed: ada, bob, cyd, eve" in output
    assert "bit for bit: True" in output


def test_ledger_and_calibration(tmp_path: Path) -> None:
    output = run("ledger_and_calibration.py", tmp_path)
    worst = float(output.split("worst cohort: epsilon ")[1].split()[0])
    assert 3.9 < worst <= 4.0
    assert "a changed ledger is refused: entry 1 does not continue" in output


def test_attack_your_model(tmp_path: Path) -> None:
    outcome = json.loads(run("attack_your_model.py", tmp_path))
    # The network is overfit, so its members are found, and only with a view.
    assert outcome["auc_low"] > 0.5
    assert outcome["blind_low"] <= 0.5 <= outcome["blind_high"]
    assert outcome["n_members"] + outcome["n_nonmembers"] == 400


def test_audit_your_checkpoint(tmp_path: Path) -> None:
    output = run("audit_your_checkpoint.py", tmp_path)
    # Half of the digits are learnt by heart, and so many coins show some epsilon.
    assert "does the last model tell who was trained on? found: " in output
    assert "epsilon is at least 0.00" not in output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "does the last model tell who was trained on?" in page
    assert "<script" not in page
    assert "audit_your_checkpoint:network, which was handed over as an object" in page
    assert "None" not in page


def test_examples_are_short_and_tested() -> None:
    files = sorted(EXAMPLES.glob("*.py"))
    assert {path.stem for path in files} == {
        name.removeprefix("test_") for name in globals() if (EXAMPLES / f"{name.removeprefix('test_')}.py").exists()
    }
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 70 for path in files)


def users_lines(text: str) -> int:
    """Lines that somebody with data of their own writes: no imports, no documentation, no data made on the spot."""
    tree, kept = ast.parse(text), set[int]()
    for node in tree.body:
        if not isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "name", "") != "record":
            kept |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for inner in ast.walk(tree):
        if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant):
            kept -= set(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    lines = text.splitlines()
    return sum(bool(lines[number - 1].partition("#")[0].strip()) for number in kept)


@pytest.mark.parametrize("name", ["folder_of_csv", "audit_your_checkpoint", "check_your_own"])
def test_the_three_journeys_take_less_than_thirty_lines(name: str) -> None:
    assert 10 < users_lines((EXAMPLES / f"{name}.py").read_text(encoding="utf-8")) < 30


def test_each_example_uses_one_toolkit_only() -> None:
    for name, toolkit in (
        ("secure_sum", "crypto"),
        ("ledger_and_calibration", "privacy"),
        ("attack_your_model", "attacks"),
    ):
        text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        ours = {"secure_fcl", "crypto", "privacy", "attacks", "evaluation"}
        words = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
        assert words & ours == {toolkit}


def test_own_arrays(tmp_path: Path) -> None:
    output = run("own_arrays.py", tmp_path)
    assert set(output.split("predicted: ")[1].splitlines()[0].split()) <= {"rest", "walk", "run", "jump"}
    last = next(line for line in output.splitlines() if line.startswith("class_sums") and "  2  " in line)
    assert float(last.split()[3]) > 50


@pytest.mark.slow
def test_folder_of_csv(tmp_path: Path) -> None:
    output = run("folder_of_csv.py", tmp_path)
    assert "# NON-PRIVATE: rate was read off the median step of column 'seconds'." in output
    accuracy = output.split("accuracy (4 lines)")[1].split("forgetting (2 lines)")[0].splitlines()
    last = {words[0]: float(words[3]) for line in accuracy if (words := line.split())[2:3] == ["2"]}
    assert last.keys() == {"replay", "class_sums"}
    assert last["class_sums"] > 90
    epsilon = output.split("epsilon (2 lines)")[1].splitlines()
    spent = {words[0]: float(words[2]) for line in epsilon if (words := line.split()) and words[0] in last}
    assert spent == {"replay": pytest.approx(8, abs=0.05), "class_sums": pytest.approx(2, abs=0.05)}
    assert output.split("predicted: ")[1].splitlines()[0] in {"rest", "walk", "run", "jump"}
    (certificate,) = tmp_path.glob("runs/*/certificate.txt")
    assert "GroupNorm" in certificate.read_text(encoding="utf-8")


@pytest.mark.slow
def test_check_your_own(tmp_path: Path) -> None:
    protocol, accountant, memory, rest = run("check_your_own.py", tmp_path).split("exit code 2\n")
    assert not rest.strip()
    assert "breaks exact" in protocol
    assert "the sum is wrong" in protocol
    assert "breaks not below truth: " in accountant
    assert "SampledGaussian(q=1.0, noise_multiplier=0.5)" in accountant
    assert "breaks displaces: " in memory
    assert "without example 0" in memory
