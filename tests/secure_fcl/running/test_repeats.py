"""Runs killed at every place of a round, and what the repeated round costs when devices keep journals."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.keys.roster import Identity
from privacy import Charge, Ledger
from secure_fcl.config import Config
from secure_fcl.engines.commands import Ask, LabAsk, Sent, Settle, Settled, Visit
from secure_fcl.engines.federation import Federation
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.journals import Attempt, Journal
from secure_fcl.engines.lab import SimulationLab
from secure_fcl.engines.parties import Answer, Party, parties_of
from secure_fcl.engines.simulation import load_arrays
from secure_fcl.errors import JournalRefused, WorkerLost
from secure_fcl.rows.budgets import RowLedger
from secure_fcl.runner import train, verify
from secure_fcl.running import loop
from secure_fcl.running.device_heads import contradicted
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Job
from secure_fcl.running.prepare import Prepared, prepare
from secure_fcl.running.records import Tick
from secure_fcl.running.repeats import Repeat

CLIENTS = 5
LOCAL, SHARED = ("finetune.noise=local",), ("finetune.noise=shared",)


class Killed(BaseException):
    """The process of the test ends here, as far as the run can tell."""


class Here:
    """Clients of one host in this process, and a run that is killed at a place of one round.

    Places, in order: "charged" (nobody was asked yet), "drawn" and "about to send" (before and after the record of
    client `who` is on disk), "sent" (its message is out), "summed" (all are), "committed" (the round is saved).
    """

    def __init__(self, place: str = "", at: tuple[int, int] = (0, 1), who: int = 0) -> None:
        self._host = ClientHost()
        self._place, self._at, self._who = place, at, f"client{who}"
        self.silent: set[Party] = set()
        self.reply: Callable[[Party, Settled], Settled] = lambda party, said: said

    processes = (1,)

    def present(self) -> tuple[Party, ...]:
        return tuple(parties_of(CLIENTS))

    def ask(self, asks: Mapping[Party, Ask | LabAsk], deadline: float | None = None) -> Iterator[Answer]:
        visit = next(iter(asks.values()), None)
        here = isinstance(visit, Visit) and (visit.slot, visit.round) == self._at
        if here and self._place == "charged":
            raise Killed
        with pytest.MonkeyPatch.context() as patch:
            if here:
                patch.setattr(Journal, "sending", self._sending(Journal.sending))
            heard = {p: a for p, a in asks.items() if not (isinstance(a, Settle) and p in self.silent)}
            for answer in self._host.answer(heard):
                reply = answer.reply
                yield replace(answer, reply=self.reply(answer.party, reply)) if isinstance(reply, Settled) else answer
                if here and self._place == "sent" and answer.party == self._who:
                    raise Killed
        if here and self._place == "summed":
            raise Killed

    def _sending(self, real: Callable[..., None]) -> Callable[..., None]:
        def sending(journal: Journal, *arguments: Any) -> None:
            mine = journal.last().device == self._who
            if mine and self._place == "drawn":
                raise Killed
            real(journal, *arguments)
            if mine and self._place == "about to send":
                raise Killed

        return sending

    def close(self) -> None:
        pass


class World:
    """One run's folder and its devices' journals, started as often as it is killed."""

    def __init__(self, prepared: Prepared, parent: Path) -> None:
        self.prepared, self.journals = prepared, parent / "journals"
        self.folder = RunFolder.create(parent, prepared.config, "run", journals=True)

    def start(self, here: Here) -> None:
        made = Federation(clients=CLIENTS, parties=here, lab=SimulationLab(here, CLIENTS), journals=self.journals)
        Job(self.prepared, self.folder, made).run()

    def killed(self, place: str, at: tuple[int, int] = (0, 1), who: int = 0) -> None:
        with pytest.raises(Killed):
            self.start(Here(place, at, who))

    def finish(self) -> None:
        self.start(Here())

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder.ledger_path("finetune"))

    def retired(self) -> int:
        records = [json.loads(line) for line in (self.folder.path / "metrics.jsonl").read_text().splitlines()]
        return sum("retired" in record for record in records)

    def certificate(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder.path / "certificate.json").read_text())
        row: dict[str, Any] = found["rows"]["finetune"]
        return row

    def row_of(self) -> Path:
        return next(self.journals.glob("*/finetune"))


@pytest.fixture(scope="module")
def prepare_once(make_config: Callable[..., Config]) -> Callable[..., Prepared]:
    made: dict[tuple[str, ...], Prepared] = {}

    def ready(*settings: str) -> Prepared:
        if settings not in made:
            made[settings] = prepare(make_config('rows=["finetune"]', "privacy.spare_rounds=0", *settings))
        return made[settings]

    return ready


@pytest.fixture
def world(prepare_once: Callable[..., Prepared], tmp_path: Path) -> Callable[..., World]:
    return lambda *settings: World(prepare_once(*settings), tmp_path)


def require_uncharged(world: World, repeats: int, said: set[str]) -> None:
    ledger, plan = world.ledger, world.prepared.rows[0][0]
    assert ledger.spent() == plan.scheduled()
    assert len(ledger) == plan.rounds + repeats
    assert world.retired() == 0
    found = world.certificate()
    assert found["epsilon_of_what_ran"] is not None
    assert found["repeated_uncharged"]["rounds"] == repeats
    assert any(f"{repeats} interrupted rounds were repeated" in one for one in found["assumptions"])
    words = [json.loads(label["said"]) for label in ledger.labels if "said" in label]
    assert all(word.keys() == set(parties_of(CLIENTS)) for word in words)
    assert {one for word in words for one, _ in word.values()} == said
    text = (world.folder.path / "certificate.txt").read_text().replace("\n    ", " ")
    assert "every round released once, as its devices signed" in text
    assert not verify(world.folder.path, world.journals).misfits


def require_charged(world: World) -> None:
    """The round was charged again: with no round to spare, the examples sit out a later one."""
    assert len(world.ledger) == world.prepared.rows[0][0].rounds + 1
    assert not any("repeats" in label for label in world.ledger.labels)
    assert world.retired() == 1
    assert "repeated_uncharged" not in world.certificate()
    assert not verify(world.folder.path, world.journals).misfits


# ---- Every place of a round


@pytest.mark.parametrize("at", [(0, 0), (0, 1), (1, 0)])
@pytest.mark.parametrize(("place", "who"), [("charged", 0), ("drawn", 0)])
def test_a_round_killed_before_anything_left_costs_nothing(
    world: Callable[..., World], place: str, who: int, at: tuple[int, int]
) -> None:
    run = world(*SHARED)
    run.killed(place, at, who)
    run.finish()
    require_uncharged(run, 1, {"unsent"})


@pytest.mark.parametrize(
    ("place", "who"), [("drawn", 3), ("about to send", 0), ("about to send", 4), ("sent", 0), ("summed", 0)]
)
def test_a_round_of_shared_noise_that_anybody_may_have_sent_in_is_charged(
    world: Callable[..., World], place: str, who: int
) -> None:
    run = world(*SHARED)
    run.killed(place, who=who)
    run.finish()
    require_charged(run)


@pytest.mark.parametrize("protection", ["plain", "secagg"])
@pytest.mark.parametrize(
    ("place", "who", "said"),
    [("charged", 0, {"unsent"}), ("drawn", 2, {"unsent", "same"}), ("about to send", 0, {"unsent", "same"}),
     ("sent", 2, {"unsent", "same"}), ("summed", 0, {"same"})],
)  # fmt: skip
def test_vectors_with_all_of_their_noise_are_sent_again(
    world: Callable[..., World], place: str, who: int, said: set[str], protection: str
) -> None:
    run = world(*LOCAL, f"protection={protection}")
    run.killed(place, who=who)
    sent = {p.stem: load_arrays(p)["vector"] for p in run.row_of().glob("*.npz")} if place != "charged" else {}
    run.finish()
    require_uncharged(run, 1, said)
    assert run.certificate()["repeated_uncharged"]["sent_again"] == int("same" in said)
    if place == "summed":
        total = load_arrays(run.folder.path / "transcript/finetune/00001.npz")["total"]
        assert np.array_equal(total, sum(sent.values()))
        assert np.abs(total).max() > 1000


def test_a_device_that_sends_again_trains_no_more(world: Callable[..., World]) -> None:
    run = world(*LOCAL)
    run.killed("about to send", who=1)
    with pytest.MonkeyPatch.context() as patch:
        seen: list[int] = []
        real = ClientHost._encoded

        def encoded(host: ClientHost, row: Any, party: Party, carrier: Any, made: Any, step: Any) -> Any:
            seen.extend([int(party[-1])] if (step.slot, step.round) == (0, 1) else [])
            return real(host, row, party, carrier, made, step)

        patch.setattr(ClientHost, "_encoded", encoded)
        run.finish()
    assert seen == [2, 3, 4]
    require_uncharged(run, 1, {"unsent", "same"})


def test_what_devices_carry_goes_with_the_vector_that_they_send_again(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    """A second draw of what a device keeps would be a second release, however often it sends the first."""
    name = "flwf2t"
    ready = prepare(make_config(f'rows=["{name}"]'))
    assert ready.rows[0][0].strategy.carried
    run = World(ready, tmp_path)
    run.killed("summed")
    files = {p.stem: load_arrays(p) for p in run.journals.glob(f"*/{name}/*.npz")}
    with pytest.raises(Killed):
        run.start(Here("charged", (1, 0)))
    kept = load_arrays(run.folder.path / "simulation" / f"devices-{name}-1.npz")
    for party, number in parties_of(CLIENTS).items():
        for own in ready.rows[0][0].strategy.carried:
            assert np.array_equal(kept[f"own {own}-{number}"], files[party][f"own {own}"])


@pytest.mark.parametrize("settings", [LOCAL, SHARED], ids=["local", "shared"])
def test_a_round_that_is_killed_again_and_again(world: Callable[..., World], settings: tuple[str, ...]) -> None:
    """The charge of the first attempt covers the last one, as long as nothing new may have left."""
    run = world(*settings)
    places = ["charged", "drawn", "charged", *(["sent", "charged", "summed", "drawn"] if settings == LOCAL else [])]
    for place in places:
        run.killed(place)
    vectors = {p.stem: load_arrays(p)["vector"] for p in run.row_of().glob("*.npz")}
    run.finish()
    require_uncharged(run, len(places), {"unsent", "same"} if settings == LOCAL else {"unsent"})
    if settings == LOCAL:
        total = load_arrays(run.folder.path / "transcript/finetune/00001.npz")["total"]
        assert np.array_equal(total, sum(vectors.values()))


def test_what_was_sent_in_a_repetition_is_charged_in_the_next(world: Callable[..., World]) -> None:
    run = world(*SHARED)
    run.killed("drawn")
    run.killed("sent")
    run.finish()
    assert [("repeats" in label) for label in run.ledger.labels[1:4]] == [False, True, False]
    assert run.retired() == 1
    plan = run.prepared.rows[0][0]
    assert len(run.ledger) == plan.rounds + 2
    assert not verify(run.folder.path, run.journals).misfits


def test_no_spare_round_and_no_round_without_its_cohorts(world: Callable[..., World]) -> None:
    """Every round of a run is killed before anything left it, and none retires anybody."""
    run = world(*SHARED)
    for slot, round in run.prepared.rows[0][0].schedule():
        run.killed("charged", (slot, round))
        run.killed("drawn", (slot, round))
    run.finish()
    require_uncharged(run, 2 * run.prepared.rows[0][0].rounds, {"unsent"})


# ---- Journals that cannot be relied on, and words that do not count


def files_of(run: World) -> list[Path]:
    return [p for p in run.row_of().iterdir() if p.name.startswith("client2")]


def restored_one(run: World, copy: Path) -> None:
    for path in files_of(run):
        path.unlink()
        shutil.copy2(copy / path.relative_to(run.journals), path)


def restored_in_place(run: World, copy: Path) -> None:
    for path in files_of(run):
        path.write_bytes((copy / path.relative_to(run.journals)).read_bytes())


def restored_all(run: World, copy: Path) -> None:
    shutil.rmtree(run.journals)
    shutil.copytree(copy, run.journals)


def moved_all(run: World, copy: Path) -> None:
    run.journals.rename(run.journals.with_name("aside"))
    copy.rename(run.journals)


def lost_one(run: World, copy: Path) -> None:
    for path in files_of(run):
        path.unlink()


def lost_all(run: World, copy: Path) -> None:
    shutil.rmtree(run.journals)


@pytest.mark.parametrize("settings", [LOCAL, SHARED], ids=["local", "shared"])
@pytest.mark.parametrize(
    "harm", [restored_one, restored_in_place, restored_all, moved_all, lost_one, lost_all], ids=lambda f: f.__name__
)
def test_a_journal_that_was_lost_or_set_back_is_charged(
    world: Callable[..., World], harm: Callable[[World, Path], None], settings: tuple[str, ...], tmp_path: Path
) -> None:
    """The copy is of an instant at which the device could have said that nothing had left."""
    run = world(*settings)
    copy = tmp_path / "copy"
    real = Journal.sending

    def sending(journal: Journal, *arguments: Any) -> None:
        if not copy.exists() and journal.last().attempts == 2:
            shutil.copytree(run.journals, copy)
        real(journal, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "sending", sending)
        run.killed("summed")
    harm(run, copy)
    run.finish()
    require_charged(run)


def test_without_harm_the_same_copy_changes_nothing(world: Callable[..., World], tmp_path: Path) -> None:
    """Negative control of the test above: taking a copy is no harm."""
    run = world(*SHARED)
    run.killed("charged")
    shutil.copytree(run.journals, tmp_path / "copy")
    run.finish()
    require_uncharged(run, 1, {"unsent"})


def test_a_device_that_does_not_answer_is_charged(world: Callable[..., World]) -> None:
    run = world(*SHARED)
    run.killed("charged")
    here = Here()
    here.silent = {"client3"}
    # Passed over, the device would refuse; that the run charges does not rest on it.
    with suppress(JournalRefused):
        run.start(here)
    require_charged(run)


def test_a_run_without_journals_asks_nobody(prepare_once: Callable[..., Prepared], tmp_path: Path) -> None:
    ready, asked = prepare_once(*SHARED), []
    folder = RunFolder.create(tmp_path, ready.config, "run")
    for here in (Here("charged"), Here()):
        here.reply = lambda party, said: asked.append(party) or said  # type: ignore[func-returns-value]
        made = Federation(clients=CLIENTS, parties=here, lab=SimulationLab(here, CLIENTS))
        try:
            Job(ready, folder, made).run()
        except Killed:
            continue
    assert not asked
    assert len(Ledger(folder.ledger_path("finetune"))) == ready.rows[0][0].rounds + 1
    assert "repeated_uncharged" not in json.loads((folder.path / "certificate.json").read_text())["rows"]["finetune"]


def forgeries(run: World) -> dict[str, Callable[[Settled], Settled]]:
    ledger = run.ledger
    here = Attempt(
        run=run.folder.identity("run"), row="finetune", device="client3", entry=len(ledger), head=ledger.last_hash
    )
    stranger, own = Identity.new("client3"), Identity.load(next(run.journals.glob("*/client3.key")))

    def signed(attempt: Attempt, by: Identity = own, said: str = "unsent") -> Callable[[Settled], Settled]:
        return lambda _: Settled(said="unsent", proof=by.prove(attempt.saying(said)).hex())

    return {
        "nothing": lambda _: Settled(said="unsent", proof=""),
        "no hexadecimal digits": lambda _: Settled(said="unsent", proof="x" * 192),
        "another key": signed(here, stranger),
        "another device": signed(replace(here, device="client2")),
        "another run": signed(replace(here, run="0" * 16)),
        "another row": signed(replace(here, row="replay")),
        "another entry": signed(replace(here, entry=here.entry - 1, head=ledger.heads[-2])),
        "another attempt of the same round": signed(replace(here, head="ab" * 32)),
        "something else": signed(here, said="same"),
        "another word": lambda found: Settled(said="perhaps", proof=found.proof),
    }


def test_a_forged_statement_is_charged(world: Callable[..., World], tmp_path: Path) -> None:
    run = world(*SHARED)
    run.killed("charged")
    whole = forgeries(run)
    for name, forged in whole.items():
        one = World.__new__(World)
        one.prepared, one.journals = run.prepared, run.journals.rename(tmp_path / f"{name} journals")
        one.folder = RunFolder.existing(Path(shutil.copytree(run.folder.path, tmp_path / name)))
        # Journals are moved, not copied: they are to be whole. What the run makes of them is then undone.
        run.journals = one.journals
        here = Here("charged")
        here.reply = lambda party, said, forged=forged: forged(said) if party == "client3" else said  # type: ignore[misc]
        with pytest.raises(Killed):
            one.start(here)
        assert "repeats" not in one.ledger.labels[-1], name
        # No round to spare: what is charged again is retired.
        assert one.ledger.labels[-1]["retired"] == 1, name
    # Negative control: unchanged, the words of the same devices count.
    with pytest.raises(Killed):
        run.start(Here("charged"))
    assert run.ledger.labels[-1]["repeats"] == 2


def test_the_word_of_the_server_counts_for_nothing(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault: the run claims a repetition that no device allowed. Devices know better."""
    run = world(*SHARED)
    run.killed("summed")
    group = run.prepared.scenario.groups[0]
    claimed = Repeat(covered=frozenset({(group, 0)}), what={"repeats": 2, "said": "{}"})
    monkeypatch.setattr(loop, "repeat_of", lambda *_: claimed)
    with pytest.raises(JournalRefused, match="refuses to repeat entry 2 of row finetune without a charge"):
        run.finish()


def test_devices_without_journals_repeat_nothing_without_a_charge(
    prepare_once: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepare_once(*SHARED)
    folder, here = RunFolder.create(tmp_path, ready.config, "run", journals=True), Here()
    claimed = Repeat(covered=frozenset({(ready.scenario.groups[0], 0)}), what={})
    monkeypatch.setattr(loop, "repeat_of", lambda *_: claimed)
    with pytest.raises(JournalRefused, match="it keeps no journal that allows it"):
        Job(ready, folder, Federation(clients=CLIENTS, parties=here, lab=SimulationLab(here, CLIENTS))).run()


@pytest.mark.parametrize("change", ["none", "said", "device", "nobody", "repeats"])
def test_an_entry_whose_words_were_changed_is_found(world: Callable[..., World], change: str, tmp_path: Path) -> None:
    """Somebody writes the ledger anew, with another word and every hash after it."""
    run = world(*LOCAL)
    run.killed("charged")
    run.finish()
    with Ledger(tmp_path / "anew.jsonl") as anew:
        for line in run.ledger.path.read_text().splitlines():
            entry = json.loads(line)
            what = dict(entry["what"])
            if "said" in what:
                words = json.loads(what["said"])
                if change == "said":
                    words["client1"][0] = "same"
                if change == "device":
                    words["client1"][1] = words["client0"][1]
                what["repeats"] -= change == "repeats"
                what["said"] = json.dumps({} if change == "nobody" else words)
            anew.charge([Charge.from_json(charge) for charge in entry["charges"]], **what)
        found = [why for _, why in contradicted([], {"finetune": anew}, run.folder.identity("run"), None)]
    if change == "none":
        assert found == []
    elif change in ("said", "device"):
        assert found == ["says that client1 signed for entry 2, and it did not"]
    else:
        (only,) = found
        assert "does not say what devices signed" in only


def test_the_record_is_on_disk_before_the_message_leaves(prepare_once: Callable[..., Prepared], tmp_path: Path) -> None:
    """Whoever cuts the power when a message leaves finds a journal that does not deny it."""
    run = World(prepare_once(*SHARED), tmp_path)
    checked: list[Party] = []

    class Watched(Here):
        def ask(self, asks: Mapping[Party, Ask | LabAsk], deadline: float | None = None) -> Iterator[Answer]:
            for answer in super().ask(asks, deadline):
                if isinstance(answer.reply, Sent):
                    visit = asks[answer.party]
                    assert isinstance(visit, Visit)
                    assert answer.reply.items
                    journal = Journal(run.journals, run.folder.identity("run"), "finetune", answer.party)
                    assert journal.settle(visit.ledger).said == ""
                    checked.append(answer.party)
                yield answer

    run.start(Watched())
    assert len(checked) == CLIENTS * run.prepared.rows[0][0].rounds


def test_one_device_that_sent_has_its_group_charged_and_no_other(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    ready = prepare(
        make_config(
            'rows=["finetune"]', "finetune.noise=shared", "scenario.arrival=asynchronous", "scenario.max_delay=1",
            "privacy.spare_rounds=1",
        )
    )  # fmt: skip
    groups = ready.scenario.groups
    first = [k for k in range(CLIENTS) if groups[k] == groups[0]]
    assert 0 < len(first) < CLIENTS
    run = World(ready, tmp_path)
    # Both groups are there in the second slot, and the first client alone has sent.
    run.killed("sent", at=(1, 0), who=0)
    run.finish()
    place = next(n for n, label in enumerate(run.ledger.labels) if "repeats" in label)
    entry = json.loads(run.ledger.path.read_text().splitlines()[place])
    assert {charge["cohort"]["group"] for charge in entry["charges"]} == {groups[0]}
    assert {group for group, _ in json.loads(entry["what"]["covered"])} == set(groups) - {groups[0]}
    assert json.loads(entry["what"]["said"]).keys() == {f"client{k}" for k in range(CLIENTS) if k not in first}
    assert not verify(run.folder.path, run.journals).misfits
    assert run.certificate()["repeated_uncharged"] == {"rounds": 1, "sent_again": 0}


@pytest.mark.parametrize(("settings", "free"), [(LOCAL, True), (SHARED, False)], ids=["local", "shared"])
def test_a_worker_process_that_is_killed(
    prepare_once: Callable[..., Prepared], tmp_path: Path, settings: tuple[str, ...], free: bool
) -> None:
    """SIGKILL for the process that plays all clients: at once after the charge, and when its round is summed."""
    run = World(prepare_once(*settings), tmp_path)
    processes = run.folder.path / "simulation" / "processes-finetune.json"

    def kill() -> None:
        (worker,) = json.loads(processes.read_text())["workers"]
        os.kill(worker, signal.SIGKILL)

    real = RowLedger.charge

    def charge(ledger: RowLedger, *arguments: Any, **what: Any) -> Any:
        retired = real(ledger, *arguments, **what)
        if arguments[:2] == (0, 1):
            kill()
        return retired

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowLedger, "charge", charge)
        with pytest.raises(WorkerLost):
            train(run.prepared, run.folder, journals=run.journals)

    def tick(seen: Tick) -> None:
        if (seen.slot, seen.round) == (1, 0):
            kill()
            raise Killed

    with pytest.raises(Killed):
        train(run.prepared, run.folder, tick, journals=run.journals)
    train(run.prepared, run.folder, journals=run.journals)
    labels = run.ledger.labels
    rounds = [(label["slot"], label["round"]) for label in labels]
    assert rounds == [(0, 0), (0, 1), (0, 1), (1, 0), (1, 0), (1, 1)]
    # The first kill never costs anything; the second came when vectors had left.
    repeats = [place for place, label in enumerate(labels) if "repeats" in label]
    assert repeats == ([2, 4] if free else [2])
    assert [place for place, label in enumerate(labels) if "retired" in label] == ([] if free else [5])
    assert not verify(run.folder.path, run.journals).misfits
