"""A model of a run as files for others: safetensors and a card, and ONNX where the network alone makes the scores."""

from __future__ import annotations

import importlib
import io
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.files import atomic_write, write_json
from secure_fcl.api.cards import card_of, card_text
from secure_fcl.engines.simulation import file_stem
from secure_fcl.errors import InputRefused, SecureFclError

if TYPE_CHECKING:
    from secure_fcl.api.opened import Run
    from secure_fcl.api.trained import RunModel

EXPORT = "pip install 'secure-fcl[export]'"


def export_model(run: Run, model: RunModel, folder: Path) -> tuple[Path, ...]:
    """Write model.safetensors, card.json and README.md into a folder, and return their paths.

    The tensors are those of `RunModel.state_dict`; the header of the file repeats strategy, labels and epsilon.

    Raises:
        SecureFclError: safetensors is not installed.
        StorageError: the system refused.
    """
    library = _library("safetensors.torch")
    card = card_of(run, model.origin)
    head = {
        "format": "pt",
        "strategy": model.origin.strategy,
        "after_task": str(model.origin.after_task),
        "labels": json.dumps(model.origin.labels),
        "epsilon": "none" if card["privacy"]["epsilon"] is None else repr(card["privacy"]["epsilon"]),
        "guarantee": card["privacy"]["guarantee"],
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "model.safetensors", folder / "card.json", folder / "README.md"
    atomic_write(paths[0], library.save(tensors, head))
    write_json(paths[1], card)
    atomic_write(paths[2], card_text(card))
    return paths


def export_folder(out: Path, model: RunModel) -> Path:
    """Return the folder of one exported model below `out`: by strategy, and whose it is."""
    stem = file_stem(model.origin.strategy)
    return out / (stem if model.origin.client is None else f"{stem}-client{model.origin.client}")


def export_onnx(model: RunModel, path: Path) -> Path:
    """Write the network as ONNX: input `x` (n, ...), output `scores` (n, classes), any n.

    Raises:
        InputRefused: scores are not made by a network on raw inputs.
        SecureFclError: what torch needs for it is not installed, or it cannot translate the network.
    """
    import torch

    origin = model.origin
    if model.network is None:
        raise InputRefused(
            f"strategy {origin.strategy} is a closed form on public features, which ONNX cannot hold; use "
            "secure-fcl predict, or Run.model"
        )
    if origin.features != "none":
        raise InputRefused(
            f"training.features = {origin.features!r}: what makes the network's inputs is no network, and ONNX cannot "
            "hold it; use secure-fcl predict, or Run.model"
        )
    for name in ("onnx", "onnxscript"):
        _library(name)
    # Two examples: torch takes a dimension of 1 for a constant.
    example, buffer = torch.zeros((2, *origin.shape)), io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                model.network.eval(), (example,), dynamo=True, input_names=["x"], output_names=["scores"],
                dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False,
            )  # fmt: skip
            program.save(buffer)
    # The translator fails in as many ways as there are layers that it does not know.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SecureFclError(f"torch cannot translate the network to ONNX ({reason}); use model.safetensors") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue())
    return path


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SecureFclError(f"{name.partition('.')[0]} is not installed; run: {EXPORT}") from error
