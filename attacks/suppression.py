"""Gradient suppression against any network: a model per client that silences all but one (Pasquini et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attacks.active_server import PerClient, Probe
from attacks.errors import InversionInvalid
from attacks.modules.layout import last_linear

if TYPE_CHECKING:
    import torch

NAME = "a model for each client"
ISOLATED = 0.99
"""Cosine from which an update counts as isolated."""


def silenced_head(module: torch.nn.Module, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights with a last layer of zeros: nothing flows back through it, so all layers before it send zeros.

    Raises:
        InversionInvalid: the module has no linear layer with bias, or nothing before it.
    """
    quiet = weights.copy()
    quiet[last_linear(module).weight] = 0.0
    before_the_head(module, len(weights))
    return quiet


def before_the_head(module: torch.nn.Module, size: int) -> NDArray[np.bool_]:
    """Which entries of a flat vector lie before the last linear layer, bool (size,). Raises as `silenced_head`."""
    head, early = last_linear(module), np.ones(size, dtype=np.bool_)
    early[head.weight] = early[head.bias] = False
    if not early.any():
        raise InversionInvalid("the module is one linear layer: nothing lies before it that could be silenced")
    return early


def probe_suppression(
    system: PerClient,
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    target: tuple[int, NDArray[np.floating]],
    clients: int,
) -> Probe:
    """Sends the model to one client and one with a silenced head to all others, and looks at the sum.

    Before the last layer the sum then holds the target's update alone, whatever secure aggregation hides.

    Args:
        system: the defence under test; any exception counts as a refusal. Clients that compare hashes of the models
            they received should raise.
        module: the architecture, its last linear layer with bias.
        weights: (d,), an honest model.
        target: the client's number, and its own update without noise (d,); the update judges only.
        clients: how many there are.

    Raises:
        InversionInvalid: the target is no client, or the module has no layer to silence.
    """
    client, alone = target
    if not 0 <= client < clients:
        raise InversionInvalid(f"target {client} is not one of {clients} clients")
    early = before_the_head(module, len(weights))
    sent = np.tile(silenced_head(module, weights), (clients, 1))
    sent[client] = weights
    try:
        total = np.asarray(system(sent), dtype=np.float64)
    except Exception as refusal:
        return Probe(NAME, f"{type(refusal).__name__}: {refusal}", 0.0, 1, None)
    one, other = total[early], np.asarray(alone, dtype=np.float64)[early]
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = float(one @ other) / scale if scale > 0 else 0.0
    return Probe(NAME, None, float(cosine > ISOLATED), 1, None, cosine)
