"""The how-to "add a protocol", performed: its two files in an empty folder, its commands in new processes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crypto import Session, Upload, open_client, open_party, plan, plan_roles, set_up
from crypto.errors import CodeNotFound, MessageError, PlanRefused
from crypto.protocols.catalogue import ENTRIES, entry_of
from crypto.protocols.plans import plan_from_bytes
from crypto.protocols.session import hiding
from crypto.testing import ROUNDS_NEEDED, Bench, check_protocol, check_set_up_mutations
from secure_fcl.config import load_config
from secure_fcl.errors import ConfigInvalid

NAMES = ("ada", "bob", "cyd", "dan", "eve")


def test_a_protocol_of_ones_own_is_planned_run_and_resumed(
    write_how_to: Callable[[str], Path], live_through: Callable[..., Path]
) -> None:
    folder = write_how_to("add-a-protocol")
    run = live_through(folder)
    (row,) = json.loads((run / "certificate.json").read_text())["rows"].values()
    assert (row["protection"], row["hiding"], row["non_private"]) == ("lab:halves", "shares", [])
    assert row["assumptions"][0].startswith("protection lab:halves, in its own words: Server and helper do not collude")
    text = (run / "certificate.txt").read_text()
    assert "hidden by: shares, as the entry lab:halves says of itself" in text
    assert "NOT AGAINST THE SERVER" not in text
    (planned,) = json.loads((folder / "plan" / "plan.json").read_text())["rows"]
    cost = [json.loads(line) for line in (run / "cost.jsonl").read_text().splitlines()]
    assert all(0 <= one["bytes_up"] - 5 * planned["bytes_per_round"] < 5 * 80 for one in cost)


@pytest.fixture
def here(write_how_to: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_how_to("add-a-protocol")
    (folder / "lab.py").rename(folder / "own_sums.py")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("here")
def test_the_protocol_of_the_how_to_conforms() -> None:
    made = plan(
        "own_sums:halves",
        NAMES,
        (Upload(name="update", length=100, bound=1000),),
        rounds=4 * ROUNDS_NEEDED,
        max_dropouts=2,
    )

    def bench(started: bool = True) -> Bench:
        parties: dict[str, Session] = {name: open_client(made, name) for name in NAMES}
        parties |= {role: open_party(made, role) for role in plan_roles(made)}
        if started:
            set_up(parties)
        return Bench(made, parties)

    assert (hiding(made), plan_roles(made)) == ("shares", ("server", "helper"))
    check_protocol(bench)
    check_set_up_mutations(bench(started=False))


@pytest.mark.usefixtures("here")
def test_bytes_that_name_code_are_read_only_from_who_is_trusted() -> None:
    made = plan("own_sums:halves", ("a", "b"), (Upload(name="g", length=4, bound=9),), rounds=2)
    assert plan_from_bytes(made.to_bytes(), trust_code=True) == made
    with pytest.raises(MessageError, match="the plan names code of its sender's, 'own_sums:halves'; read it"):
        plan_from_bytes(made.to_bytes())


def test_what_is_no_protocol_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong_sums.py").write_text(
        "from dataclasses import replace\n"
        "from crypto.protocols.plain import plain\n"
        "class Entry: pass\n"
        "number = 3\n"
        "def missing(): return replace(plain, client=None)\n"
    )
    (tmp_path / "half_sums.py").write_text(
        "from crypto.protocols.entry import SumProtocol\nmine = SumProtocol(hiding='shares', assumption='x')\n"
    )
    (tmp_path / "sly_sums.py").write_text(
        "from crypto.protocols.entry import SumProtocol\n"
        "mine = SumProtocol(hiding='everything', assumption='x', client=1, party=1, client_bytes=1)\n"
    )
    for name, error, said in (
        ("wrong_sums:Entry", PlanRefused, r"is a class and no protocol; write in .*wrong_sums\.py: Entry = crypto\."),
        ("wrong_sums:number", PlanRefused, r"of type int and no protocol"),
        ("wrong_sums:absent", CodeNotFound, r"wrong_sums\.py defines no 'absent'; it has Entry, missing, number"),
        ("half_sums:mine", CodeNotFound, r"TypeError: .* missing 3 required .*: 'client', 'party', and 'client_bytes'"),
        ("sly_sums:mine", CodeNotFound, r"hiding='everything' of a protocol is none of \['nothing', 'ciphertext'"),
        ("nowhere:mine", CodeNotFound, r"no module 'nowhere', and .*nowhere\.py does not exist"),
        ("crypto:plan", CodeNotFound, r"a module of secure-fcl's own; give your file another name"),
        ("secagg++", PlanRefused, r"unknown protocol 'secagg\+\+'; choose one of \['bfv', .* or module:name"),
    ):
        with pytest.raises(error, match=said):
            entry_of(name)
    with pytest.raises(ConfigInvalid, match=r"protection = 'bvf': did you mean 'bfv'\? the protocols are: plain, bfv"):
        load_config(None, ["protection=bvf"])
    assert load_config(None, ["protection=nowhere:mine"]).protection == "nowhere:mine"


def test_every_entry_of_the_list_is_what_its_name_says() -> None:
    words = {name: (entry.hiding, entry.roles, entry.masks) for name, entry in ENTRIES.items()}
    assert words == {
        "plain": ("nothing", ("server",), None),
        "bfv": ("ciphertext", ("server", "keyholder"), None),
        "mpc": ("shares", ("server", "compute0", "compute1"), None),
        "secagg": ("masks", ("server",), "complete"),
        "secagg+": ("masks", ("server",), "sparse"),
        "helper": ("pads", ("server", "helper"), None),
    }
