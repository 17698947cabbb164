"""Key holder and helper behind connections of their own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypto import Aggregate, Begin, Plan, Upload, open_client, plan, run_round, set_up
from crypto.errors import PartyLost
from crypto.keys.roster import Identity, Roster
from crypto.wire.messages import Message
from secure_fcl.engines.commands import Answered, Deliver, Keys, Visit
from secure_fcl.engines.frames import to_frame
from secure_fcl.engines.keys import ROSTER, write_identities
from secure_fcl.engines.tls.client import Client
from secure_fcl.engines.tls.helpers import HelperHost, SessionLost, TlsHelper, helpers_over, remote_roles
from secure_fcl.engines.tls.parties import TlsParties
from secure_fcl.engines.tls.replies import read_reply
from secure_fcl.errors import FrameRefused, SecureFclError
from tests.secure_fcl.engines.tls.conftest import QUICK, Place, client, until

Serving = Callable[..., TlsParties]
CLIENTS = ("client0", "client1", "client2")


def tiny(protocol: str, keys: Path) -> Plan:
    roster = Roster.from_json((keys / ROSTER).read_text())
    return plan(protocol, CLIENTS, (Upload(name="g", length=3, bound=10),), 5, 1, roster=roster)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    write_identities([*CLIENTS, "server", "keyholder", "helper"], folder)
    return folder


@contextmanager
def helping(role: str, keys: Path, parties: TlsParties, place: Place, journals: Path | None = None) -> Iterator[Client]:
    host = HelperHost(role, keys / f"{role}.key", keys / ROSTER, journals)
    with client(host, parties.port, place.files(role)) as dialled:
        assert parties.wait_for(0, [role], 5)
        yield dialled


@pytest.mark.parametrize(("protocol", "role"), [("bfv", "keyholder"), ("helper", "helper")])
def test_sums_with_a_helper_party_that_dials(
    protocol: str, role: str, keys: Path, place: Place, serving: Serving, tmp_path: Path
) -> None:
    made = tiny(protocol, keys)
    assert remote_roles(made) == (role,)
    files = {name: keys / f"{name}.key" for name in ("server", role)}
    with serving(*CLIENTS, helpers=(role,)) as parties:
        assert parties.missing((role,)) == {role: "it has not dialled yet"}
        with helping(role, keys, parties, place, tmp_path), helpers_over(parties)(made, files, {}) as helpers:
            assert set(helpers) == {"server", role}
            everybody = {
                **{n: open_client(made, n, identity=Identity.load(keys / f"{n}.key")) for n in CLIENTS},
                **helpers,
            }
            set_up(everybody)
            for number, vector in enumerate(([1, 2, 3], [-9, 0, 9])):
                values = np.array(vector)
                outcome = run_round(everybody, number, "g", dict.fromkeys(CLIENTS, values), drop=CLIENTS[number:1])
                assert isinstance(outcome, Aggregate)
                assert outcome.total.tolist() == (values * (3 - len(CLIENTS[number:1]))).tolist()


def test_a_helper_that_was_started_anew_is_lost_in_one_sentence(keys: Path, place: Place, serving: Serving) -> None:
    made = tiny("bfv", keys)
    with serving(helpers=("keyholder",)) as parties:
        with helping("keyholder", keys, parties, place):
            party = TlsHelper(parties.listener, "keyholder", made)
            assert isinstance(party.collect()[0], Message)
            assert party.pending == 0
        message = _message("server")
        with helping("keyholder", keys, parties, place):
            party.send(message)
            with pytest.raises(PartyLost, match=r"keyholder could not answer \(SessionLost\)"):
                party.collect()
        with pytest.raises(FrameRefused, match="the server's alone"):
            party.send(Begin(0, "g"))
        party.close()
        party = TlsHelper(parties.listener, "keyholder", made)
        seat = parties.listener._seats["keyholder"]
        assert until(lambda: seat.question is not None)
        seat.question.on_answer(b"nonsense")  # type: ignore[union-attr]
        with pytest.raises(PartyLost, match="what cannot be an answer"):
            party.collect()


def test_what_a_helper_party_refuses(keys: Path, tmp_path: Path) -> None:
    host = HelperHost("keyholder", keys / "keyholder.key", keys / ROSTER)
    made = tiny("bfv", keys)
    with pytest.raises(SessionLost):
        list(host.answer({"keyholder": Deliver(items=(_message("server"),))}))
    write_identities([*CLIENTS, "server", "keyholder"], tmp_path)
    others = Roster.from_json((tmp_path / ROSTER).read_text())
    for wrong in (replace(made, roster=None), tiny("bfv", tmp_path)):
        assert wrong.roster in (None, others)
        with pytest.raises(SecureFclError, match="another roster"):
            list(host.answer({"keyholder": Keys(plan=wrong, items=())}))
    with pytest.raises(SecureFclError, match="no 'keyholder' that dials"):
        list(host.answer({"keyholder": Keys(plan=tiny("plain", keys), items=())}))
    with pytest.raises(SecureFclError, match="answers no Visit"):
        list(host.answer({"keyholder": Visit(slot=0, round=0, retired=frozenset(), state={})}))


def _message(sender: str) -> Message:
    return Message(
        sender=sender, receiver="server", kind="x", session="s", upload="g", round=0, sequence=0, payload=b""
    )  # fmt: skip


def test_no_outcome_and_nobody_elses_message_comes_from_a_party() -> None:
    keys_ask = Deliver(items=())
    forged = Aggregate("s", 0, "g", np.zeros(3, dtype=np.int64), ("client0",), ())
    for items in ((forged,), (_message("client1"),), (_message("client0"), _message("server"))):
        with pytest.raises(FrameRefused, match="no message of its own"):
            read_reply("client0", keys_ask, to_frame(Answered(items=items, ready=True)))
    honest = Answered(items=(_message("client0"),), ready=True)
    assert read_reply("client0", keys_ask, to_frame(honest)) == honest
    assert QUICK.silence > QUICK.heartbeat
