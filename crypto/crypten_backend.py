"""All use of CrypTen: two processes that open the sum of their shares. Importing this file loads nothing
heavy.
"""

import importlib
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crypto.errors import BackendMissing, CryptoError

REMEDY = "pip install omegaconf pyyaml; pip install --no-deps crypten==0.4.1"
_NEEDED = ("torch", "omegaconf", "yaml", "crypten")
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def require_crypten() -> None:
    """Raise BackendMissing, with the commands that help, if CrypTen or what it needs is not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendMissing(f"The mpc protocol needs {', '.join(missing)}, not installed here; run: {REMEDY}")


def load_crypten() -> Any:
    """Import CrypTen 0.4.1, with its ONNX converter, which imports a removed part of torch, replaced by
    nothing.

    Raises BackendMissing if it is absent or does not import.
    """
    require_crypten()
    stub: Any = types.ModuleType("crypten.nn.onnx_converter")
    stub.from_pytorch = stub.from_onnx = stub.from_tensorflow = _no_converter
    stub.TF_AND_TF2ONNX = False
    sys.modules.setdefault("crypten.nn.onnx_converter", stub)
    try:
        return importlib.import_module("crypten")
    except Exception as error:
        raise BackendMissing(f"CrypTen does not import ({type(error).__name__}: {error}); run: {REMEDY}") from error


def _no_converter(*_: object, **__: object) -> None:
    raise CryptoError("Models are not converted here: CrypTen serves sums of integer vectors only.")


class CrypTenGroup:
    """One of two processes that open sums of additive shares modulo 2^64 over gloo on the loopback interface.

    Only additions and openings. Multiplications are refused, as they need a dealer of triples and CrypTen's
    default one, "TFP", gives the first party every triple. The connection between the two is neither
    encrypted nor authenticated.
    """

    def __init__(self, rank: int, world: int, rendezvous: Path) -> None:
        """Join the group through the file `rendezvous`; waits for the others.

        Raises BackendMissing without CrypTen, CryptoError if the group does not come about.
        """
        crypten = load_crypten()
        import torch

        torch.set_num_threads(1)
        os.environ.update(
            DISTRIBUTED_BACKEND="gloo",
            RENDEZVOUS=rendezvous.absolute().as_uri(),
            WORLD_SIZE=str(world),
            RANK=str(rank),
        )
        if sys.platform in _LOOPBACK:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
        self._torch, self._crypten = torch, crypten
        try:
            crypten.init()
        except Exception as error:
            raise CryptoError(f"The computing servers could not meet: {_first_line(error)}") from error
        crypten.mpc.get_default_provider = _no_triples

    def open_sum(self, share: npt.NDArray[np.int64], digest: bytes) -> npt.NDArray[np.int64] | None:
        """See `crypto.protocol.SumOpener`; raises CryptoError if the other process is gone."""
        arithmetic = importlib.import_module("crypten.mpc.primitives.arithmetic")
        torch = self._torch
        mine = torch.frombuffer(bytearray(digest), dtype=torch.uint8)
        digests = [torch.empty_like(mine) for _ in range(self._crypten.comm.get().get_world_size())]
        try:
            torch.distributed.all_gather(digests, mine)
            if not all(torch.equal(mine, other) for other in digests):
                return None
            shared = arithmetic.ArithmeticSharedTensor.from_shares(torch.from_numpy(share), precision=0)
            opened: npt.NDArray[np.int64] = shared.get_plain_text().numpy()
        except RuntimeError as error:
            raise CryptoError(f"The other computing server is gone: {_first_line(error)}") from error
        return opened

    def close(self) -> None:
        """Leave the group."""
        self._crypten.uninit()


def _no_triples(*_: object, **__: object) -> None:
    raise CryptoError("Multiplying shares is refused: CrypTen's default dealer would give one party every triple.")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
