"""What a deployed device decides by itself, and what it says of an error."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy import Ledger
from secure_fcl.config import Config
from secure_fcl.engines import commands as c
from secure_fcl.engines.deployed.claims import ClaimBook
from secure_fcl.engines.deployed.folder import DeviceFolder, ServerFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.deployed.state import ChargedBudget
from secure_fcl.engines.deployed.vault import SealedLog, Vault, state_key
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.parties import Host
from secure_fcl.errors import DeviceRefused, SumAborted
from secure_fcl.strategies import GradientStrategy

ROW = "finetune"


def asked(host: Host, ask: c.Ask, party: str = "client0") -> Any:
    (answer,) = host.answer({party: ask})
    assert answer.party == party
    return answer.reply


def refused(host: Host, ask: c.Ask, party: str = "client0") -> str:
    reply = asked(host, ask, party)
    assert isinstance(reply, c.Failed), reply
    assert (reply.text, reply.trace) == ("", "")
    return reply.error


@pytest.fixture(params=["simulated", "deployed"])
def begun(request: pytest.FixtureRequest, make_bench: Callable[..., Any], bench_config: Config) -> tuple[Host, Any]:
    """A host of either kind that has begun the same row, and the bench with the server's side."""
    bench = make_bench()
    if request.param == "deployed":
        bench.join()
        return bench.hosts["client0"], bench
    host = ClientHost(identities=bench.out / "client0")
    given = c.Simulated(noise_multiplier=1.0, charged=(), secret=None)
    config = bench_config.model_copy(update={"engine": "local"})
    assert asked(host, c.Open(row=ROW, config=config, simulated=given)) == c.Done()
    return host, bench


def test_both_kinds_of_host_keep_the_protocol(begun: tuple[Host, Any]) -> None:
    host, bench = begun
    bench.hosts["client0"] = bench.parties.hosts["client0"] = host
    with bench.sums() as sums:
        first = bench.round(sums, bench.visit(0))
        second = bench.round(sums, bench.visit(1))
    assert first.total.shape == second.total.shape == (bench.plan.wire("train").sent.length,)
    assert np.abs(first.total).max() > 0
    assert {record["client"] for record in first.messages} == {0, 1, 2, 3}
    assert asked(host, c.Close(slot=0, state=bench.state)) == c.Done()


def test_another_configuration_is_refused_by_its_class(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    host = bench.hosts["client1"]
    ask = c.Join(row=ROW, run="bench", digest="0" * 64, ledger=b"")
    assert refused(host, ask, "client1") == "ConfigurationDiffers"
    assert refused(host, replace(ask, digest=bench.server.digest, run="../../up"), "client1") == "DeviceRefused"
    assert refused(host, replace(ask, digest=bench.server.digest, row="calm"), "client1") == "DeviceRefused"
    assert refused(host, c.Keys(plan=bench.plan.secure_plan(0), items=()), "client0") == "DeviceRefused"


def test_a_folder_whose_numbers_a_rule_would_still_choose_is_refused(make_bench: Callable[..., Any]) -> None:
    out = make_bench().out
    for party, read in (("client1", DeviceFolder.read), ("server", ServerFolder.read)):
        run = out / party / "run.toml"
        told = run.read_text()
        read(out / party)
        run.write_text(told.replace('schedule = "given"', 'schedule = "planned"'))
        assert run.read_text() != told
        with pytest.raises(DeviceRefused, match=r"schedule = 'planned', but a device takes numbers.*writes them out"):
            read(out / party)
        # Numbers that the rule chose and `deploy` wrote out are numbers.
        run.write_text(told.replace('schedule = "given"', 'schedule = "written"'))
        assert read(out / party).config.training.schedule == "written"


def test_a_plan_of_the_servers_own_making_is_refused(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.join()
    host, plan = bench.hosts["client1"], bench.plan.secure_plan(0)
    pinned = plan.pinned(bench.server.roster, "active")
    for wrong in (
        plan,
        plan.pinned(bench.server.roster, "semi-honest"),
        replace(pinned, clients=pinned.clients[:-1]),
        replace(pinned, max_dropouts=2),
        replace(pinned, uploads=(replace(pinned.uploads[0], bound=1),)),
    ):
        assert refused(host, c.Keys(plan=wrong, items=()), "client1") == "ConfigurationDiffers"
    assert isinstance(asked(host, c.Keys(plan=pinned, items=()), "client1"), c.Answered)


def test_a_visit_is_claimed_then_charged_then_trained(
    make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, order = make_bench(), []
    train = GradientStrategy.contribute_all

    def trained(self: Any, *given: Any) -> Any:
        folder = bench.out / "client0" / "state" / "bench" / ROW
        vault = Vault(state_key(bench.out / "client0", "unused"))
        log = SealedLog(folder / "claims.log", vault, f"claims bench {ROW}")
        claims = sum(record[0] == "claim" for record in log.records)
        log.close()
        order.append((claims, len((folder / "ledger.jsonl").read_bytes().splitlines())))
        return train(self, *given)

    monkeypatch.setattr(GradientStrategy, "contribute_all", trained)
    bench.join()
    bench.parties.hosts = {"client0": bench.hosts["client0"], **bench.hosts}
    with bench.sums() as sums:
        bench.round(sums, bench.visit(0))
        bench.round(sums, bench.visit(1))
    # Both are on disk when the device trains; it is the first of four to be asked.
    assert order[0] == (1, 1)
    assert order[4] == (2, 2)


@pytest.mark.parametrize("planted", [(ClaimBook, "take"), (ChargedBudget, "take_part")])
def test_what_is_claimed_or_charged_later_is_seen(
    planted: tuple[type, str], make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*planted, lambda self, *given: None)
    with pytest.raises(AssertionError):
        test_a_visit_is_claimed_then_charged_then_trained(make_bench, monkeypatch)


def test_an_answer_is_sent_again_in_its_session_alone(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    host = bench.hosts["client0"]
    bench.join()
    with bench.sums() as sums:
        visit = bench.visit(0)
        bench.round(sums, visit)
        first = asked(host, visit)
        assert first.items
        # A byte of the model is another ask, and no round is answered twice.
        weights = {**visit.state, "weights": visit.state["weights"] + 1}
        assert refused(host, replace(visit, state=weights)) == "ClaimRefused"
        assert asked(host, visit) == first
    with bench.sums():
        assert refused(host, visit) == "ClaimRefused"


def test_an_attempt_of_clients_that_differ_by_too_few_is_refused() -> None:
    class Book(ClaimBook):
        def __init__(self) -> None:
            self.claims, self.answer = [], None

    from secure_fcl.engines.deployed.claims import Claim

    def claim(head: str, clients: str, free: bool = False, round: int = 0) -> Claim:
        return Claim(slot=0, round=round, head=head, session="s", asked="", clients=tuple(clients), free=free)

    book = Book()
    book.require_new(claim("1", "abcd"), 3, None)
    book.claims = [claim("1", "abcd")]
    book.require_new(claim("2", "abcd"), 3, 2)
    for wrong, most in ((claim("2", "abc"), None), (claim("2", "abcd"), 1), (claim("2", "abce"), None)):
        with pytest.raises(Exception, match=r"would differ by|this row has"):
            book.require_new(wrong, 3, most)
    # What the device's journal lets it repeat is no new release.
    book.require_new(claim("2", "abc", free=True), 3, 1)
    book.claims = [claim("1", "abcd", round=1)]
    with pytest.raises(Exception, match="lies before"):
        book.require_new(claim("2", "abcd"), 3, None)


def test_a_server_that_was_set_back_is_noticed(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.join()
    with bench.sums() as sums:
        bench.round(sums, bench.visit(0))
    ask = c.Join(row=ROW, run="bench", digest=bench.server.digest, ledger=b"")
    assert refused(bench.hosts["client2"], ask, "client2") == "JournalRefused"


def test_a_device_that_is_shut_out_is_missing_and_one_too_many_end_the_sums(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.join()

    def revoke(text: str) -> None:
        for k in range(4):
            (bench.out / f"client{k}" / "revoked.json").write_text(text)

    revoke('{"revoked": ["client3"], "serials": []}')
    with bench.sums() as sums:
        assert {record["client"] for record in bench.round(sums, bench.visit(0)).messages} == {0, 1, 2}
        revoke('{"revoked": ["server"], "serials": []}')
        with pytest.raises(SumAborted, match="DeviceRefused"):
            bench.round(sums, bench.visit(1))
    revoke('{"revoked": ["client3", "client2"], "serials": []}')
    with pytest.raises(SumAborted, match="DeviceRefused"):
        bench.sums()
    (bench.out / "client0" / "revoked.json").write_text("{}")
    place = DeviceFolder.read(bench.out / "client0")
    with pytest.raises(DeviceRefused, match="nobody is let in"):
        place.revoked()


def test_a_round_repeated_without_a_charge_is_charged_by_who_missed_it(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.join()
    with bench.sums():
        # Charged; then the server died before it asked anybody but client1, whose answer it never got.
        visit = bench.visit(0)
        bench.parties.hosts = {"client1": bench.hosts["client1"]}
        (answer,) = bench.parties.ask({"client1": visit})
        assert answer.reply.items
    bench.parties.hosts = dict(bench.hosts)
    bench.join()
    settle = c.Settle(ledger=visit.ledger, entry=visit.entry)
    said = {a.party: a.reply.said for a in bench.parties.ask(dict.fromkeys(bench.hosts, settle))}
    assert said == {"client0": "unsent", "client1": "same", "client2": "unsent", "client3": "unsent"}
    groups = {bench.plan.scenario.groups[k] for k in range(4)}
    covered = frozenset((group, 0) for group in groups)
    with bench.sums() as sums:
        again = bench.visit(0, covered)
        assert len(bench.round(sums, again).messages) == 4
    bench.ledger.close()
    for k in range(4):
        bench.hosts[f"client{k}"].close() if k else bench.mortal.host.close()
        with Ledger(bench.out / f"client{k}" / "state" / "bench" / ROW / "ledger.jsonl") as own:
            # Charged once by everybody, in whichever of the two attempts each took part first.
            assert own.spent() == bench.ledger.spent()
            assert len(own) == (2 if k == 1 else 1)


def test_a_lab_is_answered_nothing(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.join()
    host: Any = bench.hosts["client1"]
    given = c.Simulated(noise_multiplier=0.0, charged=(), secret=bytes(32))
    for ask in (
        c.GiveKept(), c.GiveCoins(), c.GiveHeld(), c.GiveOwn(), c.GiveClear(), c.Identify(folder=Path("/")),
        c.Restore(coins={}, kept={}), c.Disclose(slot=0, round=0, state={}),
        c.Open(row=ROW, config=bench.server.config, simulated=given),
    ):  # fmt: skip
        assert refused(host, ask, "client1") == "DeviceRefused"
    assert refused(host, c.Close(slot=0, state={}), "client2") == "DeviceRefused"


def test_a_devices_state_is_its_owners_and_encrypted(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.join()
    with bench.sums() as sums:
        bench.round(sums, bench.visit(0))
    state = bench.out / "client1" / "state"
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"device.bin", "claims.log", "session.log", "ledger.jsonl", "current.bin"}
    for path in files:
        if not path.name.endswith(".lock"):
            assert path.stat().st_mode & 0o077 == 0, path
        # Names of what is inside: no file but the public ledger and the journal's heads can be read.
        if path.suffix in (".bin", ".log", ".npz"):
            assert not any(word in path.read_bytes() for word in (b"draws", b"claim", b"client", b"open", b"float"))
    with pytest.raises(DeviceRefused, match="in use"):
        DeployedHost(DeviceFolder.read(bench.out / "client1"))
    bench.hosts["client1"].close()
    (bench.out / "client1" / "state.secret").write_bytes(os.urandom(32))
    other = DeployedHost(DeviceFolder.read(bench.out / "client1"))
    assert refused(other, c.Close(slot=0, state={}), "client1") == "DeviceRefused"
    other.close()


def test_a_record_that_was_cut_short_is_cut_off_and_a_changed_one_refused(tmp_path: Path) -> None:
    vault, path = Vault(bytes(32)), tmp_path / "some.log"
    log = SealedLog(path, vault, "some")
    for record in (["a", 1], ["b", 2]):
        log.append(record)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    log = SealedLog(path, vault, "some")
    assert log.records == [["a", 1]]
    log.append(["c", 3])
    log.close()
    assert SealedLog(path, vault, "some").records == [["a", 1], ["c", 3]]
    for changed in (whole[:10] + bytes([whole[10] ^ 1]) + whole[11:], whole[len(whole) // 2 :]):
        path.write_bytes(changed)
        with pytest.raises(DeviceRefused, match="damaged"):
            SealedLog(path, vault, "some")
    path.write_bytes(whole)
    with pytest.raises(DeviceRefused, match="damaged"):
        SealedLog(path, vault, "other")


def test_a_key_of_the_state_lies_where_it_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = state_key(tmp_path, "client0")
    assert state_key(tmp_path, "client0") == key
    (tmp_path / "state.secret").chmod(0o644)
    with pytest.raises(DeviceRefused, match="chmod 600"):
        state_key(tmp_path, "client0")
    monkeypatch.setenv("SECURE_FCL_STATE_KEY", str(tmp_path / "elsewhere"))
    assert state_key(tmp_path, "client0") != key
    assert (tmp_path / "elsewhere").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("SECURE_FCL_STATE_KEY", "keyring")
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    with pytest.raises(DeviceRefused, match="pip install keyring"):
        state_key(tmp_path, "client0")
