"""The laws of a network and of a function that makes features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from secure_fcl.checking.kinds import Asked, loaded
from secure_fcl.checking.laws import NotApplicable, Trial
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import Networks
from secure_fcl.strategies.gradient.checked import check_gradients, check_outputs, check_same, check_weights
from secure_fcl.strategies.gradient.last_split import split_at_last
from secure_fcl.strategies.gradient.own_models import own_network


def model_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of a network; where it holds layers that DP-SGD forbids, the rest with these replaced."""
    strict = Networks(kind=asked.reference, shape=asked.shape, classes=asked.classes, seed=1)
    networks = replace(strict, replace_layers=True)

    def allowed() -> None:
        own_network(asked.reference, asked.shape, asked.classes, 1, replace=False)

    def inside(check: Callable[[Networks], None], made: Networks) -> None:
        check(made)

    def stacked() -> None:
        try:
            check_gradients(replace(networks, trainer="stacked"))
        except ConfigInvalid as error:
            raise NotApplicable(str(error)) from error

    def split() -> None:
        try:
            split_at_last(networks.fresh(), asked.reference, asked.shape)
        except ConfigInvalid as error:
            raise NotApplicable(str(error)) from error

    yield Trial(name="layers", says="It holds no layer that DP-SGD forbids", run=allowed)
    for check, says in (
        (check_weights, "Weights are finite and torch.float32, and some of them train"),
        (check_same, "It is the same network each time it is built: server, workers and audit build their own"),
        (check_outputs, "Its outputs are finite torch.float32, a number for each example and class"),
    ):
        yield Trial(name=check.__name__.removeprefix("check_"), says=says, run=partial(inside, check, networks))
    yield Trial(
        name="gradients",
        says="Every example has a gradient of its own, and clipping bounds it (trainer opacus)",
        run=partial(inside, check_gradients, networks),
    )
    yield Trial(name="stacked", says="The stacked trainer takes it, with the same gradients", run=stacked)
    yield Trial(name="last layer", says="Its last layer can be trained or read alone", run=split)


def feature_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of a function from examples (n, *shape) to features (n, d)."""
    function: Any = loaded(asked.reference)
    drawn = np.random.default_rng(0)
    x = drawn.normal(size=(6, *asked.shape)).astype(np.float32)

    def rows(of: np.ndarray) -> np.ndarray:
        made = np.asarray(function(of.copy()))
        if made.ndim != 2 or len(made) != len(of) or made.dtype.kind != "f":
            raise ConfigInvalid(
                f"{len(of)} examples of shape {asked.shape} give {made.dtype} {made.shape}; return one row of "
                f"floats for each, ({len(of)}, d)"
            )
        return made

    def shapes() -> None:
        widths = {rows(part).shape[1] for part in (x, x[:1], x[:0])}
        if len(widths) != 1:
            raise ConfigInvalid(
                f"rows have {sorted(widths)} features; d must not depend on how many examples there are"
            )

    def finite() -> None:
        for name, part in (("normal", x), ("zero", 0 * x), ("large", 1e6 * x), ("constant", 0 * x + 3)):
            if not np.isfinite(rows(part)).all():
                raise ConfigInvalid(f"{name} examples give NaN or infinity; guard divisions and logarithms")

    def again() -> None:
        if not np.array_equal(rows(x), rows(x)):
            raise ConfigInvalid(
                "the same examples give other features; seed what it draws, and learn nothing from data"
            )

    def alone() -> None:
        whole = rows(x)
        for row in range(len(x)):
            if not np.allclose(rows(x[row : row + 1])[0], whole[row], rtol=1e-4, atol=1e-5):
                raise ConfigInvalid(
                    f"example {row} has other features alone than beside {len(x) - 1} others; a row may read its own "
                    "example only, or clipping it bounds nothing"
                )

    for name, says, run in (
        ("shapes", "n examples give n rows of d floats, also for n = 0", shapes),
        ("finite", "Features are finite for zeros, constants and large values", finite),
        ("the same again", "The same examples have the same features", again),
        ("each alone", "A row reads its own example and no other", alone),
    ):
        yield Trial(name=name, says=says, run=run)
