"""Attacks of the user's own: held to their controls, then played beside ours in the games they pass."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from secure_fcl.auditing import audit
from secure_fcl.config import load_config
from secure_fcl.config.attacks import own_attacks
from secure_fcl.errors import ConfigInvalid
from secure_fcl.runner import start, train

ATTACKS = """
from attacks.games.views import Capability


class Loss:
    name = "a loss of my own"
    requires = frozenset({Capability.FINAL_MODEL})

    def __init__(self, losses):
        self.losses = losses

    def score(self, view, candidates):
        return -self.losses(view.array("final_model"), candidates.x, candidates.y)


class Backwards(Loss):
    def score(self, view, candidates):
        return -super().score(view, candidates)


class Moody(Loss):
    '''Passes its controls, and fails on a network of ten classes.'''

    name = "moody"

    def score(self, view, candidates):
        assert candidates.x.ndim == 2
        return super().score(view, candidates)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_attacks", raising=False)
    (tmp_path / "own_attacks.py").write_text(ATTACKS)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_one_that_passes_no_control_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigInvalid, match=r"own_attacks\.py passes the controls of no game, .* the wrong way round"):
        own_attacks(["own_attacks:Backwards"])
    (own,) = own_attacks(["own_attacks:Loss"])
    assert "membership" in own.games


def test_it_is_played_beside_ours_and_one_that_fails_is_named(here: Path) -> None:
    config = load_config(
        None,
        [
            'rows=["finetune"]', "protection=plain", "workers=1", "data.name=digits", "scenario.clients=3",
            "scenario.tasks=1", "scenario.partition=iid", "training.rounds=1", "training.steps=1",
            "training.model=softmax", "privacy.max_dropouts=0", "attacks.row=finetune", "attacks.inversion_steps=1",
            "attacks.targets=2",
            'attacks.own=["own_attacks:Loss","own_attacks:Moody"]',
        ],
    )  # fmt: skip
    prepared, folder = start(config, here / "runs", "mine")
    train(prepared, folder)
    audit(prepared, folder)
    found = json.loads((folder.path / "attacks.json").read_text())
    games = {one["game"] for one in found["outcomes"] if one["attack"] == "a loss of my own"}
    assert games == {"membership"}
    (said,) = (sentence for sentence in found["not_tested"] if "Moody" in sentence)
    assert said == "membership, by own_attacks:Moody: it fails with AssertionError: "
    code = json.loads((folder.path / "certificate.json").read_text())["outside_code"]
    assert [one["reference"] for one in code] == ["own_attacks:Loss", "own_attacks:Moody"]
