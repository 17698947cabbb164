"""All use of CrypTen: two processes that open the sum of their shares, and a dealer. Importing this file loads nothing
heavy.
"""

from __future__ import annotations

import contextlib
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
from crypto.keys.randomness import KEY_BYTES, derive_key, system_random
from crypto.planning.norms import project, projection_bound
from crypto.protocols.mpc.meeting import meet_through
from crypto.protocols.session import Opened

REMEDY = "pip install omegaconf pyyaml; pip install --no-deps crypten==0.4.1"
_NEEDED = ("torch", "omegaconf", "yaml", "crypten")
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
Ints = npt.NDArray[np.int64]


def require_crypten() -> None:
    """Raise BackendMissing, with the commands that help, if CrypTen or what it needs is not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendMissing(f"the mpc protocol needs {', '.join(missing)}, not installed here; run: {REMEDY}")


def load_crypten() -> Any:
    """Import CrypTen 0.4.1, with its ONNX converter, which imports a removed part of torch, replaced by
    nothing.

    Raises:
        BackendMissing: it is absent or does not import.
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
    raise CryptoError("models are not converted here: CrypTen serves sums of integer vectors only")


class CrypTenGroup:
    """One of two processes that open sums of additive shares modulo 2^64 over gloo on the loopback interface.

    Without a dealer, only additions and openings: multiplications are refused, as CrypTen's default source of
    triples, "TFP", gives the first party every triple, and with it every vector that is multiplied. With a dealer
    process of its own ("TTP") norms are checked. The connections are neither encrypted nor authenticated.
    """

    def __init__(self, rank: int, world: int, rendezvous: Path, dealer: bool = False) -> None:
        """Join the group through the file `rendezvous`; waits for the others.

        Raises:
            BackendMissing: CrypTen is not installed.
            CryptoError: the group does not come about, or not within `meeting.MEET_SECONDS`.
        """
        self._crypten = _prepare(rank, world, rendezvous, dealer)
        self._offers: dict[bytes, Ints] = {}
        self._dealer = dealer
        import torch

        self._torch = torch
        try:
            self._crypten.init()
        except CryptoError:
            raise
        except Exception as error:
            raise CryptoError(f"the computing servers could not meet: {_first_line(error)}") from error
        if not dealer:
            self._crypten.mpc.get_default_provider = _no_triples

    def offer(self, digest: bytes, shares: Ints) -> None:
        """See `crypto.protocols.session.SumOpener`."""
        self._offers[digest] = shares

    def withdraw(self, digest: bytes) -> None:
        """See `crypto.protocols.session.SumOpener`."""
        self._offers.pop(digest, None)

    def open(self, digest: bytes, norm_bounds: tuple[int, ...], least: int) -> Opened | None:
        """See `crypto.protocols.session.SumOpener`.

        Raises:
            CryptoError: the other process is gone, or norms are to be checked without a dealer.
        """
        shares = self._offers.pop(digest)
        if norm_bounds and not self._dealer:
            raise CryptoError("norms are checked with triples of a dealer only; host the role dealer as well")
        try:
            if len(set(self._exchange(digest))) != 1:
                return None
            accepted = self._accepted(shares, norm_bounds) if norm_bounds else (True,) * shares.shape[1]
            if sum(accepted) < least:
                return Opened(accepted, None)
            total = shares[:, np.array(accepted)].sum(axis=(0, 1), dtype=np.int64)
            opened = self._shared(total).get_plain_text().numpy()
        except RuntimeError as error:
            raise CryptoError(f"the other computing server is gone: {_first_line(error)}") from error
        return Opened(accepted, opened)

    def _exchange(self, mine: bytes) -> list[bytes]:
        """Give each other some bytes of one length; they come back in the order of ranks."""
        tensor = self._torch.frombuffer(bytearray(mine), dtype=self._torch.uint8)
        communicator = self._crypten.comm.get()
        found = [self._torch.empty_like(tensor) for _ in range(communicator.get_world_size())]
        self._torch.distributed.all_gather(found, tensor, group=communicator.main_group)
        return [other.numpy().tobytes() for other in found]

    def _shared(self, share: Ints) -> Any:
        arithmetic = importlib.import_module("crypten.mpc.primitives.arithmetic")
        return arithmetic.ArithmeticSharedTensor.from_shares(self._torch.from_numpy(share), precision=0)

    def _accepted(self, shares: Ints, bounds: tuple[int, ...]) -> tuple[bool, ...]:
        """Check every client's norms on shares (`crypto.planning.norms`); one bit for each client is opened."""
        parts, clients, length = shares.shape
        seed = derive_key(b"".join(self._exchange(system_random(KEY_BYTES))), "norm check")
        rows = shares.reshape(parts * clients, length)
        projected = project(rows, seed)
        squares = np.concatenate([self._squares(piece) for piece in _pieces(rows)])
        edges = np.repeat([projection_bound(bound) for bound in bounds], clients)[:, None]
        limits = np.repeat([bound * bound for bound in bounds], clients)[:, None]
        # Public constants are added to one of the two shares only.
        first = self._crypten.comm.get().get_rank() == 0
        edges, limits = edges * first, limits * first
        margins = np.concatenate([edges + projected, edges - projected, limits - squares[:, None]], axis=1)
        violations = self._negative(margins).share.sum(dim=1).reshape(parts, clients).sum(dim=0).numpy()
        none = self._negative(violations - (1 if first else 0))
        return tuple(bool(bit) for bit in none.get_plain_text().tolist())

    def _squares(self, rows: Ints) -> Ints:
        """This server's share of each row's sum of squares modulo 2^64; takes triples from the dealer."""
        beaver = importlib.import_module("crypten.mpc.primitives.beaver")
        share: Ints = beaver.square(self._shared(rows)).share.sum(dim=1).numpy()
        return share

    def _negative(self, share: Ints) -> Any:
        """Shares of 1 where the shared signed number is negative, else of 0."""
        from crypten.mpc import MPCTensor
        from crypten.mpc.ptype import ptype

        tensor = MPCTensor.from_shares(self._torch.from_numpy(share), precision=0, ptype=ptype.arithmetic)
        return tensor._ltz()._tensor

    def close(self) -> None:
        """Leave the group; the first server also ends the dealer."""
        with contextlib.suppress(RuntimeError):
            self._crypten.uninit()


def serve_triples(world: int, rendezvous: Path) -> None:
    """Deal triples to the computing servers until the first of them leaves; blocks.

    The dealer sees sizes, never shares. Its triples come from torch's generator, with seeds of 64 bits.
    """
    _prepare(world, world, rendezvous, dealer=True)
    importlib.import_module("crypten.mpc.provider.ttp_provider").TTPServer()


def _prepare(rank: int, world: int, rendezvous: Path, dealer: bool) -> Any:
    crypten = load_crypten()
    import torch

    torch.set_num_threads(1)
    communicator = importlib.import_module("crypten.communicator.distributed_communicator").DistributedCommunicator
    meet_through(communicator, rendezvous.absolute(), rank, world)
    if sys.platform in _LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    if dealer:
        crypten.cfg.mpc.provider = "TTP"
        torch.manual_seed(int.from_bytes(system_random(8), "little", signed=True))
    return crypten


def _pieces(rows: Ints) -> list[Ints]:
    """Rows in groups of at most about 2^21 entries, to bound the memory of squaring."""
    return np.array_split(rows, max(1, min(len(rows), rows.size >> 21)))


def _no_triples(*_: object, **__: object) -> None:
    raise CryptoError("multiplying shares is refused: CrypTen's default dealer would give one party every triple")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
