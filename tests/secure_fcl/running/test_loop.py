import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.errors import CryptoError
from evaluation.files import read_jsonl
from privacy import Ledger, statements, worst
from secure_fcl.config import Config, load_config
from secure_fcl.data import Dataset, load_hapt
from secure_fcl.engines.simulation import load_arrays
from secure_fcl.errors import ConfigInvalid, WorkerLost
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import Prepared, prepare
from secure_fcl.running.records import Tick
from secure_fcl.streams import build_scenario

# Killed runs repeat a round; without room for it their cohorts would be retired at the end.
ROWS = ('rows=["replay","class_sums"]', "replay_noise=true", "privacy.spare_rounds=2")


@pytest.fixture(scope="module")
def bfv(run_tiny):  # type: ignore[no-untyped-def]
    return run_tiny(*ROWS, "protection=bfv", "workers=2")


@pytest.fixture(scope="module")
def mpc(run_tiny):  # type: ignore[no-untyped-def]
    return run_tiny(*ROWS, "protection=mpc")


@pytest.fixture(scope="module")
def secagg(run_tiny):  # type: ignore[no-untyped-def]
    return run_tiny(*ROWS, "protection=secagg", "workers=2")


@pytest.fixture(scope="module")
def prepared(make_config: Callable[..., Config]) -> Prepared:
    return prepare(make_config(*ROWS))


def test_every_protocol_and_number_of_workers_gives_the_same_metrics(reference, bfv, mpc, secagg) -> None:  # type: ignore[no-untyped-def]
    assert len(reference.metrics) > 1000
    assert bfv.metrics == reference.metrics
    assert mpc.metrics == reference.metrics
    assert secagg.metrics == reference.metrics


def test_every_decrypted_sum_is_the_plain_sum_bit_for_bit(reference, bfv, mpc, secagg) -> None:  # type: ignore[no-untyped-def]
    plain = reference.transcript
    assert len(plain) == 2 * 2 + 2
    for other in (bfv.transcript, mpc.transcript, secagg.transcript):
        assert other.keys() == plain.keys()
        for name, arrays in plain.items():
            assert other[name]["total"].dtype == np.int64
            assert np.array_equal(other[name]["total"], arrays["total"])
            assert np.abs(arrays["total"]).max() > 1000
    assert bfv.digest() == mpc.digest() == secagg.digest() == reference.digest()


def test_without_repeatable_noise_two_runs_differ(run_tiny, reference) -> None:  # type: ignore[no-untyped-def]
    other = run_tiny('rows=["class_sums"]')
    name = "class_sums/00000"
    assert not np.array_equal(other.transcript[name]["total"], reference.transcript[name]["total"])


def test_all_parties_are_processes_of_their_own(reference, bfv, mpc) -> None:  # type: ignore[no-untyped-def]
    expected = {"plain": {"server"}, "bfv": {"server", "keyholder"}, "mpc": {"server", "compute0", "compute1"}}
    for run, protocol, workers in ((reference, "plain", 1), (bfv, "bfv", 2), (mpc, "mpc", 1)):
        for row in ("replay", "class_sums"):
            found = run.processes(row)
            helpers = {name: pid for name, pid in found.items() if name not in ("run", "workers")}
            assert set(helpers) == expected[protocol]
            assert len(found["workers"]) == workers
            pids = [found["run"], *found["workers"], *helpers.values()]
            assert len(set(pids)) == len(pids)
            assert found["run"] == os.getpid()


def test_every_client_sends_every_round_the_same_size(reference, bfv, mpc, secagg, tiny_scenario) -> None:  # type: ignore[no-untyped-def]
    sizes = [len(tiny_scenario.experience(k, t).index) for k in range(5) for t in range(2)]
    assert 0 in sizes
    for run in (reference, bfv, mpc, secagg):
        for record in run.records("cost.jsonl"):
            shares = Counter(message["client"] for message in record["ciphertexts"])
            assert set(shares) == set(range(5))
            assert len(set(shares.values())) == 1
            per_client = {k: sorted(m["bytes"] for m in record["ciphertexts"] if m["client"] == k) for k in range(5)}
            assert len({tuple(v) for v in per_client.values()}) == 1
            uploads = sum(m["bytes"] for m in record["ciphertexts"])
            # Masks cost a second exchange, in which clients answer with shares.
            assert record["bytes_up"] > uploads if run is secagg else record["bytes_up"] == uploads


def test_ciphertexts_never_repeat_although_the_noise_does(bfv) -> None:  # type: ignore[no-untyped-def]
    hashes = [m["sha256"] for record in bfv.records("cost.jsonl") for m in record["ciphertexts"]]
    assert len(set(hashes)) == len(hashes) == 6 * 5


def planned(plan: RowPlan) -> float:
    from privacy import spent

    history = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
    found = worst(statements(history, plan.accounting_delta))
    assert found is not None
    return found.epsilon


def test_the_ledger_of_a_finished_run_is_the_plan(reference, bfv, prepared: Prepared) -> None:  # type: ignore[no-untyped-def]
    for plan, multiplier in prepared.rows:
        for run in (reference, bfv):
            certificate = run.certificate(plan.name)
            assert certificate["epsilon_of_what_ran"] == planned(plan)
            assert certificate["ledger_entries"] == plan.rounds
            assert certificate["noise_multiplier"] == multiplier
            assert certificate["randomness"].count("secret") == 1
        target = prepared.config.section(plan.name).epsilon
        # What ran is below the target: the spare rounds were not needed. All that was admitted is certified.
        assert 0.4 * target < certificate["epsilon_of_what_ran"] < certificate["epsilon"] <= target
        assert certificate["epsilon"] > 0.98 * target


def test_metrics_hold_neither_times_nor_bytes(reference) -> None:  # type: ignore[no-untyped-def]
    records = reference.records("metrics.jsonl")
    assert Counter((r["row"], r["kind"]) for r in records) == {
        ("replay", "round"): 4, ("replay", "task"): 2, ("replay", "final"): 1,
        ("class_sums", "round"): 2, ("class_sums", "task"): 2, ("class_sums", "final"): 1,
    }  # fmt: skip
    assert not any("second" in key or "byte" in key for r in records for key in r)
    final = [r for r in records if r["kind"] == "final"]
    assert all(0.0 <= r["micro"] <= 1.0 for r in final)
    # Class sums at epsilon 2 on digits: far above chance (a tenth), whatever the noise.
    assert final[1]["micro"] > 0.6


def test_no_poisson_coin_is_stored(reference) -> None:  # type: ignore[no-untyped-def]
    for path in reference.path.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            names = set(file.files)
        match path.parent.name:
            case "simulation":
                assert all(n.startswith(("keys", "items", "held")) for n in names)
            case "model":
                assert names <= {"weights", "sums"}
            case _:
                assert names <= {"weights", "sums", "total"}
    coins = [p.relative_to(reference.path).parts[0] for p in reference.path.rglob("*coins*")]
    assert set(coins) == {"simulation"}


def certified(folder: RunFolder, row: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder.path / "certificate.json").read_text())["rows"][row]
    return found


def test_interruptions_and_lost_processes_change_nothing_but_the_ledger(
    reference,
    prepared: Prepared,
    tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    folder = RunFolder.create(tmp_path, prepared.config, "run")
    ticks: list[Tick] = []

    def attempt(watch: Callable[[Tick], None] = ticks.append, stopped: Callable[[], bool] = lambda: False) -> None:
        with folder.locked():
            train(prepared, folder, watch, stopped)

    def kill(name: str, place: int) -> Callable[[Tick], None]:
        def watch(tick: Tick) -> None:
            ticks.append(tick)
            if len(ticks) == place:
                found = json.loads((folder.path / "simulation" / f"processes-{tick.row}.json").read_text())
                pid = found[name][0] if name == "workers" else found[name]
                os.kill(pid, signal.SIGKILL)

        return watch

    with pytest.raises(Interrupted):
        attempt(stopped=lambda: len(ticks) == 1)
    with pytest.raises(WorkerLost, match="--resume") as lost:
        attempt(kill("workers", 3))
    assert "\n" not in str(lost.value)
    with pytest.raises(CryptoError, match=r"server .* ended") as gone:
        attempt(kill("server", len(ticks) + 2))
    assert "\n" not in str(gone.value)
    attempt()
    assert (folder.path / "metrics.jsonl").read_bytes() == reference.metrics
    entries = {}
    for plan, _ in prepared.rows:
        ledger = Ledger(folder.ledger_path(plan.name))
        entries[plan.name] = len(ledger)
        mine, theirs = ledger.spent(), Ledger(reference.path / "ledger" / f"{plan.name}.jsonl").spent()
        assert mine.keys() == theirs.keys()
        assert all(mine[cohort][event] >= count for cohort in theirs for event, count in theirs[cohort].items())
        ledger.close()
    # Two rounds were charged and lost: both are charged again, and the spare rounds were planned for that.
    assert sum(entries.values()) == 6 + 2
    assert certified(folder, "replay")["epsilon"] == reference.certificate("replay")["epsilon"] <= 8.0
    # A crash decided what ran, so nothing less is claimed for it.
    assert certified(folder, "replay")["epsilon_of_what_ran"] is None
    kept, expected = (load_arrays(p / "simulation" / "memory-replay-001.npz") for p in (folder.path, reference.path))
    assert all(np.array_equal(kept[n], expected[n]) for n in expected)


def test_a_short_transcript_is_enough_to_resume(make_config: Callable[..., Config], tmp_path: Path) -> None:
    settings = ('rows=["class_sums"]', "replay_noise=true", "transcript=latest", "scenario.tasks=5")
    ready = prepare(make_config(*settings))
    folders = [RunFolder.create(tmp_path, ready.config, name) for name in ("whole", "parts")]
    ticks: list[Tick] = []
    train(ready, folders[0])
    with pytest.raises(Interrupted):
        train(ready, folders[1], ticks.append, lambda: len(ticks) == 3)
    train(ready, folders[1], ticks.append)
    assert len(ticks) == 5
    whole, parts = ((f.path / "metrics.jsonl").read_bytes() for f in folders)
    assert whole == parts
    assert len(list((folders[0].path / "transcript" / "class_sums").iterdir())) <= 2


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(reference, prepared: Prepared) -> None:  # type: ignore[no-untyped-def]
    before = reference.metrics
    train(prepared, RunFolder.existing(reference.path))
    assert reference.metrics == before
    assert read_jsonl(reference.path / "metrics.jsonl").torn is None


def test_noise_is_never_shared_between_different_runs(
    make_config: Callable[..., Config], prepared: Prepared, digits: Dataset
) -> None:
    secret = bytes(32)

    def key(*settings: str, secret: bytes = secret) -> bytes:
        config = make_config(*ROWS, *settings)
        return Prepared(config, build_scenario(digits, config), ()).noise_key(secret)

    assert key() == prepared.noise_key(secret)
    assert len(key()) == 32
    for same in ("protection=bfv", "workers=2", "data.data_dir=/elsewhere"):
        assert key(same) == key()
    changes = ("seed=2", "replay.epsilon=4", "scenario.holdout=0", "training.q_current=0.5", "attacks.client=1")
    assert len({key(), key(secret=bytes(31) + b"1"), *map(key, changes)}) == 2 + len(changes)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("device=cuda:99", "device = 'cuda:99' cannot be used"),
        ("device=quantum", "device = 'quantum' cannot be used"),
        ("device=meta", "device = 'meta' cannot be used"),
    ],
)
def test_devices_that_are_not_there(make_config: Callable[..., Config], setting: str, named: str) -> None:
    with pytest.raises(ConfigInvalid, match=named) as caught:
        prepare(make_config('rows=["class_sums"]', setting))
    assert "\n" not in str(caught.value)


def test_a_view_of_a_client_that_does_not_exist(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigInvalid, match=r"attacks\.client = 5: the clients are 0\.\.4"):
        prepare(make_config("attacks.enabled=true", "attacks.client=5"))


@pytest.mark.slow
def test_class_sums_meet_their_targets_on_hapt(tmp_path: Path) -> None:
    assert load_hapt().test.sum() == 5360
    means = {}
    for place in ("shared", "local"):
        micro = []
        for seed in (1, 2, 3):
            config = load_config(
                None, ['rows=["class_sums"]', f"class_sums.noise={place}", f"seed={seed}", "attacks.enabled=false"]
            )
            ready = prepare(config)
            folder = RunFolder.create(tmp_path, config, f"{place}-{seed}")
            train(ready, folder)
            records = read_jsonl(folder.path / "metrics.jsonl").records
            micro.append(next(r for r in records if r["kind"] == "final")["micro"])
            epsilon = json.loads((folder.path / "certificate.json").read_text())["rows"]["class_sums"]["epsilon"]
            assert epsilon <= 2.0
        means[place] = float(np.mean(micro))
    assert means["shared"] >= 0.80
    assert means["local"] >= 0.74
    assert means["shared"] > means["local"]
