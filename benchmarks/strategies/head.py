"""What stands above the tables of the page."""

HEAD = """# Strategies: accuracy, forgetting, epsilon and bytes

Made by `make bench-strategies` (resumable; MNIST's files are looked for in `$SECURE_FCL_DATA`), which writes
`benchmarks-strategies.jsonl` beside this page. A cell shows the percentage of all test examples that are right, with
the standard deviation over seeds, and after the slash the same averaged over tasks. HAPT is unbalanced: its first three
tasks hold 95.4 % of the test windows, so the two differ. A model is released after every task, at one budget for the
whole run; epsilon is that of the worst cohort at delta 1e-5, for one example added or removed.

An empty cell was not run: the strategies below analytic learning are shown without noise and at epsilon 1 only, and
nothing leaves the devices of *local only*, so no sum can hold its noise. The last column of the second tables counts
seeds.

- *local*: every client adds the full noise. *shared*: the noise is added in shares inside the sum, for a tenth of the
  clients missing and one colluder. Shared noise and no encryption (the table runs with `plain`): its epsilon is that of
  whoever sees sums and models only. The encrypted runs give the same numbers bit for bit, and the stacked trainer the
  same updates as Opacus; tests hold both.
- All strategies see the same public features (`refined`; class sums their plain ones), so rows differ by strategy, not
  by representation. The gradient rows train logistic regression on them. On raw windows a small network under the same
  budgets stays far below: ER 50.2 % of HAPT's windows and 46.9 % of MNIST at epsilon 1, shared, in one seed.
- ER, DER++ and Fed-A-GEM keep up to 200 examples on a device, by coin; no other row keeps any.
- Learning rates, rounds and weights of the penalties were set on scikit-learn's digits and by the papers' defaults,
  those of CALM and of the features as [their page](strategies-calm.md) says. Nothing else was chosen on these tables'
  data; what was counts as not private, and no epsilon was paid for it.
- With shared noise a round is one step at the server. FedProx's term and FLwF-2T's teachers are zero there, and FedAvg,
  FedProx and FLwF-2T equal fine-tuning but for the noise they draw; FedCurv equals FedEWC and FedSSI equals SI.
- *central*: logistic regression by scikit-learn on all examples at once, CALM's features and its turned copies
  included, no privacy: the bound that no row without noise should pass by more than chance. *joint*: all tasks at once
  in the federation, by the gradient rows' own training; without noise it takes four times their rounds. Discriminative
  training transfers less well from HAPT's first session to the later ones than discriminants with one covariance do,
  so *joint* is not the bound of CALM, *central* is.
"""
