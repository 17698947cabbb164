"""A network cut before its last layer: features, and the layer that turns them into outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.gradient.models import is_own
from secure_fcl.strategies.gradient.own_models import example_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Split:
    """Both parts of one network; they are its own modules, with its weights.

    Attributes:
        body: inputs (n, ...) to features (n, d).
        last: features to outputs (n, classes).
    """

    body: torch.nn.Module
    last: torch.nn.Module


def split_at_last(whole: torch.nn.Module, kind: str, shape: tuple[int, ...]) -> Split:
    """Return a network cut before its last layer.

    Of a user's own network the last layer is the `torch.nn.Linear` whose outputs are the network's, found by a forward
    pass on made-up inputs; its weights must come last, as they are the end of the flat vector.

    Raises:
        ConfigInvalid: there is no such layer; says what to write.
    """
    import torch

    if not is_own(kind):
        assert isinstance(whole, torch.nn.Sequential)
        return Split(whole[:-1], whole[-1])
    last = _last_linear(whole, shape)
    trained = [p for p in whole.parameters() if p.requires_grad]
    own = list(last.parameters()) if last is not None else []
    at_the_end = (
        bool(own) and len(trained) >= len(own) and all(a is b for a, b in zip(trained[-len(own) :], own, strict=True))
    )
    if last is None or not at_the_end:
        raise ConfigInvalid(
            f"training.model = {kind!r} has no torch.nn.Linear that gives its outputs and holds the last of its "
            "weights, which compression.trained = 'last' and the strategy glfc train or read alone; end forward() "
            "with one, defined last, or use compression.trained = 'all' and another strategy"
        )
    return Split(_before(whole, last), last)


def _last_linear(whole: torch.nn.Module, shape: tuple[int, ...]) -> torch.nn.Module | None:
    """Return the linear layer, called once, whose outputs (n, classes) are the network's."""
    import torch

    seen: list[tuple[torch.nn.Module, Any]] = []
    layers = [layer for layer in whole.modules() if isinstance(layer, torch.nn.Linear)]
    hooks = [layer.register_forward_hook(lambda own, _, out: seen.append((own, out))) for layer in layers]
    training = whole.training
    whole.eval()
    try:
        with torch.no_grad():
            found = whole(example_of(whole, shape))
    finally:
        whole.train(training)
        for hook in hooks:
            hook.remove()
    last = [own for own, out in seen if out is found]
    calls = [own for own, _ in seen if last and own is last[0]]
    return last[0] if len(calls) == 1 and found.ndim == 2 else None


def _before(whole: torch.nn.Module, last: torch.nn.Module) -> torch.nn.Module:
    import torch

    class Body(torch.nn.Module):
        """What the network hands to its last layer."""

        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given: list[torch.Tensor] = []
            hook = last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
            try:
                self.whole(x)
            finally:
                hook.remove()
            return given[0]

    return Body()
