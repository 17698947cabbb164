"""`secure-fcl check`: every wrong example of its page breaks its law, and what is right keeps all."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_fcl.checking import Asked, Checked, check_reference
from secure_fcl.checking.laws import NotApplicable, Trial, tried
from secure_fcl.cli.commands import app
from secure_fcl.errors import ConfigInvalid

HOW_TO = Path(__file__).resolve().parents[3] / "docs" / "how-to"
PAGE = HOW_TO / "check-your-own.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")

#: Of each kind the wrong example of the page, the laws that it breaks, and what is said of the first.
SUMS = {
    "exact", "dropouts", "too few", "replays", "unopened", "garbage", "faults", "mutations", "set-up", "insiders",
}  # fmt: skip
WRONG = (
    ("evens", "protocol", SUMS, r"round 0 of update: the sum is wrong"),
    ("cheap", "accountant", {"not below truth"}, r"1 x .*: it claims .*, but .* is spent"),
    ("Lowest", "memory", {"displaces", "own coin"}, r"of \[6\] examples .* it decides otherwise about \[\d\]"),
    ("Backwards", "attack", {"positive, membership"}, r"reaches AUC 0\.\d+ .*: is its score the wrong way round\?"),
    ("Centred", "model", {"gradients"}, r"clipped gradients are not those of its examples taken one by one"),
    (
        "relative", "strategy", {"example loss", "company, local noise", "company, shared noise"},
        r"a loss reads other rows of its batch, so clipping bounds nothing",
    ),
    (
        "loud", "strategy", {"sensitivity, noise inside", "sensitivity, no noise"},
        r"one example of current changes the upload by .*, declared 1",
    ),
    ("unseeded", "data", {"the same again"}, r"two calls give other data \(SHA-256 \w+ and \w+\)"),
    ("brightest", "features", {"each alone"}, r"example \d has other features alone than beside 5 others"),
)  # fmt: skip


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working folder that is the page's file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong_ones", raising=False)
    found = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / "wrong_ones.py").write_text(found[1])
    return "wrong_ones"


def checked(reference: str, kind: str = "") -> Checked:
    return check_reference(Asked(reference=reference, kind=kind, shape=(1, 8, 8), classes=4), 200.0)


@pytest.mark.parametrize(("name", "kind", "laws", "said"), WRONG, ids=[one[0] for one in WRONG])
def test_every_wrong_example_breaks_its_law(wrong: str, name: str, kind: str, laws: set[str], said: str) -> None:
    found = checked(f"{wrong}:{name}")
    assert found.kind == kind
    broken = {law.name: law.found for law in found.broken}
    assert set(broken) == laws
    assert any(re.search(said, text) for text in broken.values())
    assert not found.unreached


RIGHT = {
    "add-a-strategy": ("damped", "sums", "Damped"),
    "add-a-protocol": ("halves",),
    "add-an-accountant": ("mine",),
    "add-data": ("bars",),
}


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in RIGHT.items() for name in names])
def test_the_examples_of_the_other_pages_keep_all_laws(
    page: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = f"right_{page.replace('-', '_')}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    found = re.search(r"^```python\n(.*?)^```$", (HOW_TO / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / f"{module}.py").write_text(found[1])
    result = checked(f"{module}:{name}")
    assert not result.broken
    assert sum(law.verdict == "held" for law in result.laws) >= 4


OTHERS = """
import numpy as np
from torch import nn
from attacks.games.views import Capability
from secure_fcl.features.kinds import features
from secure_fcl.strategies import Plain


class Coins:
    private, displaces_others = True, False

    def __init__(self, numbers):
        self.capacity = 600

    def close(self, task, held, arrived, draws, x, y):
        return held.plus(arrived.where(draws[arrived.item] < 0.5))


def memory(numbers):
    return Coins(numbers)


class Loss:
    name, requires = "mine", frozenset({Capability.FINAL_MODEL})

    def __init__(self, losses):
        self.losses = losses

    def score(self, view, candidates):
        return -self.losses(view.array("final_model"), candidates.x, candidates.y)


def attack(losses):
    return Loss(losses)


def net(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def normed():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))


def flat(x):
    return x.reshape(len(x), int(np.prod(x.shape[1:])))


method = Plain()


def unclear(first, second):
    return first


number = 3
"""


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_others", raising=False)
    (tmp_path / "own_others.py").write_text(OTHERS)
    return "own_others"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Coins", "memory"), ("memory", "memory"), ("Loss", "attack"), ("attack", "attack"), ("net", "model"),
        ("flat", "features"), ("method", "method"),
    ],
)  # fmt: skip
def test_kinds_are_found_out_and_what_is_right_keeps_all(others: str, name: str, kind: str) -> None:
    found = checked(f"{others}:{name}")
    assert found.kind == kind
    assert not found.broken
    assert not found.unreached


def test_a_layer_that_dp_forbids_breaks_one_law_and_the_others_are_tried_without_it(others: str) -> None:
    found = checked(f"{others}:normed")
    assert [law.name for law in found.broken] == ["layers"]
    assert "GroupNorm(1, 4)" in found.broken[0].found
    verdicts = {law.name: law.verdict for law in found.laws}
    assert (verdicts["gradients"], verdicts["last layer"]) == ("held", "not applicable")


def test_what_nothing_tells_asks_for_its_kind(others: str) -> None:
    for name, said in {
        "number": r"is of type int, and nothing says what it is for; give --kind, one of strategy, method",
        "unclear": r"is of type function, and nothing says",
        "absent": r"own_others\.py defines no 'absent'",
    }.items():
        with pytest.raises(ConfigInvalid, match=said):
            checked(f"{others}:{name}")
    with pytest.raises(ConfigInvalid, match=r"--kind 'modle' is none of strategy, method, memory"):
        checked(f"{others}:net", "modle")
    with pytest.raises(ConfigInvalid, match=r"cannot be made a strategy of|has no"):
        checked(f"{others}:number", "method")


def test_the_command_prints_a_table_or_json_and_its_code_says_what_came_of_it(others: str, wrong: str) -> None:
    arguments = ["check", "--shape", "1,8,8", "--classes", "4"]
    done = CliRunner().invoke(app, [*arguments, f"{others}:flat"])
    assert done.exit_code == 0
    assert "own_others:flat, checked as: features" in done.output
    assert "4 laws held, 0 broken; laws that hold on these examples are no proof" in done.output
    done = CliRunner().invoke(app, [*arguments, f"{wrong}:brightest"])
    assert done.exit_code == 2
    assert re.search(r"^breaks each alone: example \d has other features", done.output, re.MULTILINE)
    done = CliRunner().invoke(app, [*arguments, f"{wrong}:brightest", "--json"])
    assert done.exit_code == 2
    found = json.loads(done.stdout)
    assert (found["kind"], found["code"]) == ("features", 2)
    assert {law["verdict"] for law in found["laws"]} == {"held", "broken"}
    done = CliRunner().invoke(app, ["check", f"{others}:flat", "--shape", "six"])
    assert done.exit_code == 2
    assert "secure-fcl: --shape 'six' is not of the form 6,64" in done.output
    done = CliRunner().invoke(app, ["check", f"{others}:flat", "--classes", "1"])
    assert (done.exit_code, "classes at least 2" in done.output) == (2, True)


def test_laws_that_do_not_fit_into_the_budget_are_not_reached() -> None:
    def endless() -> None:
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    def nowhere() -> None:
        raise NotApplicable("no such thing")

    trials = [
        Trial(name=name, says="", run=run)
        for name, run in (("quick", bool), ("nowhere", nowhere), ("endless", endless), ("late", bool))
    ]
    begun = time.monotonic()
    laws = tried(trials, 0.3)
    assert time.monotonic() - begun < 3
    assert [law.verdict for law in laws] == ["held", "not applicable", "not reached", "not reached"]
    assert laws[1].found == "no such thing"


def test_no_other_command_imports_the_suites() -> None:
    code = (
        "import sys; import secure_fcl.cli.commands, secure_fcl.cli.check_commands; "
        "print([m for m in sys.modules if 'testing' in m.split('.') or m.startswith('secure_fcl.checking')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert importlib.util.find_spec("secure_fcl.checking") is not None
