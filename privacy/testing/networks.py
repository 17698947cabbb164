"""Whether DP-SGD can protect a network, tried before any data is near."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, get_args

from privacy.dpsgd import DpSgdTrainer, Mode

if TYPE_CHECKING:
    import torch


def check_network(model: torch.nn.Module, example: torch.Tensor) -> None:
    """Check that every example has one gradient that clipping bounds, with hooks and with ghost clipping.

    The trainers' clipped sums are compared with the gradients of made-up examples taken one by one (`network_check`);
    trainers do the same at their first visit. A network that passes may still be one whose loss mixes examples: see
    `check_example_loss`.

    Args:
        model: left as it is.
        example: one example, or any tensor of its shape and type; its values play no part.

    Raises:
        UnsuitableModel: names the layer, and the remedy.
        InvalidParameter: the example's type is not that of the weights.
    """
    for mode in get_args(Mode):
        DpSgdTrainer(copy.deepcopy(model), mode).check(example.shape, example.dtype)
