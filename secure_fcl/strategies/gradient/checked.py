"""Whether a network of a user's own can be trained here: tried on made-up inputs, before anything is spent."""

from __future__ import annotations

import re

from privacy.errors import PrivacyError
from privacy.network_check import made_up_inputs
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.gradient.last_split import split_at_last
from secure_fcl.strategies.gradient.models import is_own
from secure_fcl.strategies.gradient.networks import Networks

_KEY = "training.model"


def check_network(networks: Networks, split: bool = False) -> None:
    """Refuse a network that is not the same each time it is built, has other outputs, or that DP-SGD cannot bound.

    Made-up inputs only; nothing is spent. Networks of ours pass unlooked at: trainers try them at their first visit.

    Args:
        networks: the networks of a row.
        split: whether its last layer alone is trained or read.

    Raises:
        ConfigInvalid: in one sentence.
    """
    if not is_own(networks.kind):
        return
    check_weights(networks)
    check_same(networks)
    check_outputs(networks)
    check_gradients(networks)
    if split:
        split_at_last(networks.fresh(), networks.kind, networks.shape)


def check_weights(networks: Networks) -> None:
    """Refuse weights that are not finite float32.

    Raises:
        ConfigInvalid: names the weight.
    """
    import torch

    for name, parameter in networks.fresh().named_parameters():
        if parameter.dtype != torch.float32:
            raise ConfigInvalid(
                f"{_KEY} = {networks.kind!r}: the weight {name!r} is {parameter.dtype}, in which a clipped gradient is "
                "rounded beyond its bound or the flat vector does not fit; make it torch.float32"
            )
        if not bool(torch.isfinite(parameter).all()):
            raise ConfigInvalid(f"{_KEY} = {networks.kind!r}: the weight {name!r} starts with NaN or infinity")


def check_same(networks: Networks) -> None:
    """Refuse a network that is another each time it is built: server, workers and audit build their own.

    Raises:
        ConfigInvalid: names the first tensor that differs.
    """
    import torch

    first, second = networks.fresh().state_dict(), networks.fresh().state_dict()
    for name, tensor in first.items():
        if name not in second or not torch.equal(torch.nan_to_num(tensor), torch.nan_to_num(second[name])):
            raise ConfigInvalid(
                f"{_KEY} = {networks.kind!r} is another network each time it is built ({name!r} differs), and every "
                "process builds its own; draw weights from torch's generator alone, which is seeded"
            )


def check_outputs(networks: Networks) -> None:
    """Refuse outputs that are no finite float32 (n, classes).

    Raises:
        ConfigInvalid: names shape and type.
    """
    import torch

    model = networks.fresh().eval()
    for count in (1, 3):
        x = made_up_inputs(model, networks.shape, torch.float32, count)
        try:
            with torch.no_grad():
                out = model(x)
        except Exception as error:
            why = next(iter(str(error).splitlines()), "")
            raise ConfigInvalid(
                f"{_KEY} = {networks.kind!r} fails on a batch of {count} examples of shape {networks.shape} with "
                f"{type(error).__name__}: {why}; mend its forward(), or build it for that shape"
            ) from error
        wanted = (count, networks.classes)
        found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        if found != wanted or out.dtype != torch.float32:
            raise ConfigInvalid(
                f"{_KEY} = {networks.kind!r} gives {_named(out, found)} for {count} examples; it must give one "
                f"torch.float32 tensor {wanted}, a number for each class"
            )
        if not bool(torch.isfinite(out).all()):
            raise ConfigInvalid(f"{_KEY} = {networks.kind!r} gives NaN or infinity for made-up inputs; mend forward()")


def _named(out: object, found: object) -> str:
    dtype = getattr(out, "dtype", None)
    return f"a {found}" if dtype is None else f"{dtype} {found}"


def check_gradients(networks: Networks) -> None:
    """Refuse a network whose examples have no gradient of their own that the configured trainer clips right.

    Raises:
        ConfigInvalid: names the layer, and the trainer or the layer to use.
    """
    import torch

    shape = torch.Size(networks.shape)
    try:
        trainer = networks.stacked if networks.trainer == "stacked" else networks.opacus
        trainer.check(shape, torch.float32)
    except PrivacyError as error:
        if networks.trainer == "stacked":
            # A layer that is a network of its own is printed over many lines.
            reason = re.sub(r"\(\s*\n.*\)", "", str(error).partition(";")[0], flags=re.DOTALL)
            raise ConfigInvalid(
                f"training.trainer = 'stacked' cannot take {_KEY} = {networks.kind!r} ({reason}); set "
                "training.trainer = 'opacus'"
            ) from error
        raise ConfigInvalid(f"{_KEY} = {networks.kind!r}: {error}") from error
