"""State dictionaries from files: tensors by name, and nothing that could run.

Read are safetensors, `.npz` and what `torch.save` wrote of a state dictionary; of the last by torch's unpickler for
weights alone, which builds tensors and plain containers and refuses every other object before it is made. What then is
not a mapping of names to tensors is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AuditInvalid
from attacks.modules.functions import running_statistics

if TYPE_CHECKING:
    import torch

Tensors = dict[str, NDArray[Any]]
_TORCH = (".pt", ".pth", ".bin", ".ckpt")


def read_tensors(path: Path) -> Tensors:
    """The tensors of a state dictionary by name; floating-point ones as float32, of any width.

    Raises:
        AuditInvalid: no such file, another ending, a damaged file, an object that is no tensor, or a tensor with values
            that are not finite.
    """
    readers: dict[str, Callable[[Path], Mapping[str, object]]] = {".safetensors": _safetensors, ".npz": _npz}
    reader = readers.get(path.suffix.lower(), _torch if path.suffix.lower() in _TORCH else None)
    if reader is None:
        raise AuditInvalid(
            f"checkpoint {path} ends in {path.suffix!r}; read are .safetensors, .npz and state dictionaries saved by "
            f"torch ({', '.join(_TORCH)})"
        )
    if not path.is_file():
        raise AuditInvalid(f"checkpoint {path} does not exist or is no file; check the path")
    return {name: _array(path, name, value) for name, value in reader(path).items()}


def _safetensors(path: Path) -> Mapping[str, object]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise AuditInvalid(f"checkpoint {path} is not a sound safetensors file ({error}); save it again") from error


def _npz(path: Path) -> Mapping[str, object]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:
        # A zip archive can be damaged in more ways than a list of exception types would cover.
        raise AuditInvalid(
            f"checkpoint {path} is not an .npz of plain arrays ({_first_line(error)}); save it with numpy.savez"
        ) from error


def _torch(path: Path) -> Mapping[str, object]:
    import torch

    try:
        with warnings.catch_warnings():
            # About pickle protocols that may not be read: what is not read is refused below.
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged archives, TorchScript and forbidden objects each fail in their own way.
        raise AuditInvalid(
            f"checkpoint {path} holds something other than a state dictionary, and nothing in it was unpickled "
            f"({_first_line(error)}); save torch.save(model.state_dict(), ...) or a safetensors file"
        ) from error
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items()
    ):
        inside = [str(name) for name in found][:4] if isinstance(found, Mapping) else [type(found).__name__]
        raise AuditInvalid(
            f"checkpoint {path} holds {', '.join(inside) or 'nothing'}, which are not all tensors by name; save the "
            "state dictionary alone, torch.save(model.state_dict(), ...)"
        )
    return found


def _first_line(error: Exception) -> str:
    """An error's first sentence, short enough to stand in one of ours."""
    text = (str(error) or type(error).__name__).strip().splitlines()[0]
    return text.split(". ")[0].rstrip(".")[:160]


def _array(path: Path, name: str, value: object) -> NDArray[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_quantized or value.layout != torch.strided:
            raise AuditInvalid(f"checkpoint {path}: {name} is quantised or sparse; save dense floating-point weights")
        tensor = value.detach().cpu()
        array = np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())
    else:
        array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise AuditInvalid(f"checkpoint {path}: {name} has type {array.dtype}; weights are real numbers")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise AuditInvalid(
                f"checkpoint {path}: {name} has {int((~np.isfinite(array)).sum())} values that are not finite; has the "
                "model diverged?"
            )
    return array


def weight_vector(module: torch.nn.Module, tensors: Tensors, path: Path) -> NDArray[np.float32]:
    """A state dictionary as the flat vector of a module (`modules.functions.flat_weights`), float32 (d,).

    Raises:
        AuditInvalid: a tensor is missing, left over or of another shape, or a constant of the module is another one in
            the file: it would not be audited.
    """
    wanted = module.state_dict(keep_vars=True)
    named, moving = dict(module.named_parameters()), running_statistics(module)
    aliases = {name for name in wanted if name not in named and any(wanted[name] is one for one in named.values())}
    missing, more = sorted(set(wanted) - set(tensors) - aliases), sorted(set(tensors) - set(wanted))
    if missing or more:
        start = f"lacks {', '.join(missing[:3])}" if missing else f"has {', '.join(more[:3])} too much"
        hint = "; its names begin with 'module.': save model.module.state_dict()" if _wrapped(tensors) else ""
        raise AuditInvalid(
            f"checkpoint {path} {start} ({len(missing)} missing, {len(more)} left over) for the model's "
            f"{len(wanted)} tensors{hint or '; name the architecture that was saved'}"
        )
    for name, tensor in wanted.items():
        if name in tensors and tensors[name].shape != tuple(tensor.shape):
            raise AuditInvalid(
                f"checkpoint {path}: {name} has shape {tensors[name].shape}, the model's {tuple(tensor.shape)}; name "
                "the architecture that was saved"
            )
        constant = name not in named and name not in moving and name not in aliases
        if constant and not name.endswith("num_batches_tracked") and not _alike(tensors[name], tensor):
            raise AuditInvalid(
                f"checkpoint {path}: the buffer {name} is not the model's own, and only parameters and running "
                "statistics are read from files; let the function that makes the model set it"
            )
    parts = [tensors[name].reshape(-1) for name in (*named, *moving)]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, dtype=np.float32)


def _wrapped(tensors: Tensors) -> bool:
    return bool(tensors) and all(name.startswith("module.") for name in tensors)


def _alike(array: NDArray[Any], tensor: torch.Tensor) -> bool:
    own = tensor.detach().cpu()
    return bool(np.array_equal(array, own.float().numpy() if own.is_floating_point() else own.numpy()))


def parameter_vector(module: torch.nn.Module, tensors: Tensors, path: Path) -> NDArray[np.float32]:
    """A saved update as one flat vector over the module's parameters, float32 (p,); other tensors are left out.

    Raises:
        AuditInvalid: a parameter is missing or of another shape.
    """
    named = dict(module.named_parameters())
    for name, parameter in named.items():
        if name not in tensors or tensors[name].shape != tuple(parameter.shape):
            found = tensors[name].shape if name in tensors else "nothing"
            raise AuditInvalid(
                f"update {path} has {found} for the parameter {name} of shape {tuple(parameter.shape)}; save one "
                "tensor for each of model.named_parameters()"
            )
    return np.concatenate([tensors[name].reshape(-1) for name in named]).astype(np.float32)
