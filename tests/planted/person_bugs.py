"""Planted bugs of persons as the unit: `bugs.py` holds the others."""

from planting import Change

WHOLE = "secure_fcl/strategies/gradient/uploads/persons.py"
CLIPPED = "            parts: dict[str, Values] = {n.sends: within(vector, norm) * (joined * n.unit / norm)}\n"
COIN = "            joined = float(joins and has)\n"
UPLOADS = "tests/secure_fcl/strategies/gradient/test_person_uploads.py::test_"
DIFFERENCES = "tests/laws/test_persons.py::test_model_differences_of_persons"
SUMS, PLAN = "secure_fcl/strategies/closed_form/persons.py", "secure_fcl/rows/row_plan.py"
KEEPS = "tests/secure_fcl/strategies/closed_form/test_persons.py::test_whatever_a_client_holds_its_whole_vector_keeps"
LEDGER = "tests/secure_fcl/rows/test_persons.py::test_a_ledger_is_the_composition_by_hand_over_all_tasks_of_a_person"
ROWS = "tests/secure_fcl/rows/test_persons.py::test_"
NORMED = "        return replace(made, parts=upload.split(of_unit_norm(upload.flatten(made.parts))))\n"

PERSONS = (
    Change(
        name="a client that is not clipped",
        file=SUMS,
        old=NORMED,
        new="        return replace(made, parts=upload.split(upload.flatten(made.parts)))\n",
        tests=(f"{KEEPS}_the_bound[class_sums-train]",),
        where="run",
    ),
    Change(
        name="a client clipped part by part",
        file=SUMS,
        old=NORMED,
        new="        return replace(\n"
        "            made, parts={n: of_unit_norm(a.ravel()).reshape(a.shape) for n, a in made.parts.items()}\n"
        "        )\n",
        tests=(f"{KEEPS}_the_bound[slda-train]",),
        where="run",
    ),
    Change(
        name="a person charged once for two tasks",
        file=PLAN,
        old="if self.scenario.released(client, slot)]\n            events",
        new="if self.scenario.released(client, slot) and not slot % 2]\n            events",
        tests=(f"{LEDGER}[everybody in all tasks]",),
        where="run",
    ),
    Change(
        name="a latecomer charged as if it had been there",
        file=PLAN,
        old="if self.scenario.released(client, slot)]\n            events",
        new="]\n            events",
        tests=(f"{LEDGER}[latecomers]",),
        where="run",
    ),
    Change(
        name="noise for the entries that one example touches",
        file=SUMS,
        old="        sensitivity_entries=upload.length,\n",
        new="        sensitivity_entries=1,\n",
        tests=("tests/laws/test_persons.py::test_sums_of_persons[slda]",),
        where="run",
    ),
    Change(
        name="a retired person whose other tasks go on",
        file="secure_fcl/engines/device.py",
        old="        silent = self._plan.persons and bool(retired)\n",
        new="        silent = False\n",
        tests=(f"{ROWS}a_person_retires_as_a_whole_and_goes_on_sending_silence",),
        where="run",
    ),
    Change(
        name="the longest stream of one person in the plan",
        file="secure_fcl/rows/persons.py",
        old="    places = max(places, 1)\n",
        new="    places = min(scenario.largest_place, max(places, 1))\n",
        tests=(f"{ROWS}the_plan_does_not_change_with_the_longest_stream_of_one_person",),
        where="run",
    ),
    Change(
        name="a client's gradients clipped one by one alone",
        file=WHOLE,
        old=CLIPPED,
        new=CLIPPED.replace("within(vector, norm)", "vector"),
        tests=(f"{ROWS}a_gradient_sum_of_a_client_keeps_the_clipping_norm_as_a_whole[opacus]",),
        where="run",
    ),
    Change(
        name="a client in every round that is charged for some",
        file=WHOLE,
        old=COIN,
        new="            joined = float(has)\n",
        tests=(f"{ROWS}a_gradient_sum_of_a_client_keeps_the_clipping_norm_as_a_whole[stacked]",),
        where="run",
    ),
    Change(
        name="a client's difference not clipped",
        file=WHOLE,
        old=CLIPPED,
        new=CLIPPED.replace("within(vector, norm)", "vector"),
        tests=(DIFFERENCES,),
    ),
    Change(
        name="a difference of everybody in every round",
        file=WHOLE,
        old=COIN,
        new="            joined = float(has)\n",
        tests=(DIFFERENCES,),
    ),
    Change(
        name="a difference clipped tensor by tensor",
        file=WHOLE,
        old=CLIPPED,
        new="            ends = np.cumsum([math.prod(shape) for shape in n.networks.shapes])[:-1]\n"
        "            whole = np.concatenate([within(part, norm) for part in np.split(vector, ends)])\n"
        + CLIPPED.replace("within(vector, norm)", "whole"),
        tests=(f"{UPLOADS}a_difference_is_that_of_its_own_steps_drawn_to_the_norm_as_a_whole[30-stacked]",),
        where="run",
    ),
    Change(
        name="a count without noise",
        file="secure_fcl/engines/host.py",
        old='noise.share(len(values), row.coins.stream(*labels, "noise")) if noise else None',
        new='(lambda s: (s.__setitem__(-1, 0), s)[1])(noise.share(len(values), row.coins.stream(*labels, "noise")))',
        tests=("tests/laws/test_persons.py::test_counts_by_which_persons_learn_a_norm",),
    ),
    Change(
        name="a count that is not charged",
        file=PLAN,
        old="                events[self.of_the_count(noise)] += 1\n",
        new="                self.of_the_count(noise)\n",
        tests=("tests/secure_fcl/rows/test_person_training.py::test_a_learnt_norm_is_charged_beside_what_is_summed",),
        where="run",
    ),
    Change(
        name="one coin for bit and vector",
        file=WHOLE,
        old="uniforms(visit.coins, (2,)) < n.rates.current\n",
        new="uniforms(visit.coins, (1,)).repeat(2) < n.rates.current\n",
        tests=(f"{UPLOADS}bit_and_vector_have_coins_of_their_own",),
        where="run",
    ),
    Change(
        name="silent clients that count as beyond the norm",
        file=WHOLE,
        old="np.array([bit * float(counts and has)])",
        new="np.array([bit])",
        tests=(f"{UPLOADS}a_learnt_norm_ends_where_its_share_of_those_who_hold_data_lies_within",),
        where="run",
    ),
    Change(
        name="an example that costs what its person does",
        file="secure_fcl/running/certificate_units.py",
        old="    steps = 2 if plan.persons else",
        new="    steps = 1 if plan.persons else",
        tests=(
            "tests/secure_fcl/running/test_certificate_units.py::"
            "test_an_example_of_a_person_costs_two_steps_and_not_one",
        ),
        where="run",
    ),
)
