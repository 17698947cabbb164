"""What memories hold is what their own coins and the public thresholds say, and nobody reads anything else later."""

from collections.abc import Callable

import numpy as np
from lawbench import NOISE, LawRun, broken, noise_laws, rate_laws, updates
from scipy import stats

from secure_fcl.engines.simulation import SIMULATION, load_arrays


def test_held_examples(law_run: Callable[..., dict[str, LawRun]]) -> None:
    tight = (f"replay.{NOISE}", "scenario.tasks=4", "memory.capacity=24", "memory.keep=0.6", "training.rounds=3")
    run = law_run("replay", settings=tight)["replay"]
    plan, scenario = run.plan, run.plan.scenario
    coins = load_arrays(run.folder / SIMULATION / "coins-replay.npz")
    keys = np.concatenate([coins[f"keys{k}"] for k in range(scenario.clients)])
    assert stats.kstest(keys, "uniform").pvalue > 1e-6
    assert len(np.unique(keys)) == len(keys)
    thresholds = plan.memory.thresholds
    assert thresholds[0] > thresholds[-1]
    for slot in range(scenario.slots):
        held = run.held(slot)
        for client in range(scenario.clients):
            arrived = {one.index for one in run.examples if one.client == client and 0 <= one.task <= slot}
            items = {int(item): key for item, key in zip(coins[f"items{client}"], coins[f"keys{client}"], strict=True)}
            expected = {index for index in arrived if items[int(scenario.units.item[index])] < thresholds[slot]}
            assert held[client] == expected, (slot, client)
    sums = updates(run, run.rounds)
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))
