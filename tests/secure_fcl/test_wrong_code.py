"""Wrong code of a user's own, and the one sentence that each gets: nothing is run, nothing is left behind."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app

CODE = """
import torch
from dataclasses import replace
from torch import nn
from attacks.games.views import Capability
from crypto.protocols.plain import plain
from privacy import RdpAccountant
from secure_fcl.strategies import GradientEntry, GradientSection, Plain


class Flat(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(x.flatten(1))


live = Flat((1, 8, 8), 10)
number = 3
Width = dict


def words(shape, classes):
    return "a network"


def wide(shape, classes, width):
    return Flat(shape, classes)


def breaks(shape, classes):
    return nn.Linear(shape[3], classes)


def normed(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


def frozen(shape, classes):
    return Flat(shape, classes).requires_grad_(False)


def weightless(shape, classes):
    return nn.Flatten()


def double(shape, classes):
    return Flat(shape, classes).double()


def few(shape, classes):
    return Flat(shape, 3)


def other_shape():
    return nn.Sequential(nn.Flatten(), nn.Linear(99, 10))


def random():
    import random
    net = Flat((1, 8, 8), 10)
    nn.init.constant_(net.head.bias, random.random())
    return net


class Centred(Flat):
    def forward(self, x):
        return self.head(torch.tanh(x - x.mean(0)).flatten(1))


class Two(Flat):
    def forward(self, x):
        return super().forward(x), x


class Bare(Plain):
    pass


unsectioned = GradientEntry(section=GradientSection, method=lambda section: Plain())


class Memory:
    private, displaces_others, capacity = True, False, 5

    def close(self, task, held, arrived, draws, x, y):
        return held.plus(arrived)


class Torn(Memory):
    displaces_others = True


class Half:
    private = True


class Scored:
    name, requires = "scored", frozenset({Capability.SUMS})

    def score(self, view, candidates):
        return candidates.x.mean(1)


class Cheap(RdpAccountant):
    name = "cheap"

    def epsilon(self, events, delta):
        return 0.5 * super().epsilon(events, delta)


cheap = Cheap()
"""
MODEL, MEMORY = "training.model=wrong_code:", "memory.policy=wrong_code:"
TABLE = (
    (MODEL + "absent", r"training\.model = 'wrong_code:absent': .*wrong_code\.py defines no 'absent'; it has "),
    ("training.model=nowhere:net", r"training\.model = 'nowhere:net': Python finds no module 'nowhere', .* install"),
    (MODEL + "live", r"is a network that is there already, whose weights each process would draw anew; write def net"),
    (MODEL + "number", r"is of type int; write def net\(shape, classes\)"),
    (MODEL + "Width", r"is the class dict; write def net\(shape, classes\)"),
    (MODEL + "words", r"returns what is of type str; write def net"),
    (MODEL + "wide", r"needs width, which nobody gives it; it may take shape and classes by these names, and anything"),
    (MODEL + "breaks", r"fails for examples of shape \(1, 8, 8\) and 10 classes with IndexError: .*; mend it there"),
    (MODEL + "normed", r"layer '2' \(BatchNorm1d\(8\)\) uses statistics .* GroupNorm\(1, 8\); .*replace_layers = true"),
    (MODEL + "frozen", r"has 650 weights and all of them frozen; let some require a gradient"),
    (MODEL + "weightless", r"has no weights, so there is nothing to train"),
    (MODEL + "double", r"the weight 'head\.weight' is torch\.float64, .*; make it torch\.float32"),
    (MODEL + "few", r"gives torch\.float32 \(1, 3\) for 1 examples; it must give one torch\.float32 tensor \(1, 10\)"),
    (MODEL + "other_shape", r"fails on a batch of 1 examples of shape \(1, 8, 8\) with RuntimeError: .*; mend its"),
    (MODEL + "random", r"is another network each time it is built \('head\.bias' differs\), .* which is seeded"),
    (MODEL + "Centred", r"clipped gradients are not those of its examples taken one by one .*; keep the first axis"),
    (MODEL + "Two", r"gives a tuple for 1 examples; it must give one torch\.float32 tensor"),
    (MODEL + "Centred training.trainer=stacked", r"cannot take .*\(layer Centred cannot be stacked\); set"),
    ("rows=['wrong_code:Bare']", r"is a class and has no section in the configuration; write in .*: entry = Gradient"),
    ("rows=['wrong_code:unsectioned']", r"not an instance of a StrategySection; write section=GradientSection\(\)"),
    (MEMORY + "Memory", r"breaks a law: memory\.policy = .* keeps 6 examples of capacity 5"),
    (MEMORY + "Torn", r"says private = True and displaces_others = True; .* set private = False"),
    (MEMORY + "Half", r"of type Half and has no displaces_others, no capacity, no close; write what secure_fcl"),
    ("memory.policy=treshold", r"did you mean 'threshold'\? the memories are: threshold, herding, or module:name"),
    ("privacy.accountant=wrong_code:cheap", r"breaks a law: accountant 'cheap': .* it claims .*, but .* is spent"),
    ("protection=wrong_code:number", r"'wrong_code:number' is of type int and no protocol; write in .*: number = "),
    ("attacks.own=['wrong_code:Scored']", r"passes the controls of no game, .* needs SUMS, which the view .* does"),
    ("attacks.own=['scored']", r"attacks\.own\.0 = 'scored': it names no code; write module:name of an attack"),
    ("attacks.own=['wrong_code:number']", r"attacks\.own = .* is of type int and has no name, no requires, no score"),
)  # fmt: skip


@pytest.mark.parametrize(("settings", "sentence"), TABLE, ids=[one[0] for one in TABLE])
def test_wrong_code_gets_one_sentence(
    settings: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong_code", raising=False)
    (tmp_path / "wrong_code.py").write_text(CODE)
    row = "rows=['replay']" if "rows=" not in settings else settings
    given = ["data.name=digits", "scenario.clients=4", "scenario.tasks=2", "scenario.partition=iid", "protection=plain",
             "privacy.max_dropouts=1", row, *settings.split()]  # fmt: skip
    done = CliRunner().invoke(app, ["run", "--name", "no", *(word for one in given for word in ("--set", one))])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit), done.output
    assert done.output.startswith("secure-fcl: ")
    assert done.output.count("\n") == 1
    assert re.search(sentence, done.output), done.output
    assert not (tmp_path / "runs").exists()
