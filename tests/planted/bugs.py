"""Bugs, each one line of a mechanism or its wiring, and the test that must fail when the line is there.

None is found by comparing source, digests, recorded numbers or outputs of a fixed seed: `test_bench.py` plants them one
by one, and `rewrites.py` holds changes of the same places that change no behaviour.
"""

from canary_bugs import CANARIES
from choices import CHOICES
from gdp_bugs import GAUSSIANS
from norm_bugs import NORMS
from person_bugs import PERSONS
from planting import Change
from tree_bugs import TREES

OWN, SHARED = "tests/laws/test_own_noise.py::test_", "tests/laws/test_shared_noise.py::test_"
SUMS, MEMORY = "tests/laws/test_sums_of_all.py::test_sums", "tests/laws/test_memory.py"
MISSING = f"{SHARED}shares_of_those_who_are_there"
STEPS, CHUNKS = f"{OWN}visits_of_several_steps", f"{OWN}chunks_are_read_in_their_rounds"

OPTIMIZER, DPSGD, BATCHES = "privacy/secure_optimizer.py", "privacy/dpsgd.py", "privacy/batches.py"
DISTRIBUTED, GAUSSIAN, SHARES = "privacy/distributed.py", "privacy/secure_gaussian.py", "privacy/noise_shares.py"
SKELLAM, STACKED, STACKED_NOISE = "privacy/skellam.py", "privacy/stacked/trainer.py", "privacy/stacked/noise.py"
NETWORK = "privacy/stacked/network.py"
UPLOADS, HOST, DEVICE = (
    "secure_fcl/strategies/gradient/uploads/",
    "secure_fcl/engines/host.py",
    "secure_fcl/engines/device.py",
)
PLAN, POLICY = "secure_fcl/rows/row_plan.py", "secure_fcl/memory/policy.py"
CLOSED = "secure_fcl/strategies/closed_form/"

KEY = "__import__('privacy.randomness').randomness.key_stream"

CHARGE = (
    "        retired = row.ledger.charge("
    "step.slot, step.round, again.covered, run=self._run, row=plan.name, **again.what)\n"
)
BEFORE = (
    "        wire = plan.wire(step.phase, step.slot)\n"
    "        carrier = wire.draw(step.slot, step.round)\n"
    "        aside = row.devices.disclose(step, state)\n"
    "        entries = heads_bytes(row.charged.heads)\n"
    '        shown = row.charged.last_entry if self._journals else ""\n'
)
VISIT = (
    "        visit = Visit("
    "slot=step.slot, round=step.round, retired=retired, state=state, ledger=entries, entry=shown)\n"
    "        away = plan.away(step.slot, step.round)\n"
    "        result = sums.run(number, wire.sent.name, visit, away)\n"
)

OWN_NOISE = (
    Change(
        name="own noise left out",
        file=OPTIMIZER,
        old="total = clean.to(torch.float64) + own.view(clean.shape).to(clean.device)",
        new="total = clean.to(torch.float64)",
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="noise by the batch that came",
        file=OPTIMIZER,
        old="        std = self.noise_multiplier * self.max_grad_norm\n",
        new="        std = self.noise_multiplier * self.max_grad_norm * (len(self.grad_samples[0]) / 4.5)\n",
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="noise halved once the batch is not empty",
        file=OPTIMIZER,
        old="        std = self.noise_multiplier * self.max_grad_norm\n",
        new="        std = self.noise_multiplier * self.max_grad_norm * (0.5 if len(self.grad_samples[0]) else 1.0)\n",
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="the generator reseeded each step",
        file=OPTIMIZER,
        old="release_noise(std, (sum(sizes),), self._random)",
        new=f"release_noise(std, (sum(sizes),), {KEY}(lambda n: self.__dict__.setdefault('key', self._random(n))))",
        tests=(STEPS,),
    ),
    Change(
        name="every client draws the same noise",
        file=OPTIMIZER,
        old="release_noise(std, (sum(sizes),), self._random)",
        new=f"release_noise(std, (sum(sizes),), {KEY}(lambda n: bytes(n)))",
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="the sum clipped instead of each example",
        file=OPTIMIZER,
        old="            factors = self._state.factors(norms, self.weights)\n",
        new="            whole = torch.cat([s.sum(0) for s in samples]).norm()\n"
        "            factors = (self.max_grad_norm / whole).clamp(max=1.0).expand(norms.shape)\n",
        tests=(f"{OWN}updates[opacus]",),
        # No run begins: the check of the network tries what the trainer clips.
        said="the network's clipped gradients are not those of its examples taken one by one",
    ),
    Change(
        name="noise a tenth too small in variance",
        file=GAUSSIAN,
        old="return _sum_of_normals(std * math.sqrt(0.5), shape, random, 2)",
        new="return _sum_of_normals(std * math.sqrt(0.45), shape, random, 2)",
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="the same few normals over and over",
        file=GAUSSIAN,
        old='words = np.frombuffer(random(8 * len(room)), dtype="<u8")',
        new='words = np.resize(np.frombuffer(random(8 * 256), dtype="<u8"), len(room))',
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="noise with a mean",
        file=GAUSSIAN,
        old="    found += 2.0**-52\n",
        new="    found *= 0.99\n    found += 0.01\n",
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="noise of two values with the right variance",
        file=GAUSSIAN,
        old="return _sum_of_normals(std * math.sqrt(0.5), shape, random, 2)",
        new="return __import__('torch').from_numpy(uniforms(random, tuple(shape)) - 0.5).sign().mul_(std)",
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="uniform noise of the right variance",
        file=GAUSSIAN,
        old="return _sum_of_normals(std * math.sqrt(0.5), shape, random, 2)",
        new="return __import__('torch').from_numpy(uniforms(random, tuple(shape)) - 0.5).mul_(std * math.sqrt(12.0))",
        tests=(f"{OWN}tails[stacked]",),
    ),
    Change(
        name="stacked clients share one stream of noise",
        file=STACKED_NOISE,
        old="        stream = key_stream(random)\n",
        new="        stream = key_stream(lambda n: bytes(n))\n",
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="only the first stacked client draws noise",
        file=STACKED,
        old="                if plan.noise_multiplier > 0.0:\n",
        new="                if plan.noise_multiplier > 0.0 and k == 0:\n",
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="no stacked noise where a path is walked",
        file=STACKED,
        old="                if plan.noise_multiplier > 0.0:\n",
        new="                if plan.noise_multiplier > 0.0 and path is None:\n",
        tests=(f"{OWN}paths_of_surrogates[stacked]",),
    ),
    Change(
        name="a visit of many steps charged as one",
        file=DPSGD,
        old="return Counter({SampledGaussian(q=q, noise_multiplier=self.noise_multiplier / weight): self.steps})",
        new="return Counter({SampledGaussian(q=q, noise_multiplier=self.noise_multiplier / weight): 1})",
        tests=(STEPS,),
    ),
    Change(
        name="a client's weight without noise",
        file=f"{UPLOADS}weights.py",
        old="count += float(release_noise(self.numbers.count_noise, (1,), visit.coins)[0])",
        new="count += 0.0",
        tests=(f"{OWN}weights_of_clients_are_noisy",),
    ),
)

CLIPPING_AND_COINS = (
    Change(
        name="one tensor outside the norm",
        file=DISTRIBUTED,
        old="dtype=torch.float64) for s in samples]).norm(dim=0)",
        new="dtype=torch.float64) for s in samples[1:]]).norm(dim=0)",
        tests=(f"{SHARED}gradient_sums[opacus]",),
    ),
    Change(
        name="one stacked tensor outside the norm",
        file=NETWORK,
        old="for trace, g in zip(traces, grads, strict=True)]).sum(0)",
        new="for trace, g in zip(traces, grads, strict=True)][1:]).sum(0)",
        tests=(f"{SHARED}gradient_sums[stacked]",),
        said="one example weighs",
    ),
    Change(
        name="no stacked clipping",
        file=NETWORK,
        old="factors = (clipping_norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)",
        new="factors = torch.ones_like(squares)",
        tests=(f"{OWN}updates[stacked]",),
        said="one example weighs",
    ),
    Change(
        name="clipped to twice the norm",
        file=DISTRIBUTED,
        old="torch.where(torch.isfinite(norms), (clipping_norm / norms).clamp(max=1.0), 0.0)",
        new="torch.where(torch.isfinite(norms), (2.0 * clipping_norm / norms).clamp(max=1.0), 0.0)",
        tests=(f"{SHARED}gradient_sums[opacus]",),
    ),
    Change(
        name="coins fixed",
        file=DPSGD,
        old="coins = torch.Generator().manual_seed(seed64(random))",
        new="coins = torch.Generator().manual_seed(0)",
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="coins at twice the rate",
        file=BATCHES,
        old="dtype=torch.float64) < s.q for s in strata]",
        new="dtype=torch.float64) < 2.0 * s.q for s in strata]",
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="memory at twice its rate",
        file=BATCHES,
        old="dtype=torch.float64) < s.q for s in strata]",
        new="dtype=torch.float64) < s.q * (1 + k) for k, s in enumerate(strata)]",
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="one coin for a whole batch",
        file=BATCHES,
        old="torch.rand(len(s.y), generator=coins, dtype=torch.float64) < s.q",
        new="(torch.rand(1, generator=coins, dtype=torch.float64) < s.q).expand(len(s.y))",
        tests=(f"{SHARED}gradient_sums[opacus]",),
    ),
    Change(
        name="batches of a fixed size",
        file=BATCHES,
        old="torch.rand(len(s.y), generator=coins, dtype=torch.float64) < s.q",
        new="torch.randperm(len(s.y), generator=coins) < s.q * len(s.y)",
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="memory read as current data too",
        file=DEVICE,
        old="return DeviceView(self._examples(self._current(slot, round, retired)), memory",
        new="return DeviceView(self._examples(np.append(self._current(slot, round, retired), self.held.index)), memory",
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="tasks that are over are read on",
        file=DEVICE,
        old="tasks = [t for t in self._plan.scenario.released(self.client, slot) if",
        new="tasks = [t for s in range(slot + 1) for t in self._plan.scenario.released(self.client, s) if",
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="all chunks read in every round",
        file=DEVICE,
        old="current = [self.experiences[task].chunk(chunk, places) for task in tasks]",
        new="current = [self.experiences[task].index for task in tasks]",
        tests=(CHUNKS,),
    ),
    Change(
        name="the first chunk read in every round",
        file=DEVICE,
        old="chunk, places = self._plan.chunk(round), self._plan.storage.places_per_chunk",
        new="chunk, places = 0, self._plan.storage.places_per_chunk",
        tests=(CHUNKS,),
    ),
    Change(
        name="examples held out are read",
        file="secure_fcl/streams/scenario.py",
        old="mine = np.flatnonzero(self.data.train & ~self.held_out)",
        new="mine = np.flatnonzero(self.data.train)",
        tests=(f"{OWN}updates[stacked]",),
    ),
)

CHARGES = (
    Change(
        name="replay uncharged",
        file=PLAN,
        old='found += [Charge(cohort, e, n) for e, n in self.events("memory", self.phase(round)).items()]',
        new="found += []",
        tests=(f"{OWN}updates[opacus]",),
    ),
    Change(
        name="discarded examples uncharged",
        file=PLAN,
        old='for fate in ("kept", "discarded") if self.memory else ("discarded",):',
        new='for fate in ("kept",) if self.memory else ("discarded",):',
        tests=(f"{OWN}updates[stacked]",),
    ),
    Change(
        name="the ledger after the noise",
        file="secure_fcl/running/loop.py",
        old=f"{CHARGE}{BEFORE}{VISIT}",
        new=f"{BEFORE}{VISIT.replace('=retired', '=frozenset()')}{CHARGE}",
        tests=(f"{MISSING}[plain]",),
        where="run",
    ),
    Change(
        name="a reference release uncharged",
        file=f"{UPLOADS}beside.py",
        old="return replace(self.numbers.dpsgd, steps=1).events(self.numbers.rates.memory)",
        new="return {}",
        tests=(f"{OWN}every_charge_is_one_question[opacus]",),
    ),
    Change(
        name="a reference sum uncharged",
        file=f"{UPLOADS}beside.py",
        old='return (self.numbers.rates.memory,) if stratum == "memory" else ()',
        new="return ()",
        tests=(f"{SHARED}references[opacus]",),
    ),
    Change(
        name="a reference with half its noise",
        file=f"{UPLOADS}beside.py",
        old='one = replace(self.numbers.dpsgd, steps=1, learning_rate=1.0, momentum=0.0, optimizer="sgd")',
        new="one = replace(self.numbers.dpsgd, steps=1, learning_rate=1.0, momentum=0.0, "
        "noise_multiplier=self.numbers.dpsgd.noise_multiplier / 2.0)",
        tests=(f"{OWN}references[stacked]",),
    ),
    Change(
        name="a surrogate uncharged",
        file=f"{UPLOADS}visits.py",
        old="        if n.method.surrogate:\n            found",
        new="        if False:\n            found",
        tests=(f"{OWN}every_charge_is_one_question[stacked]",),
    ),
    Change(
        name="a surrogate with half its noise",
        file=f"{UPLOADS}visits.py",
        old="round.trainer.visits(starts, own, n.dpsgd, round.loss, path=True)",
        new="round.trainer.visits(starts, own, replace(n.dpsgd, noise_multiplier=n.dpsgd.noise_multiplier / 2.0), "
        "round.loss, path=True)",
        tests=(f"{OWN}paths_of_surrogates[opacus]",),
    ),
    Change(
        name="Fisher information with half its noise",
        file=f"{UPLOADS}fisher.py",
        old="release_noise(std, (n.size,), visit.coins)",
        new="release_noise(std / 2.0, (n.size,), visit.coins)",
        tests=(f"{OWN}fisher_information[opacus]",),
    ),
    Change(
        name="Fisher information of all examples",
        file=f"{UPLOADS}fisher.py",
        old="replace(visit.strata[0], q=numbers.rates.fisher)",
        new="replace(visit.strata[0], q=1.0)",
        tests=(f"{OWN}fisher_information[stacked]",),
    ),
    Change(
        name="Fisher information with no noise in its sum",
        file="secure_fcl/rows/build.py",
        old='        if "close" in wires:\n            ratio',
        new="        if False:\n            ratio",
        tests=(f"{SHARED}fisher_information[opacus]",),
    ),
    Change(
        name="a sum charged with more noise than it gets",
        file=DISTRIBUTED,
        old="return SampledSkellam(q=q, variance=self.guaranteed_variance,",
        new="return SampledSkellam(q=q, variance=1.2 * self.guaranteed_variance,",
        tests=(f"{SHARED}gradient_sums[stacked]",),
    ),
    Change(
        name="retired examples read on",
        file=DEVICE,
        old="there = ~np.isin(self.held.arrival, np.fromiter(retired, dtype=np.int64))",
        new="there = np.ones(len(self.held), dtype=np.bool_)",
        tests=("tests/secure_fcl/rows/test_budgets.py::test_a_device_leaves_retired_examples_out",),
        where="run",
    ),
    Change(
        name="a client's own count refuses nothing",
        file="secure_fcl/rows/budgets.py",
        old="        if self._budget is not None:\n",
        new="        if False:\n",
        tests=("tests/secure_fcl/rows/test_budgets.py",),
        said="DID NOT RAISE BudgetSpent",
        where="run",
    ),
)

SHARES_IN_SUMS = (
    Change(
        name="no client adds its share",
        file=HOST,
        old='return values, noise.share(len(values), row.coins.stream(*labels, "noise")) if noise else None',
        new="return values, None",
        tests=(f"{SHARED}gradient_sums[opacus]",),
    ),
    Change(
        name="one client alone adds its share",
        file=HOST,
        old='row.coins.stream(*labels, "noise")) if noise else None',
        new='row.coins.stream(*labels, "noise")) if noise and row.numbers[party] == 0 else None',
        tests=(f"{MISSING}[secagg]",),
    ),
    Change(
        name="shares in the first round of a task alone",
        file=HOST,
        old='row.coins.stream(*labels, "noise")) if noise else None',
        new='row.coins.stream(*labels, "noise")) if noise and step.round == 0 else None',
        tests=(f"{SHARED}gradient_sums[stacked]",),
    ),
    Change(
        name="one share too few",
        file=DISTRIBUTED,
        old="return self.parties - self.max_dropouts - self.colluders",
        new="return self.parties - self.max_dropouts",
        tests=(f"{SHARED}gradient_sums[opacus]",),
    ),
    Change(
        name="shares that count on everybody",
        file=DISTRIBUTED,
        old="return self.guaranteed_variance / self.honest",
        new="return self.guaranteed_variance / self.parties",
        tests=(f"{MISSING}[plain]",),
    ),
    Change(
        name="shares for absent clients",
        file=PLAN,
        old="return replace(noise, parties=len(self.clients_in(slot)))",
        new="return noise",
        tests=(f"{SHARED}shares_of_a_calendar",),
    ),
    Change(
        name="half a Skellam",
        file=SKELLAM,
        old="half = sample_poisson(variance / 2.0, 2 * count, random)",
        new="half = sample_poisson(variance / 4.0, 2 * count, random)",
        tests=(f"{SHARED}gradient_sums[opacus]",),
    ),
    Change(
        name="every client draws the same share",
        file=DISTRIBUTED,
        old="return sample_skellam(self.share_variance, entries, random)",
        new=f"return sample_skellam(self.share_variance, entries, {KEY}(lambda n: bytes(n)))",
        tests=(f"{SHARED}gradient_sums[opacus]",),
    ),
    Change(
        name="the first exchange's noise in the second",
        file=HOST,
        old="noise = row.plan.noise_in(step.slot, step.phase)",
        new="noise = row.plan.noise_in(step.slot)",
        tests=(f"{SUMS}[shared-calm]",),
    ),
    Change(
        name="sums over all examples one share too few",
        file=SHARES,
        old="return self.parties - self.max_dropouts - self.colluders",
        new="return self.parties - self.max_dropouts",
        tests=(f"{SUMS}[shared-analytic]",),
    ),
    Change(
        name="a closed form released with half its noise",
        file=SHARES,
        old="return sample_skellam(self.share_variance, entries, random)",
        new="return sample_skellam(self.share_variance / 4.0, entries, random)",
        tests=("tests/secure_fcl/auditing/test_sums.py::test_no_row_allows_more_than_was_charged",),
    ),
    Change(
        name="local noise divided among clients",
        file=SHARES,
        old='self.guaranteed_variance / (self.honest if self.placement == "shared" else 1)',
        new="self.guaranteed_variance / self.honest",
        tests=(f"{SUMS}[local-slda]",),
    ),
    Change(
        name="features beyond the unit norm",
        file="secure_fcl/features/plain.py",
        old="out[part] = unit_rows((cells - usual).reshape(len(ink), -1))",
        new="out[part] = 1.5 * unit_rows((cells - usual).reshape(len(ink), -1))",
        tests=(f"{SUMS}[local-class_sums]",),
    ),
    Change(
        name="products that weigh as much as sums",
        file=f"{CLOSED}moments.py",
        old="return math.sqrt(1.0 - self.gram_share), math.sqrt(self.gram_share)",
        new="return 1.0, 1.0",
        tests=(f"{SUMS}[shared-analytic]",),
    ),
    Change(
        name="directions longer than one",
        file=f"{CLOSED}calm.py",
        old="directions = unit_rows(self.features(copy) - centres)",
        new="directions = 1.5 * unit_rows(self.features(copy) - centres)",
        tests=(f"{SUMS}[local-calm-calm.epsilon=50]",),
    ),
    Change(
        name="a small task's scatter passed over however little noise it has",
        file=f"{CLOSED}calm.py",
        old="error(after, releases + 1.0) < error(before, releases)",
        new="after / (releases + 1.0) ** 0.5 > before / releases**0.5",
        tests=("tests/secure_fcl/running/test_no_noise.py",),
        where="run",
    ),
)

MEMORIES = (
    Change(
        name="replay kept beyond its calendar",
        file=POLICY,
        old="older = held.where(draws[held.item] < threshold)",
        new="older = held",
        tests=(MEMORY,),
    ),
    Change(
        name="everything that arrives is kept",
        file=POLICY,
        old="together = older.plus(arrived.where(draws[arrived.item] < threshold))",
        new="together = older.plus(arrived)",
        tests=(MEMORY,),
    ),
    Change(
        name="keys that are not uniform",
        file=DEVICE,
        old='uniforms(coins.stream(plan.name, "retention", client), (len(self.items),))',
        new='uniforms(coins.stream(plan.name, "retention", client), (len(self.items),)) ** 2',
        tests=(MEMORY,),
    ),
    Change(
        name="every device draws the same keys",
        file=DEVICE,
        old='uniforms(coins.stream(plan.name, "retention", client), (len(self.items),))',
        new=f"uniforms({KEY}(lambda n: bytes(n)), (len(self.items),))",
        tests=(MEMORY,),
    ),
    Change(
        name="one threshold for good",
        file=POLICY,
        old="threshold = self.thresholds[task]",
        new="threshold = self.thresholds[0]",
        tests=(MEMORY,),
    ),
)

REPEATS, JOURNALS = "tests/secure_fcl/running/test_repeats.py", "secure_fcl/engines/journals.py"
RECORD = "            row.journals[party].sending(ask.ledger, model.hex(), kept)\n"
SEND = (
    "            sealed = time.perf_counter()\n"
    "            yield party, c.Sent(items=messages, train=trained - begun, encrypt=sealed - trained, "
    "journal=journal)\n"
)
STATES = "tests/secure_fcl/engines/test_journals.py"

UNCHARGED = (
    Change(
        name="'about to send' written after sending",
        file=HOST,
        old=f"    {RECORD}{SEND}",
        new=f"{SEND}            if party in attempts:\n    {RECORD}",
        tests=(f"{REPEATS}::test_the_record_is_on_disk_before_the_message_leaves",),
        where="run",
    ),
    Change(
        name="vectors with a share of the noise sent again",
        file=HOST,
        old='return row.plan.noise == "local" and not apart and not self._shown(row, party, step)',
        new="return not apart and not self._shown(row, party, step)",
        tests=(f"{REPEATS}::test_a_round_of_shared_noise_that_anybody_may_have_sent_in_is_charged",),
        where="run",
    ),
    Change(
        name="a device that sends again trains again",
        file=HOST,
        old="if party not in attempts or attempts[party].again is None",
        new="if True",
        tests=(f"{REPEATS}::test_vectors_with_all_of_their_noise_are_sent_again",),
        where="run",
    ),
    Change(
        name="a journal that was set back is believed",
        file=JOURNALS,
        old="return bool(read_json(self._seal) == self._known())",
        new="return self._path.exists()",
        tests=(f"{REPEATS}::test_a_journal_that_was_lost_or_set_back_is_charged",),
        where="run",
    ),
    Change(
        name="a device that may have sent says that it did not",
        file=JOURNALS,
        old="            if asked and kept.sent and not due:\n",
        new="            if asked and kept.sent and due:\n",
        tests=(f"{REPEATS}::test_a_round_of_shared_noise_that_anybody_may_have_sent_in_is_charged",),
        where="run",
    ),
    Change(
        name="what was settled is sent all the same",
        file=JOURNALS,
        old="or kept.head.head != _hash(ledger, count) or kept.until >= count:",
        new="or kept.head.head != _hash(ledger, count):",
        tests=(f"{STATES}::test_what_is_settled_is_never_sent",),
        where="run",
    ),
    Change(
        name="a repetition on the word of the server",
        file=JOURNALS,
        old="            if repeats and (count < 2 or kept.over != _hash(ledger, count - 1)):\n",
        new="            if repeats and count < 2:\n",
        tests=(f"{STATES}::test_nothing_is_repeated_on_the_word_of_the_server",),
        where="run",
    ),
    Change(
        name="an entry that repeats is settled unseen",
        file=JOURNALS,
        old="            if count <= kept.since or (repeats and not settled):\n",
        new="            if count <= kept.since:\n",
        tests=(f"{STATES}::test_nothing_is_repeated_on_the_word_of_the_server",),
        where="run",
    ),
    Change(
        name="one silent device is passed over",
        file="secure_fcl/running/repeats.py",
        old="charged = {group for party, group in groups.items() if party not in said}",
        new="charged = set(groups.values()) - {groups[party] for party in said}",
        tests=(f"{REPEATS}::test_a_device_that_does_not_answer_is_charged",),
        where="run",
    ),
)

BUGS = (
    *OWN_NOISE, *CLIPPING_AND_COINS, *CHARGES, *SHARES_IN_SUMS, *MEMORIES, *UNCHARGED, *CHOICES, *NORMS, *GAUSSIANS,
    *PERSONS, *CANARIES, *TREES,
)  # fmt: skip
