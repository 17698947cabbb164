"""State dictionaries from files: every form gives the same vector, and nothing is unpickled but tensors."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attacks.errors import AuditInvalid
from attacks.modules.functions import flat_weights
from attacks.own.checkpoints import parameter_vector, read_tensors, weight_vector
from tests.attacks.own.conftest import network


class Bomb:
    """Runs something when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    made = network()
    made(torch.randn(30, 64))
    return made


def test_every_form_gives_the_same_vector(module: torch.nn.Module, tmp_path: Path) -> None:
    state = module.state_dict()
    torch.save(state, tmp_path / "a.pt")
    torch.save(state, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **{name: value.numpy() for name, value in state.items()})
    for name in ("a.pt", "old.ckpt", "a.safetensors", "a.npz"):
        path = tmp_path / name
        assert np.array_equal(weight_vector(network(), read_tensors(path), path), flat_weights(module)), name


def test_half_precision_is_read_as_it_is(module: torch.nn.Module, tmp_path: Path) -> None:
    half = {
        name: value.bfloat16() if value.is_floating_point() else value for name, value in module.state_dict().items()
    }
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(half, path)
    found = weight_vector(network(), read_tensors(path), path)
    assert np.abs(found - flat_weights(module)).max() < 0.02
    assert found.dtype == np.float32


@pytest.mark.parametrize("ending", ["pt", "npz"])
def test_nothing_in_a_file_runs(tmp_path: Path, ending: str) -> None:
    touched, path = tmp_path / "touched", tmp_path / f"bomb.{ending}"
    if ending == "pt":
        torch.save({"weight": torch.zeros(1), "bomb": Bomb(touched)}, path)
    else:
        np.savez(path, bomb=np.array([Bomb(touched)], dtype=object))
    with pytest.raises(AuditInvalid, match="save"):
        read_tensors(path)
    assert not touched.exists()
    # Positive control: the file would have run it.
    if ending == "npz":
        with np.load(path, allow_pickle=True) as file:
            assert file["bomb"] is not None
    else:
        torch.load(path, weights_only=False)
    assert touched.exists()


def test_a_plain_pickle_is_refused_unopened(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "touched")))
    with pytest.raises(AuditInvalid, match="nothing in it was unpickled"):
        read_tensors(path)
    assert not (tmp_path / "touched").exists()


@given(st.binary(max_size=400), st.sampled_from(["a.pt", "a.safetensors", "a.npz", "a.ckpt"]))
def test_no_bytes_end_in_another_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(data)
    with pytest.raises(AuditInvalid):
        read_tensors(path)


@given(arrays.arrays(np.float32, (3, 2), elements=st.floats(-1e6, 1e6, width=32)))
def test_saved_updates_are_flat_over_parameters(weight: np.ndarray) -> None:
    module = torch.nn.Linear(2, 3)
    tensors = {"weight": weight, "bias": np.ones(3, np.float32), "more": np.zeros(9, np.float32)}
    assert np.array_equal(parameter_vector(module, tensors, Path("u.npz")), [*weight.reshape(-1), 1, 1, 1])
    with pytest.raises(AuditInvalid, match="nothing for the parameter bias"):
        parameter_vector(module, {"weight": weight}, Path("u.npz"))


def test_what_does_not_fit_the_model_is_said(module: torch.nn.Module) -> None:
    path, state = Path("a.pt"), {name: value.numpy() for name, value in module.state_dict().items()}
    wrapped = {f"module.{name}": value for name, value in state.items()}
    with pytest.raises(AuditInvalid, match=r"save model\.module\.state_dict"):
        weight_vector(network(), wrapped, path)
    with pytest.raises(AuditInvalid, match=r"0\.weight has shape \(48, 63\), the model's \(48, 64\)"):
        weight_vector(network(), {**state, "0.weight": state["0.weight"][:, 1:]}, path)
    with pytest.raises(AuditInvalid, match="has extra too much"):
        weight_vector(network(), {**state, "extra": np.zeros(1)}, path)

    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(2, 2)
            self.register_buffer("scale", torch.tensor(2.0))

    own = {name: value.numpy() for name, value in Scaled().state_dict().items()}
    assert len(weight_vector(Scaled(), own, path)) == 6
    # A constant that the file changes would be left out of the audit without a word.
    with pytest.raises(AuditInvalid, match="the buffer scale is not the model's own"):
        weight_vector(Scaled(), {**own, "scale": np.float32(3.0) * np.ones(())}, path)


def test_tied_weights_may_be_saved_once() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(3, 3)
            self.second = torch.nn.Linear(3, 3)
            self.second.weight = self.first.weight

    state = {name: value.numpy() for name, value in Tied().state_dict().items()}
    del state["second.weight"]
    assert len(weight_vector(Tied(), state, Path("a.safetensors"))) == 15
