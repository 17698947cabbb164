"""The loop over parties of this test: one host in this process, no worker processes, no sockets."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.keys.roster import Identity
from crypto.opening import open_party
from crypto.planning.plans import Plan
from crypto.running.driver import Party as Helper
from secure_fcl.engines.commands import Answered, Ask, Keys, LabAsk, Open, Simulated, Visit
from secure_fcl.engines.federation import Federation
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.keys import write_identities
from secure_fcl.engines.lab import SimulationLab
from secure_fcl.engines.parties import Answer, Party, parties_of
from secure_fcl.errors import ConfigInvalid, FrameRefused, SecureFclError, SumAborted
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted, Job
from secure_fcl.running.prepare import Prepared, prepare, prepare_deployed


class HereParties:
    """Clients of one host in this process. Parties for which `silent` says so are asked nothing and answer nothing."""

    def __init__(
        self, clients: int, identities: Path | None = None,
        silent: Callable[[Party, Ask | LabAsk], bool] = lambda party, ask: False,
    ) -> None:  # fmt: skip
        self._clients = clients
        self._host = ClientHost(identities)
        self._silent = silent
        self.asked: list[str] = []

    @property
    def processes(self) -> Sequence[int]:
        return (os.getpid(),)

    def present(self) -> tuple[Party, ...]:
        return tuple(parties_of(self._clients))

    def ask(self, asks: Mapping[Party, Ask | LabAsk], deadline: float | None = None) -> Iterator[Answer]:
        self.asked += [type(ask).__name__ for ask in asks.values()]
        yield from self._host.answer({party: ask for party, ask in asks.items() if not self._silent(party, ask)})

    def close(self) -> None:
        pass


@contextmanager
def helpers_here(plan: Plan, files: Mapping[str, Path], journals: Mapping[str, Path]) -> Iterator[Mapping[str, Helper]]:
    yield {role: open_party(plan, role, identity=Identity.load(file)) for role, file in files.items()}


def federation(parties: HereParties, clients: int, lab: bool = True) -> Federation:
    found = SimulationLab(parties, clients) if lab else None
    return Federation(clients=clients, parties=parties, lab=found, helpers=helpers_here)


def played(parent: Path, prepared: Prepared, parties: HereParties, lab: bool = True) -> RunFolder:
    folder = RunFolder.create(parent, prepared.config, "run")
    Job(prepared, folder, federation(parties, prepared.scenario.clients, lab)).run()
    return folder


def charges(folder: Path, row: str) -> list[Any]:
    return [json.loads(line)["charges"] for line in (folder / "ledger" / f"{row}.jsonl").read_text().splitlines()]


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


ROWS = ('rows=["replay","class_sums"]', "replay_noise=true", "privacy.spare_rounds=2")


@pytest.mark.parametrize("protection", ["plain", "secagg"])
def test_other_parties_give_the_same_run(
    reference: Any, open_run: Any, make_config: Callable[..., Any], tmp_path: Path, protection: str
) -> None:
    folder = played(tmp_path, prepare(make_config(*ROWS, f"protection={protection}")), HereParties(5))
    assert (folder.path / "metrics.jsonl").read_bytes() == reference.metrics
    mine, theirs = open_run(folder.path).transcript, reference.transcript
    assert mine.keys() == theirs.keys()
    for name, found in theirs.items():
        assert found["total"].any()
        for key, array in found.items():
            np.testing.assert_array_equal(mine[name][key], array)
    for row in ("replay", "class_sums"):
        assert len(charges(reference.path, row)) > 0
        assert charges(folder.path, row) == charges(reference.path, row)
    files = sorted(p.relative_to(reference.path).as_posix() for p in reference.path.rglob("simulation/*.npz"))
    assert sorted(p.relative_to(folder.path).as_posix() for p in folder.path.rglob("simulation/*.npz")) == files
    for file in files:
        one, other = arrays(folder.path / file), arrays(reference.path / file)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_run_of_worker_processes_goes_on_over_other_parties(make_config: Callable[..., Any], tmp_path: Path) -> None:
    """What devices keep, and the files in which it lies, are the same whoever plays them."""
    settings = ('rows=["derpp"]', "replay_noise=true", "training.trainer=stacked", "transcript=latest")
    prepared = prepare(make_config(*settings))
    whole = played(tmp_path / "whole", prepared, HereParties(5))
    folder = RunFolder.create(tmp_path, prepared.config, "run")
    rounds = iter([False, False, True])
    with pytest.raises(Interrupted):
        train(prepared, folder, stopped=lambda: next(rounds))
    Job(prepared, folder, federation(HereParties(5), 5)).run()
    assert (folder.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


def test_a_silent_party_is_missing_from_one_sum_and_back_in_the_next(
    reference: Any, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    def silent(party: Party, ask: Ask | LabAsk) -> bool:
        return party == "client3" and isinstance(ask, Visit) and (ask.slot, ask.round) == (0, 1)

    folder = played(tmp_path, prepare(make_config(*ROWS)), HereParties(5, silent=silent))
    costs = [json.loads(line) for line in (folder.path / "cost.jsonl").read_text().splitlines()][:4]
    senders = [{sent["client"] for sent in cost["ciphertexts"]} for cost in costs]
    everybody = {0, 1, 2, 3, 4}
    assert senders == [everybody, everybody - {3}, everybody, everybody]
    # Noise and coins are those of the run without silence: the first round agrees, and the second lacks one vector.
    first, second = (arrays(folder.path / f"transcript/replay/0000{n}.npz")["total"] for n in (0, 1))
    np.testing.assert_array_equal(first, reference.transcript["replay/00000"]["total"])
    assert np.any(second != reference.transcript["replay/00001"]["total"])
    # Charged is what was planned, whoever came.
    assert charges(folder.path, "replay") == charges(reference.path, "replay")


def test_a_party_that_never_answers_is_left_out(make_config: Callable[..., Any], tmp_path: Path) -> None:
    parties = HereParties(5, silent=lambda party, ask: party == "client1")
    folder = played(tmp_path, prepare(make_config('rows=["class_sums"]')), parties)
    costs = [json.loads(line) for line in (folder.path / "cost.jsonl").read_text().splitlines()]
    assert [{sent["client"] for sent in cost["ciphertexts"]} for cost in costs] == [{0, 2, 3, 4}] * 2
    # Who never answered to its keys is not visited: each of two rounds asks the other four.
    assert parties.asked.count("Visit") == 2 * 4


def test_too_many_silent_parties_end_the_run(make_config: Callable[..., Any], tmp_path: Path) -> None:
    prepared = prepare(make_config('rows=["class_sums"]'))
    with pytest.raises(SumAborted, match="2 of 5 clients got no keys"):
        played(tmp_path, prepared, HereParties(5, silent=lambda party, ask: party in ("client1", "client2")))
    late = HereParties(5, silent=lambda party, ask: isinstance(ask, Visit) and party in ("client1", "client2"))
    with pytest.raises(SumAborted, match="secure sum of round 0 was aborted"):
        played(tmp_path / "late", prepared, late)


def test_without_a_lab_simulated_clients_refuse_and_nothing_is_charged(
    make_config: Callable[..., Any], tmp_path: Path
) -> None:
    # The same run over devices that keep their own state: tests/secure_fcl/engines/deployed/test_runs.py.
    keys = tmp_path / "keys"
    write_identities([*parties_of(5), "server"], keys)
    prepared = prepare(make_config(*ROWS, f"identities={keys}"))
    with pytest.raises(SecureFclError, match="a simulated client is begun with Open"):
        played(tmp_path, prepared, HereParties(5, keys), lab=False)
    assert not (tmp_path / "run" / "ledger" / "replay.jsonl").exists()


def test_a_deployment_names_its_roster_and_reads_no_training_data(make_config: Callable[..., Any]) -> None:
    config = make_config('rows=["class_sums"]')
    scenario = prepare(config).scenario
    with pytest.raises(ConfigInvalid, match="identities = '' makes keys in a simulation alone"):
        prepare_deployed(config, scenario)
    with pytest.raises(ConfigInvalid, match=r"attacks.enabled = true reads training data"):
        prepare_deployed(make_config("attacks.enabled=true", "identities=keys"), scenario)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (('rows=["local_only"]',), "row local_only runs in a simulation alone: every client has a model of its own"),
        (('rows=["glfc"]', "glfc.noise=none", "glfc.epsilon=inf"), "row glfc .* side channels"),
    ],
)
def test_what_needs_a_lab_is_refused_without(
    make_config: Callable[..., Any], tmp_path: Path, settings: tuple[str, ...], named: str
) -> None:
    with pytest.raises(SecureFclError, match=named):
        played(tmp_path, prepare(make_config(*settings)), HereParties(5), lab=False)


def test_a_device_without_keys_says_so(make_config: Callable[..., Any]) -> None:
    prepared = prepare(make_config('rows=["class_sums"]'))
    plan, multiplier = prepared.rows[0]
    given = Simulated(noise_multiplier=multiplier, charged=(), secret=None)
    host = ClientHost()
    list(host.answer({"client0": Open(row=plan.name, config=prepared.config, simulated=given)}))
    with pytest.raises(SecureFclError, match="no folder of private keys"):
        list(host.answer({"client0": Keys(plan=plan.secure_plan(0), items=())}))


def test_answers_of_another_kind_are_refused(make_config: Callable[..., Any], tmp_path: Path) -> None:
    class Confused(HereParties):
        def ask(self, asks: Mapping[Party, Ask | LabAsk], deadline: float | None = None) -> Iterator[Answer]:
            for answer in super().ask(asks, deadline):
                yield replace(answer, reply=Answered(items=(), ready=True))

    with pytest.raises(FrameRefused, match="client0 answered Answered, not Done"):
        played(tmp_path, prepare(make_config('rows=["class_sums"]')), Confused(5))
