"""Changes of the same places as `bugs.py` that change no behaviour: other draws, other order, refactored loops.

Each passes the very tests that catch the bugs beside it.
"""

from bugs import (
    BATCHES,
    CHUNKS,
    DEVICE,
    DISTRIBUTED,
    DPSGD,
    GAUSSIAN,
    HOST,
    MEMORY,
    MISSING,
    NETWORK,
    OPTIMIZER,
    OWN,
    PLAN,
    POLICY,
    SHARED,
    SKELLAM,
    STACKED,
    STEPS,
    SUMS,
    UPLOADS,
)
from planting import Change

REWRITES = (
    Change(
        name="noise drawn tensor by tensor",
        file=OPTIMIZER,
        old="noise = torch.split(release_noise(std, (sum(sizes),), self._random), sizes)",
        new="noise = [release_noise(std, (size,), self._random) for size in sizes]",
        tests=(f"{OWN}updates[opacus]", STEPS, f"{OWN}references[opacus]"),
    ),
    Change(
        name="the noise's key before the coins",
        file=DPSGD,
        old="        coins = torch.Generator().manual_seed(seed64(random))\n"
        "        stream, rule = key_stream(random), plan.clipping\n",
        new="        stream, rule = key_stream(random), plan.clipping\n"
        "        coins = torch.Generator().manual_seed(seed64(random))\n",
        tests=(f"{OWN}updates[opacus]", f"{SHARED}gradient_sums[opacus]"),
    ),
    Change(
        name="the stacked noise's key before the coins",
        file=STACKED,
        old="            coins.append(torch.Generator().manual_seed(seed64(source)))\n"
        "            noise.append(self._noise(source))\n",
        new="            noise.append(self._noise(source))\n"
        "            coins.append(torch.Generator().manual_seed(seed64(source)))\n",
        tests=(f"{OWN}updates[stacked]", f"{OWN}paths_of_surrogates[stacked]"),
    ),
    Change(
        name="noise as a difference of two",
        file=GAUSSIAN,
        old="return _sum_of_normals(std * math.sqrt(0.5), shape, random, 2)",
        new="part = std * math.sqrt(0.5)\n    return gaussian(part, shape, random).sub_(gaussian(part, shape, random))",
        tests=(f"{OWN}updates[stacked]", f"{OWN}fisher_information[opacus]"),
    ),
    Change(
        name="normals by numpy",
        file=GAUSSIAN,
        old="return _sum_of_normals(std * math.sqrt(0.5), shape, random, 2)",
        new="return gaussian(0.0, shape, random) + np.random.default_rng(list(random(32))).normal(0.0, std, "
        "tuple(shape))",
        tests=(f"{OWN}updates[stacked]", STEPS),
    ),
    Change(
        name="a coin from the other end",
        file=BATCHES,
        old="torch.rand(len(s.y), generator=coins, dtype=torch.float64) < s.q",
        new="1.0 - torch.rand(len(s.y), generator=coins, dtype=torch.float64) <= s.q",
        tests=(f"{OWN}updates[stacked]", f"{SHARED}gradient_sums[opacus]"),
    ),
    Change(
        name="coins thrown in another order",
        file=BATCHES,
        old="torch.rand(len(s.y), generator=coins, dtype=torch.float64) < s.q",
        new="torch.rand(len(s.y), generator=coins, dtype=torch.float64).flip(0) < s.q",
        tests=(f"{OWN}updates[opacus]", f"{OWN}references[stacked]"),
    ),
    Change(
        name="clipping as a minimum of two",
        file=DISTRIBUTED,
        old="torch.where(torch.isfinite(norms), (clipping_norm / norms).clamp(max=1.0), 0.0)",
        new="torch.where(torch.isfinite(norms), clipping_norm / norms.clamp(min=clipping_norm), 0.0)",
        tests=(f"{SHARED}gradient_sums[opacus]", f"{SHARED}references[opacus]"),
    ),
    Change(
        name="stacked clipping by squares",
        file=NETWORK,
        old="factors = (clipping_norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)",
        new="factors = (clipping_norm**2 / (squares + 1e-6)).clamp(max=1.0).sqrt()",
        tests=(f"{SHARED}gradient_sums[stacked]", f"{OWN}updates[stacked]"),
    ),
    Change(
        name="halves of a Skellam exchanged",
        file=SKELLAM,
        old="return half[:count] - half[count:]",
        new="return half[count:] - half[:count]",
        tests=(f"{SHARED}gradient_sums[opacus]", f"{SUMS}[shared-slda]"),
    ),
    Change(
        name="a Skellam made twice",
        file=SKELLAM,
        old="half = sample_poisson(variance / 2.0, 2 * count, random)",
        new="half = np.concatenate([sample_poisson(variance / 2.0, count, random) for _ in range(2)])",
        tests=(f"{SHARED}gradient_sums[stacked]", f"{SUMS}[local-class_sums]"),
    ),
    Change(
        name="the share drawn before it is needed",
        file=HOST,
        old='return values, noise.share(len(values), row.coins.stream(*labels, "noise")) if noise else None\n',
        new="if noise is None:\n"
        "            return values, None\n"
        '        share = noise.share(len(values), row.coins.stream(*labels, "noise"))\n'
        "        return values, share\n",
        tests=(f"{MISSING}[secagg]", f"{SHARED}shares_of_a_calendar"),
    ),
    Change(
        name="a chunk read backwards",
        file=DEVICE,
        old="current = [self.experiences[task].chunk(chunk, places) for task in tasks]",
        new="current = [self.experiences[task].chunk(chunk, places)[::-1] for task in tasks]",
        tests=(CHUNKS, f"{OWN}updates[opacus]"),
    ),
    Change(
        name="charges in the other order",
        file=PLAN,
        old='for fate in ("kept", "discarded") if self.memory else ("discarded",):',
        new='for fate in ("discarded", "kept") if self.memory else ("discarded",):',
        tests=(f"{OWN}every_charge_is_one_question[opacus]", f"{OWN}updates[stacked]"),
    ),
    Change(
        name="a threshold met from the other side",
        file=POLICY,
        old="older = held.where(draws[held.item] < threshold)",
        new="older = held.where(~(draws[held.item] >= threshold))",
        tests=(MEMORY,),
    ),
    Change(
        name="arrivals before what is held",
        file=POLICY,
        old="together = older.plus(arrived.where(draws[arrived.item] < threshold))",
        new="together = arrived.where(draws[arrived.item] < threshold).plus(older)",
        tests=(MEMORY, f"{OWN}references[opacus]"),
    ),
    Change(
        name="Fisher's noise by number of entries",
        file=f"{UPLOADS}fisher.py",
        old="release_noise(std, (n.size,), visit.coins).numpy()",
        new="std * release_noise(1.0, (n.size,), visit.coins).numpy()",
        tests=(f"{OWN}fisher_information[opacus]",),
    ),
)
