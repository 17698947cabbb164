"""What stands above the tables of the page."""

HEAD = """# Strategies: accuracy, forgetting, epsilon and bytes

Made by `make bench-strategies` (resumable; MNIST's files are looked for in `$SECURE_FCL_DATA`), which writes
`benchmarks-strategies.jsonl` beside this page. A cell shows the percentage of all test examples that are right, with
the standard deviation over seeds, and after the slash the same averaged over tasks. HAPT is unbalanced: its first three
tasks hold 95.4 % of the test windows, so the two differ. A model is released after every task, at one budget for the
whole run; epsilon is that of the worst cohort at delta 1e-5, for one example added or removed.

A cell that is empty has not been run yet: the command goes on with what is missing, what tells most first. The last
column of the second tables counts seeds.

- *local*: every client adds the full noise. *shared*: the noise is added in shares inside the sum, for a tenth of the
  clients missing and one colluder. Shared noise and no encryption (the table runs with `plain`): its epsilon is that of
  whoever sees sums and models only. The encrypted runs give the same numbers bit for bit, and the stacked trainer the
  same updates as Opacus; tests hold both.
- ER, DER++ and Fed-A-GEM keep up to 200 examples on a device, by coin; no other row keeps any.
- Learning rates, rounds and weights of the penalties were set on scikit-learn's digits and by the papers' defaults,
  those of CALM and of the features as [their page](strategies-calm.md) says. Nothing else was chosen on these tables'
  data; what was counts as not private, and no epsilon was paid for it.
- With shared noise a round is one step at the server. FedProx's term and FLwF-2T's teachers are zero there, and FedAvg,
  FedProx and FLwF-2T equal fine-tuning but for the noise they draw; FedCurv equals FedEWC and FedSSI equals SI.
- *joint* has all tasks at once and every example for as many rounds as the others have in all: the bound that no row
  without noise should pass.
"""
