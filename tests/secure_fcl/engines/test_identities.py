from pathlib import Path

import numpy as np
import pytest

from crypto import Upload, plan
from crypto.errors import PlanRefused
from crypto.keys.roster import Identity
from crypto.opening import open_client
from crypto.planning.plans import Plan
from crypto.protocols.session import plan_roles
from secure_fcl.engines.identities import check, identities, state_digest
from secure_fcl.engines.keys import write_identities
from secure_fcl.errors import SecureFclError

NAMES = tuple(f"client{k}" for k in range(4))


def made(protocol: str = "secagg", dropouts: int = 1) -> Plan:
    return plan(protocol, NAMES, (Upload(name="g", length=3, bound=100),), 2, dropouts)


def test_fresh_identities_are_pinned_private_and_deleted() -> None:
    with identities(made(), "", "active") as known:
        assert known.plan.roster is not None
        assert set(known.plan.roster.keys) == {*NAMES, "server"}
        assert known.plan.masks is not None
        assert known.plan.masks.mode == "active"
        assert known.plan.session
        for name in (*NAMES, "server"):
            file = known.file_of(name)
            assert file.stat().st_mode & 0o077 == 0
            assert known.plan.roster.keys[name] == Identity.load(file).public
        assert known.folder.stat().st_mode & 0o077 == 0
        # An identity that the roster does not pin opens no session.
        with pytest.raises(PlanRefused, match="another key"):
            open_client(known.plan, "client0", identity=Identity.new("client0"))
        folder = known.folder
    assert not folder.exists()


@pytest.mark.parametrize("protocol", ["plain", "bfv", "mpc", "secagg+"])
def test_a_given_folder_is_used_and_kept(protocol: str, tmp_path: Path) -> None:
    secure = made(protocol)
    write_identities((*NAMES, *plan_roles(secure)), tmp_path)
    with identities(secure, str(tmp_path), "active") as known:
        assert known.folder == tmp_path
        assert known.plan.roster is not None
        assert known.plan.session == secure.session
        assert known.plan.roster.keys["server"] == Identity.load(tmp_path / "server.key").public
        assert "roster pins" in known.plan.assumption
    assert (tmp_path / "client0.key").exists()


def test_what_a_folder_lacks_is_named_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(SecureFclError, match=r"holds no roster.json; make it: secure-fcl keys client0"):
        check(made(), str(tmp_path), "active")
    write_identities((*NAMES, "server"), tmp_path)
    check(made(), str(tmp_path), "active")
    (tmp_path / "client2.key").unlink()
    with pytest.raises(SecureFclError, match=r"client2\.key"):
        check(made(), str(tmp_path), "active")
    short = tmp_path / "short"
    write_identities(NAMES[:3], short)
    with pytest.raises(PlanRefused, match="roster lacks 1"):
        check(made(), str(short), "active")


@pytest.mark.parametrize(("n", "dropouts", "corrupt"), [(2, 0, 0), (5, 2, 0), (30, 3, 3), (60, 12, 2), (200, 60, 2)])
def test_an_active_server_can_be_stopped_wherever_a_plan_is_possible(n: int, dropouts: int, corrupt: int) -> None:
    names = [f"client{k}" for k in range(n)]
    secure = plan("secagg+", names, (Upload(name="g", length=3, bound=100),), 2, dropouts, corrupt=corrupt)
    check(secure, "", "semi-honest")
    check(secure, "", "active")


def test_a_digest_depends_on_every_value_name_shape_and_place() -> None:
    state = {"a": np.arange(6.0), "b": np.zeros(2, np.float32)}
    same = {"b": np.zeros(2, np.float32), "a": np.arange(6.0)}
    assert state_digest(state, "row 0 1") == state_digest(same, "row 0 1")
    others = [
        state_digest(state, "row 0 2"),
        state_digest({**state, "a": np.arange(6.0) + 1e-12}, "row 0 1"),
        state_digest({**state, "a": np.arange(6.0).reshape(2, 3)}, "row 0 1"),
        state_digest({**state, "b": np.zeros(4, np.float16)}, "row 0 1"),
        state_digest({"a": state["a"]}, "row 0 1"),
        state_digest({"a": state["a"], "c": state["b"]}, "row 0 1"),
    ]
    assert len({state_digest(state, "row 0 1"), *others}) == 7
