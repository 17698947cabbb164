"""What stands above the tables of the page."""

from __future__ import annotations

HEAD = """# Strategies: accuracy, forgetting, epsilon and bytes

Made by `make bench-strategies` (resumable; MNIST's files are looked for in `$SECURE_FCL_DATA`), which writes
`benchmarks-strategies.jsonl` beside this page. A cell shows the percentage of all test examples that are right, with
the standard deviation over seeds, and after the slash the same averaged over tasks. HAPT is unbalanced: its first
three tasks hold 95.4 % of the test windows, so the two differ. A model is released after every task, at one budget for
the whole run; epsilon is that of the worst cohort at delta 1e-5, for one example added or removed.

![Accuracy over epsilon by strategy](images/benchmarks-strategies.svg)

The figure: noise shared in the sum. An empty cell of the tables was not run: the strategies below CALM are shown
without noise and at epsilon 1 only, and nothing leaves the devices of *local only*, so no sum can hold its noise. The
last column of the second tables counts seeds.

- *local*: every client adds the full noise. *shared*: the noise is added in shares inside the sum, for a tenth of the
  clients missing and one colluder. Shared noise and no encryption (the table runs with `plain`): its epsilon is that
  of whoever sees sums and models only. The encrypted runs give the same numbers bit for bit, and the stacked trainer
  the same updates as Opacus; tests hold both.
- All strategies see public features: class sums the plain ones, all others the refined ones. The gradient rows train
  logistic regression on them. On raw windows a small network under the same budgets stays far below: ER 50.2 % of
  HAPT's windows and 46.9 % of MNIST at epsilon 1, shared, in one seed. CALM alone also averages over turned copies of
  HAPT's windows; without them (`calm.variations=false`) it has 88.2 / 64.8 at epsilon 1, shared, and 93.2 / 83.1
  without noise (three seeds). CALM's cells are of the version before it chose features and exchanges by a rule, with
  refined features; [its page](strategies-calm.md) has newer figures. CFeD, FedWeIT, SCAFFOLD and FedNTD are not here
  yet: [literature.md](literature.md) has a first table.
- ER, DER++ and Fed-A-GEM keep up to 200 examples on a device, by coin; no other row keeps any.
- Learning rates, rounds and weights of the penalties were set on scikit-learn's digits and by the papers' defaults,
  those of CALM and of the features as [their page](strategies-calm.md) says. One more thing counts as chosen here,
  hence as not private, and no epsilon was paid for it: that training with shared noise at epsilon 8 takes twice the
  rounds was decided when ER was seen to gain nothing from more epsilon; rounds and rate were then set on digits (ER
  88.3 % there with 40 rounds at rate 8, 68.3 % with 20 at rate 4).
- With shared noise a round is one step at the server. FedProx's term and FLwF-2T's teachers are zero there: FedAvg and
  FedProx equal fine-tuning but for the noise they draw, and FLwF-2T is fine-tuning with steps half as long (alpha =
  0.5) from the second task on. FedCurv equals FedEWC and FedSSI equals SI.
- *central*: logistic regression by scikit-learn on all examples at once, CALM's features and its turned copies
  included, no privacy: the bound that no row without noise should pass by more than chance. *joint*: all tasks at once
  in the federation, by the gradient rows' own training; without noise it takes four times their rounds. Discriminative
  training transfers less well from HAPT's first session to the later ones than discriminants with one covariance do,
  so *joint* is not the bound of CALM, *central* is.
"""
