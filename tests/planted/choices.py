"""Bugs of a choice among runs, and of what runs cost together; see `bugs`."""

from planting import Change

LAW, BOUND, CHOOSING = "privacy/selection.py", "secure_fcl/studies/bound.py", "secure_fcl/studies/choosing.py"
EXACT = "tests/privacy/test_selection.py::test_exact_choices_never_lose_more_than_charged"
CHOICE, RUNS = "tests/secure_fcl/test_study_choice.py::test_", "tests/secure_fcl/test_study_runs.py::test_"

CHOICES = (
    Change(
        name="a choice charged as one run",
        file=LAW,
        old="        return _falling(curve + (1.0 + self.eta) * least + math.log(self.mean) / (a - 1.0))\n",
        new="        return _falling(curve + 0.0 * least)\n",
        tests=(EXACT,),
        where="run",
    ),
    Change(
        name="a wide law charged as the widest",
        file=LAW,
        old="(1.0 + self.eta) * least",
        new="0.5 * least",
        tests=("tests/privacy/test_selection.py::test_pure_dp_costs_two_plus_eta_times",),
        where="run",
    ),
    Change(
        name="a Poisson number of runs for nothing",
        file=LAW,
        old="self.mean * deltas + math.log(self.mean) / (a - 1.0)",
        new="self.mean * 0.0 * deltas",
        tests=(EXACT,),
        where="run",
    ),
    Change(
        name="the last cell of the grid charged for all",
        file=BOUND,
        old="            curve = np.maximum(curve, accountant.curve(events))\n",
        new="            curve = accountant.curve(events)\n",
        tests=(f"{CHOICE}the_bound_is_of_the_worst_cell",),
        where="run",
    ),
    Change(
        name="a score on private data for nothing",
        file=BOUND,
        old="history | ({score: history.get(score, 0) + 1} if score is not None else {})",
        new="dict(history)",
        tests=(f"{CHOICE}the_bound_is_of_the_worst_cell",),
        where="run",
    ),
    Change(
        name="a score on private data without its noise",
        file=CHOOSING,
        old="(round(float(value) * windows) + noise)",
        new="round(float(value) * windows)",
        tests=(f"{CHOICE}private_test_data_are_scored_with_noise",),
        where="run",
    ),
    Change(
        name="the number of runs drawn again after a crash",
        file=CHOOSING,
        old="        if not drawn.exists():\n",
        new="        if path.exists():\n",
        tests=(f"{CHOICE}a_number_once_drawn_survives",),
        where="run",
    ),
    Change(
        name="runs that lost are kept",
        file=CHOOSING,
        old="                _delete(self.run(number))\n",
        new="                self.run(number)\n",
        tests=(f"{CHOICE}what_is_hidden_is_for_its_owner_alone",),
        where="run",
    ),
    Change(
        name="of equals the first to finish",
        file=CHOOSING,
        old="[(-score, number) for number, score in scores.items() if score is not None]\n    return min(finished)[1]",
        new="[(-score, number) for number, score in scores.items() if score is not None]\n    return min(finished, key=lambda one: one[0])[1]",  # noqa: E501
        tests=(f"{CHOICE}only_the_best_run_is_left",),
        where="run",
    ),
    Change(
        name="a hidden folder that anybody opens",
        file=CHOOSING,
        old="path.mkdir(mode=0o700, exist_ok=True)",
        new="path.mkdir(exist_ok=True)",
        tests=(f"{CHOICE}what_is_hidden_is_for_its_owner_alone",),
        where="run",
    ),
    Change(
        name="of all runs only the last is counted",
        file="secure_fcl/studies/totals.py",
        old="            events.update(one.histories[0])\n",
        new="            events = Counter(one.histories[0])\n",
        tests=(f"{RUNS}runs_add_up_as_one_multiset_of_events",),
        where="run",
    ),
)
