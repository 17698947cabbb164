"""Planted bugs of what Skellam noise is charged: `bugs.py` holds the others."""

from planting import Change

GDP, TESTS = "privacy/skellam_gdp.py", "tests/privacy/test_skellam_gdp.py::test_"

GAUSSIANS = (
    Change(
        name="a shift one percent too cheap",
        file=GDP,
        old="    return 2.0 * found\n",
        new="    return 1.98 * found\n",
        tests=(f"{TESTS}a_cost_one_percent_too_small_is_noticed[2.0]",),
        where="run",
    ),
    Change(
        name="tails left out of the noise's mass at 0",
        file=GDP,
        old="    return up.add(up.divide(up.add(total, term), root), beyond)\n",
        new="    return up.divide(total, root)\n",
        tests=(f"{TESTS}the_mass_of_the_centre_is_an_upper_bound_to_25_digits[75.0]",),
        where="run",
    ),
    Change(
        name="a sample charged at half its rate",
        file=GDP,
        old="                    found[_gaussian(rate, cost)] += count\n",
        new="                    found[_gaussian(rate / 2.0, cost)] += count\n",
        tests=(f"{TESTS}no_shift_in_one_two_or_four_dimensions_costs_more_than_is_charged[0.05-2.0-1-1]",),
        where="run",
    ),
    Change(
        name="failing sensitivities not taken off delta",
        file="privacy/accountants.py",
        old="        return max(but_for(total_failure(remaining), delta, composed), LEAST_EPSILON)\n",
        new="        return max(but_for(0.0 * total_failure(remaining), delta, composed), LEAST_EPSILON)\n",
        tests=(f"{TESTS}what_a_failing_sensitivity_adds_is_taken_off_delta",),
        where="run",
    ),
)
