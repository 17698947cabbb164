"""Planted bugs of canaries that go through a run: `bugs.py` holds the others."""

from planting import Change

DEVICE, STREAM = "secure_fcl/engines/device.py", "secure_fcl/streams/canaries.py"
HANDS_OUT = (
    "tests/secure_fcl/engines/test_canary_devices.py::"
    "test_a_device_with_canaries_hands_out_what_one_that_owns_them_would"
)
COINS = "tests/secure_fcl/engines/test_canary_devices.py::test_coins_are_fair_independent_of_rows_and_stay_as_they_fell"
STREAMS, RUN = (
    "tests/secure_fcl/streams/test_canaries.py::test_",
    "tests/secure_fcl/auditing/test_run_canaries.py::test_",
)
CHUNK = "current = [self.experiences[task].chunk(chunk, places) for task in tasks]"
FIRST = "int(getattr(self._plan.scenario.canaries, 'index', [1 << 60])[0])"
RECORDED = "secure_fcl/auditing/sums/recorded.py"

CANARIES = (
    Change(
        name="released sums read against their direction",
        file="secure_fcl/auditing/rounds.py",
        old='[Observed(-view.array("sums"), law)]',
        new='[Observed(view.array("sums"), law)]',
        tests=("tests/secure_fcl/auditing/test_rounds.py::test_sums_of_a_small_cohort_without_noise_tell_its_members",),
        where="run",
    ),
    Change(
        name="what is no canary read twice",
        file=DEVICE,
        old=CHUNK,
        new=f"current = [np.repeat(i, 1 + (i < {FIRST})) for t in tasks "
        "for i in [self.experiences[t].chunk(chunk, places)]]",
        tests=(HANDS_OUT,),
        where="run",
    ),
    Change(
        name="canaries left out of what is trained on",
        file=DEVICE,
        old=CHUNK,
        new=f"current = [i[i < {FIRST}] for t in tasks for i in [self.experiences[t].chunk(chunk, places)]]",
        tests=(HANDS_OUT,),
        where="run",
    ),
    Change(
        name="memories that hold no canary",
        file=DEVICE,
        old="            index, item = index[item != NO_ITEM], item[item != NO_ITEM]\n",
        new="            own = (item != NO_ITEM) & ~np.isin(index, getattr(scenario.canaries, 'index', []))\n"
        "            index, item = index[own], item[own]\n",
        tests=(HANDS_OUT,),
        where="run",
    ),
    Change(
        name="canaries behind all other examples",
        file=STREAM,
        old='        order = np.argsort(place, kind="stable")\n',
        new="        order = np.arange(len(place))\n",
        tests=(f"{STREAMS}canaries_stand_among_the_examples_and_not_behind_them",),
        where="run",
    ),
    Change(
        name="a coin that moves other examples",
        file=STREAM,
        old="        taken = np.sort(self.place[mine])\n",
        new="        taken = np.sort(self.place[mine & np.isin(self.index, inside)])\n",
        tests=(f"{STREAMS}no_coin_moves_another_example",),
        where="run",
    ),
    Change(
        name="every canary is in",
        file=DEVICE,
        old="(len(declared),)) < 0.5",
        new="(len(declared),)) < 1.5",
        tests=(COINS,),
        where="run",
    ),
    Change(
        name="one coin for all rows",
        file=DEVICE,
        old='coins.stream(plan.name, "canaries", client)',
        new='coins.stream("canaries", client)',
        tests=(COINS,),
        where="run",
    ),
    Change(
        name="keys of those alone who are in",
        file=DEVICE,
        old="np.concatenate([declared, *(e.index",
        new="np.concatenate([NOTHING, *(e.index",
        tests=("tests/secure_fcl/engines/test_canary_devices.py::test_which_keys_a_device_keeps_tells_no_coin",),
        where="run",
    ),
    Change(
        name="fresh coins for canaries after a stop",
        file="secure_fcl/engines/host.py",
        old='ask.coins["keys"], ask.coins.get("canaries")',
        new='ask.coins["keys"], None',
        tests=(f"{RUN}a_run_that_was_stopped_goes_on_with_the_same_canaries",),
    ),
    Change(
        name="canaries taken off the sums with the rest",
        file=RECORDED,
        old="own @ (left + own[truth[mine]].sum(axis=0))",
        new="own @ left",
        tests=(f"{RUN}scores_are_what_canaries_add_once_the_noise_is_gone",),
        where="run",
    ),
    Change(
        name="updates scored the wrong way round",
        file="secure_fcl/auditing/gradient_canaries.py",
        old='if "gradient" in parts else (-1.0, "update")',
        new='if "gradient" in parts else (1.0, "update")',
        tests=(f"{RUN}gradients_of_those_who_were_in_are_found_where_there_is_next_to_no_noise[local]",),
        where="run",
    ),
    Change(
        name="guesses of one direction judged twice",
        file="attacks/bounds/recorded.py",
        old='("out", -1.0, ~truth, outward)',
        new='("out", 1.0, truth, outward)',
        tests=("tests/attacks/bounds/test_recorded.py::test_each_direction_is_held_to_its_own_curve",),
        where="run",
    ),
    Change(
        name="the noise of all canaries taken for independent",
        file="attacks/bounds/recorded.py",
        old="            noise = noise @ self._factor.T\n",
        new="            noise = noise + 0.0\n",
        tests=("tests/attacks/bounds/test_recorded.py::test_noise_that_canaries_share_counts_once",),
        where="run",
    ),
)
