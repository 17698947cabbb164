"""Planted bugs of rounds that share a tree's noise: `bugs.py` holds the others."""

from planting import Change

DEVICE, SHARES = "secure_fcl/engines/device.py", "privacy/tree_shares.py"
LAW = "tests/laws/test_tree.py::test_models_carry_the_noise_of_a_tree[1-0.0-6]"
ROWS = "tests/secure_fcl/rows/test_trees.py::test_"

TREES = (
    Change(
        name="a node's noise used for the next node",
        file="secure_fcl/engines/host.py",
        old='noise.share(len(values), row.coins.stream(*labels, "noise")) if noise else None',
        new="row.__dict__.setdefault("
        'f"share of {labels[2]}", noise.share(len(values), row.coins.stream(*labels, "noise"))) if noise else None',
        tests=(LAW,),
    ),
    Change(
        name="an example in two rounds of a tree",
        file=DEVICE,
        old="        chunk, places = self._plan.chunk(round), self._plan.storage.places_per_chunk\n",
        new="        chunk, places = self._plan.chunk(round // 2), self._plan.storage.places_per_chunk\n",
        tests=(LAW,),
        # The device refuses, and the run ends.
        said="an example takes part 2 times",
    ),
    Change(
        name="a second participation that nobody counts",
        file=DEVICE,
        old="        self.tree.begin(self._current(slot, round, retired).tolist())\n",
        new="        self.tree.begin([])\n",
        tests=(f"{ROWS}a_second_participation_is_refused_before_anything_is_used",),
        said="DID NOT RAISE",
        where="run",
    ),
    Change(
        name="a tree charged as one release",
        file="secure_fcl/rows/row_plan.py",
        old='self.tree.events() if stratum == "current" else {}',
        new='list(self.tree.events()) if stratum == "current" else {}',
        tests=(f"{ROWS}every_example_is_charged_the_whole_tree_in_its_one_round",),
        where="run",
    ),
    Change(
        name="a node that is sent and stays open",
        file=SHARES,
        old="            self._open[level] = 0.0\n",
        new="            self._open[level] *= 1.0\n",
        tests=(f"{ROWS}what_devices_send_adds_up_to_all_that_was_made",),
        where="run",
    ),
)
