"""Planted bugs of bounded norms: `bugs.py` holds the others."""

from planting import Change

ROWS, PROVEN = "tests/secure_fcl/rows/test_norms.py::test_", "tests/crypto/protocols/helper/test_proven.py::test_"
PINE = "tests/crypto/norms/test_pine.py::test_"
LEFT_OUT = f"{PROVEN}a_vector_or_share_of_noise_that_is_too_long_is_left_out_and_named"

NORMS = (
    Change(
        name="clipped vectors charged for the entries that an example touches",
        file="secure_fcl/rows/noise.py",
        old="upload.length if config.section(sums.name).norm_bounds[phase] else upload.sensitivity_entries",
        new="upload.sensitivity_entries",
        tests=(f"{ROWS}the_plan_bounds_vector_and_share_and_the_noise_is_that_of_all_entries",),
        where="run",
    ),
    Change(
        name="all parts of a vector clipped together",
        file="secure_fcl/compression/wire.py",
        old="vector = wire.sent.flatten({n: _within(part, limit) for n, part in wire.sent.split(vector).items()})",
        new="vector = _within(vector, wire.norm)",
        tests=(f"{ROWS}clipping_moves_no_part_further_than_its_example_does",),
        where="run",
    ),
    Change(
        name="a verifier that believes a client about its own share",
        file="crypto/norms/pine.py",
        old="    directions = derived(share.blinds[0], _DIRECTIONS_PART, "
        "binder + encoded(share.vector[: short.first_length]))\n",
        new="    directions = parts.directions[place]\n",
        tests=(f"{PINE}one_changed_byte_of_anything_is_refused",),
        where="run",
    ),
    Change(
        name="proofs that are not bound to their place",
        file="crypto/protocols/helper/proven.py",
        old="who.attempt,\n",
        new="0,\n",
        tests=(f"{PROVEN}a_proof_serves_one_place_only",),
        where="run",
    ),
    Change(
        name="the share of noise is not proven",
        file="crypto/protocols/helper/proven.py",
        old="or not pine.accepted(short, both, used):",
        new="or (start <= size + 2 * SEED_BYTES and not pine.accepted(short, both, used)):",
        tests=(f"{LEFT_OUT}[noise]",),
        where="run",
    ),
)
