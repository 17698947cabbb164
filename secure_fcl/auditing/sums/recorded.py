"""The canaries of a row of sums: scores from the row's own releases, their law exactly known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks.bounds.recorded import Family, gaussian_curve
from attacks.sums.likelihood import joint_scores
from secure_fcl.auditing.charges import epsilon_of_mu
from secure_fcl.auditing.run_canaries import FEWEST, Told, declared, histories_of, judged, without
from secure_fcl.auditing.sums.released import Release, mu_of
from secure_fcl.auditing.sums.view import Attacked
from secure_fcl.auditing.world import audit_delta

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def judge_sums(attacked: Attacked) -> dict[str, object]:
    """Return the record of a row's canaries, from its own sums less all other examples.

    Raises:
        NotReadable: the sums cannot be taken apart.
        RunFolderError: the run logged other canaries, or a file of coins is missing or damaged.
    """
    plan, folder = attacked.row.plan, attacked.row.folder
    if not attacked.row.private:
        return without(plan, "it ran without noise, so there is no trade-off curve to test")
    index, slot, chunk, truth = declared(plan, folder)
    client = plan.scenario.owner[index]
    gram, along = np.zeros((len(index), len(index))), np.zeros(len(index))
    for release in attacked.releases:
        mine = (slot == release.slot) & (chunk == plan.chunk(release.in_slot)) & np.isin(client, release.clients)
        if mine.any():
            own = _added(attacked, release, index[mine]) / release.charged
            # All but the canaries is taken off: their place in the sum is put back from what each adds.
            left = attacked.noise(release, True) * attacked.deviation(release, True) / release.charged
            gram[np.ix_(mine, mine)] += own @ own.T
            along[mine] += own @ (left + own[truth[mine]].sum(axis=0))
    seen = np.diag(gram) > 0.0
    if seen.sum() < FEWEST:
        return without(plan, f"{int(seen.sum())} of {len(index)} are in a sum that is attacked; declare more")
    told = _told(index[seen], truth[seen], gram[np.ix_(seen, seen)], along[seen])
    mus = np.array([mu_of(history) for history in histories_of(plan, folder, index[seen], chunk[seen])])
    groups = {_named(mu, len(np.unique(mus))): (mus == mu, gaussian_curve(float(mu))) for mu in np.unique(mus)}
    worst = float(mus.max())
    return judged(plan, told, groups, {"epsilon": epsilon_of_mu(worst, audit_delta(plan)), "mu": worst})


#: Share of the charged noise for which scores are made.
_LOOKED_FOR = 0.1


def _named(mu: float, kinds: int) -> str:
    return "summed once" if kinds == 1 else f"summed once at mu {mu:.4g}"


def _added(attacked: Attacked, release: Release, index: Ints) -> Floats:
    """Return what each canary adds to a release, (n, D), in the strategy's units."""
    return np.stack([attacked.row.added(release, index[[k]]) for k in range(len(index))])


def _told(index: Ints, truth: Bools, gram: Floats, along: Floats) -> Told:
    """Return the scores: `gram` are the inner products of what canaries add, `along` those with what is left of sums.

    All in units of the charged noise.
    """
    lengths = np.sqrt(np.diag(gram))
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-9 * values[-1]
    roots = np.sqrt(values[kept])
    # Vectors with the same inner products in as many dimensions as they span, and the sums' part in those.
    directions, residual = vectors[:, kept] * roots, (along @ vectors[:, kept]) / roots
    # Whoever looks for too little noise is prepared for it: canaries that look alike are told apart as far as a tenth
    # of the charged noise would let them be. Under the charged noise that costs power, and the tests hold all the same.
    scores = joint_scores(residual / _LOOKED_FOR, directions / _LOOKED_FOR, 0.5)
    others = gram @ truth - np.where(truth, np.diag(gram), 0.0)
    return Told(
        index=index, truth=truth, scores=scores, alone=(along - others) / lengths,
        family=Family(shifts=lengths, alike=gram / np.outer(lengths, lengths)),
    )  # fmt: skip
