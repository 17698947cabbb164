from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from attacks import FINAL_MODEL, MEMBERSHIP, Candidates, Capability, Coin, Terms, View, discoveries, play
from attacks.errors import CapabilityMissing, CoinsContradicted, GameInvalid, TooFew
from attacks.games.judging import auc_score
from evaluation.evidence import LowerBound, Score
from evaluation.intervals import delong_auc

Make = Callable[..., Candidates]
BLIND = Score(value=0.5, low=0.45, high=0.55, confidence=0.95, n=100)
VIEW = View.of(FINAL_MODEL, {"final_model": np.zeros(1)})
TERMS = Terms(target="a test", seed=1, coin=Coin())


@dataclass(frozen=True)
class Given:
    values: np.ndarray
    name: str = "given"
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    def score(self, view: View, candidates: Candidates) -> np.ndarray:
        return self.values


def coins(n: int, rate: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < rate


def test_independent_candidates_get_delongs_interval(make_candidates: Make) -> None:
    truth = coins(200)
    scores = truth + np.random.default_rng(1).normal(size=200)
    outcome = play(MEMBERSHIP, Given(scores), VIEW, make_candidates(200), truth, TERMS, BLIND)
    assert outcome.auc == delong_auc(scores, truth, 0.95)
    assert (outcome.n_members, outcome.n_nonmembers) == (truth.sum(), 200 - truth.sum())
    assert outcome.n_clusters == 200
    assert (outcome.game, outcome.attack, outcome.view) == ("membership", "given", "final model")


def test_duplicated_candidates_do_not_narrow_the_interval() -> None:
    truth = coins(100)
    scores = truth + np.random.default_rng(1).normal(size=100)
    single = delong_auc(scores, truth)
    tenfold = auc_score(np.repeat(scores, 10), np.repeat(truth, 10), np.repeat(np.arange(100), 10), TERMS)
    naive = delong_auc(np.repeat(scores, 10), np.repeat(truth, 10))
    assert tenfold.value == pytest.approx(single.value)
    assert tenfold.high - tenfold.low == pytest.approx(single.high - single.low, rel=0.25)
    assert naive.high - naive.low < 0.4 * (single.high - single.low)


def test_a_perfect_attack_has_an_interval_that_is_not_a_point() -> None:
    truth = np.repeat(coins(30), 5)
    score = auc_score(truth.astype(float), truth, np.repeat(np.arange(30), 5), TERMS)
    assert score.value == score.high == 1.0
    assert 0.6 < score.low < 0.95


@pytest.mark.parametrize(
    ("truth", "cluster", "said"),
    [
        (coins(60), np.zeros(60, int), "1 clusters with positives and 1"),
        (np.arange(60) == 3, None, "1 candidates with positives"),
        (np.arange(60) != 3, None, "1 with negatives"),
        (np.arange(60) < 30, np.minimum(np.arange(60) // 30 + np.arange(60) // 45, 2), "1 clusters with positives"),
    ],
)
def test_what_shows_no_spread_gets_a_sentence(
    truth: np.ndarray, cluster: np.ndarray | None, said: str, make_candidates: Make
) -> None:
    scores, terms = np.random.default_rng(2).normal(size=60), replace(TERMS, coin=None)
    with pytest.raises(GameInvalid, match=said):
        play(MEMBERSHIP, Given(scores), VIEW, make_candidates(60, cluster=cluster), truth, terms, BLIND)


def test_two_clusters_show_a_spread_if_little_of_it(make_candidates: Make) -> None:
    truth, cluster = coins(60), np.arange(60) % 2
    scores = truth + np.random.default_rng(2).normal(size=60)
    outcome = play(MEMBERSHIP, Given(scores), VIEW, make_candidates(60, cluster=cluster), truth, TERMS, BLIND)
    assert outcome.auc.high - outcome.auc.low > delong_auc(scores, truth).high - delong_auc(scores, truth).low


def test_coins_of_a_person_are_not_taken_for_coins_of_an_example(make_candidates: Make) -> None:
    """Thirty people with ten windows each and a coin a person: declared as 300 coins, the bound would be void."""
    cluster = np.repeat(np.arange(30), 10)
    truth = coins(30)[cluster]
    scores = truth + 0.1 * np.random.default_rng(0).normal(size=300)
    candidates = make_candidates(300, cluster=cluster)
    with pytest.raises(GameInvalid, match=r"30 of 30 clusters .*Coin\(per_cluster=True\)"):
        play(MEMBERSHIP, Given(scores), VIEW, candidates, truth, TERMS, BLIND)
    # One window declared wrongly does not hide it.
    truth[0] = ~truth[0]
    with pytest.raises(GameInvalid, match="29 of 30 clusters"):
        play(MEMBERSHIP, Given(scores), VIEW, candidates, truth, TERMS, BLIND)
    truth[0] = ~truth[0]
    outcome = play(
        MEMBERSHIP, Given(scores), VIEW, candidates, truth, replace(TERMS, coin=Coin(per_cluster=True)), BLIND
    )
    assert outcome.guesses is not None
    assert outcome.guesses.candidates == 30


def test_honest_coins_of_examples_in_clusters_are_not_refused(make_candidates: Make) -> None:
    for rate in (0.1, 0.5, 0.9):
        for seed in range(40):
            truth, cluster = coins(200, rate, seed), np.arange(200) // 2
            terms = replace(TERMS, coin=Coin(rate))
            given, candidates = Given(np.arange(200.0)), make_candidates(200, cluster=cluster)
            outcome = play(MEMBERSHIP, given, VIEW, candidates, truth, terms, BLIND)
            assert (outcome.n_members, outcome.n_nonmembers) == (truth.sum(), (~truth).sum())


def test_examples_that_occur_twice_are_refused_unless_they_share_a_coin(make_candidates: Make) -> None:
    once, truth = make_candidates(50), coins(50)
    both = np.r_[np.arange(50), np.arange(50)]
    copies = Candidates(once.x[both], once.y[both], np.arange(100), once.task[both])
    scores = np.arange(100.0)
    with pytest.raises(GameInvalid, match=r"100 of 100 candidates occur more than once, such as \[0, 50\]"):
        play(MEMBERSHIP, Given(scores), VIEW, copies, coins(100), TERMS, BLIND)
    # A zero with a sign is the same number to a network.
    signed = Candidates(np.array([[0.0], [-0.0], [1.0], [2.0]]), np.zeros(4, int), np.arange(4), np.zeros(4, int))
    with pytest.raises(GameInvalid, match="2 of 4"):
        play(MEMBERSHIP, Given(np.arange(4.0)), VIEW, signed, np.array([1, 0, 1, 0], dtype=bool), TERMS, BLIND)
    shared = Candidates(once.x[both], once.y[both], both, once.task[both])
    outcome = play(
        MEMBERSHIP, Given(scores), VIEW, shared, truth[both], replace(TERMS, coin=Coin(per_cluster=True)), BLIND
    )
    assert outcome.n_clusters == 50


def test_an_outcome_has_the_p_value_of_its_coins(make_candidates: Make) -> None:
    truth = coins(60)
    scores = truth + np.random.default_rng(5).normal(size=60)
    outcome = play(MEMBERSHIP, Given(scores), VIEW, make_candidates(60), truth, TERMS, BLIND)
    known = stats.mannwhitneyu(scores[truth], scores[~truth], alternative="greater", method="exact").pvalue
    assert outcome.p_value == pytest.approx(known)
    (found,) = discoveries([outcome])
    assert found.p_value == outcome.p_value


def test_rates_that_the_sample_cannot_show_are_refused_with_a_reason(make_candidates: Make) -> None:
    truth = coins(400)
    outcome = play(MEMBERSHIP, Given(truth.astype(float)), VIEW, make_candidates(400), truth, TERMS, BLIND)
    tenth, hundredth, thousandth = outcome.tpr
    assert tenth.value == 1.0
    assert hundredth.value is thousandth.value is None
    assert hundredth.reason is not None


def test_a_perfect_attack_reaches_the_ceiling_and_no_attack_shows_nothing(make_candidates: Make) -> None:
    truth = np.random.default_rng(0).permutation(np.arange(400) % 2 == 0)
    candidates = make_candidates(400)
    perfect = play(MEMBERSHIP, Given(truth.astype(float)), VIEW, candidates, truth, TERMS, BLIND).epsilon_lower
    nothing = play(MEMBERSHIP, Given(np.zeros(400)), VIEW, candidates, truth, TERMS, BLIND).epsilon_lower
    assert perfect is not None
    assert nothing is not None
    assert perfect.value == perfect.ceiling == nothing.ceiling
    assert 3.5 < perfect.ceiling < 6
    assert nothing.value < 0.1  # guesses on ties are coin flips


@pytest.mark.parametrize("rate", [0.5, 0.2, 0.8])
def test_randomised_response_is_never_shown_to_leak_more_than_it_does(rate: float, make_candidates: Make) -> None:
    """Answers that are true with odds e^epsilon leak epsilon: the bound may exceed it 1 time in 20."""
    epsilon, n, exceeded, values = 1.0, 600, 0, []
    terms = replace(TERMS, coin=Coin(rate), delta=0.0)
    for seed in range(60):
        random = np.random.default_rng(seed)
        truth = random.random(n) < rate
        honest = random.random(n) < 1 / (1 + np.exp(-epsilon))
        scores = np.where(honest, truth, ~truth).astype(float)
        bound = play(
            MEMBERSHIP, Given(scores), VIEW, make_candidates(n), truth, replace(terms, seed=seed), BLIND
        ).epsilon_lower
        assert bound is not None
        exceeded += bound.value > epsilon
        values.append(bound.value)
    # Binomial(60, .05) exceeds 15 with probability below 1e-6.
    assert exceeded <= 15
    assert np.mean(values) > 0.4


def test_a_rare_truth_is_thinned_to_a_fair_game(make_candidates: Make) -> None:
    """The one-run theorem needs fair coins: of 600 candidates at a rate of .1, about 120 can be used."""
    truth = coins(600, 0.1, 3)

    def bound(scores: np.ndarray, given: np.ndarray, rate: float) -> LowerBound:
        terms = replace(TERMS, coin=Coin(rate))
        found = play(MEMBERSHIP, Given(scores), VIEW, make_candidates(len(given)), given, terms, BLIND)
        assert found.epsilon_lower is not None
        return found.epsilon_lower

    assert bound(np.zeros(600), truth, 0.1).value < 0.2
    thinned, fewer, more = bound(truth * 1.0, truth, 0.1), coins(80), coins(160)
    assert bound(fewer * 1.0, fewer, 0.5).ceiling < thinned.ceiling < bound(more * 1.0, more, 0.5).ceiling
    assert thinned.value > 0.5 * thinned.ceiling


def test_judging_does_not_reuse_the_challengers_coins(make_candidates: Make) -> None:
    """Coins flipped from the seed that also judges: thinning with the same numbers would be no coin at
    all."""
    values = []
    for seed in range(20):
        truth = np.random.default_rng(seed).random(600) < 0.2
        honest = np.random.default_rng([seed, 1]).random(600) < 0.9
        terms = replace(TERMS, seed=seed, coin=Coin(0.2))
        outcome = play(
            MEMBERSHIP,
            Given(np.where(honest, truth, ~truth) * 1.0),
            VIEW,
            make_candidates(600),
            truth,
            terms,
            BLIND,
        )
        assert outcome.epsilon_lower is not None
        values.append(outcome.epsilon_lower.value)
    # Right nine times in ten is epsilon 2.2; about 240 fair candidates prove most of it.
    assert 1.3 < np.mean(values) < 2.2


def test_no_coin_no_bound(make_candidates: Make) -> None:
    truth = coins(100)
    outcome = play(MEMBERSHIP, Given(truth * 1.0), VIEW, make_candidates(100), truth, replace(TERMS, coin=None), BLIND)
    assert outcome.epsilon_lower is None
    assert not outcome.contradicts_ledger


def test_a_declared_coin_that_cannot_have_been_used_is_refused(make_candidates: Make) -> None:
    truth = coins(400, 0.2)
    with pytest.raises(GameInvalid, match=r"rate 0\.5"):
        play(MEMBERSHIP, Given(truth * 1.0), VIEW, make_candidates(400), truth, TERMS, BLIND)


def test_coins_per_cluster_count_clusters(make_candidates: Make) -> None:
    cluster = np.repeat(np.arange(50), 10)
    truth = coins(50)[cluster]
    terms = replace(TERMS, coin=Coin(per_cluster=True))
    candidates = make_candidates(500, cluster=cluster)
    many = play(MEMBERSHIP, Given(truth * 1.0), VIEW, candidates, truth, terms, BLIND).epsilon_lower
    few = play(MEMBERSHIP, Given(coins(50) * 1.0), VIEW, make_candidates(50), coins(50), TERMS, BLIND).epsilon_lower
    assert many is not None
    assert few is not None
    assert many.ceiling == few.ceiling
    with pytest.raises(GameInvalid, match="per cluster"):
        play(MEMBERSHIP, Given(truth * 1.0), VIEW, candidates, coins(500), terms, BLIND)


def test_void_and_contradiction_are_marked(make_candidates: Make) -> None:
    truth = coins(400)
    outcome = play(
        MEMBERSHIP,
        Given(truth * 1.0),
        VIEW,
        make_candidates(400),
        truth,
        replace(TERMS, ledger_epsilon=2.0),
        BLIND,
    )
    assert not outcome.void
    assert outcome.contradicts_ledger
    assert replace(outcome, blind=Score(value=0.6, low=0.55, high=0.65, confidence=0.95, n=400)).void
    assert replace(outcome, blind=Score(value=0.4, low=0.35, high=0.45, confidence=0.95, n=400)).void
    assert not replace(outcome, terms=replace(TERMS, ledger_epsilon=8.0)).contradicts_ledger
    assert not replace(outcome, terms=TERMS).contradicts_ledger


@pytest.mark.parametrize(
    "truth", [np.ones(5, bool), np.zeros(5, bool), np.array([0, 1, 0, 1, 1]), np.array([True, False])]
)
def test_malformed_truths_are_refused(truth: np.ndarray, make_candidates: Make) -> None:
    with pytest.raises(GameInvalid):
        play(MEMBERSHIP, Given(np.zeros(5)), VIEW, make_candidates(5), truth, TERMS, BLIND)


def test_a_game_refuses_an_attack_that_its_view_does_not_carry(make_candidates: Make) -> None:
    attack = Given(np.zeros(10), requires=frozenset({Capability.SUMS}))
    with pytest.raises(CapabilityMissing, match="SUMS"):
        play(MEMBERSHIP, attack, VIEW, make_candidates(10), coins(10), TERMS, BLIND)


def test_a_lack_of_data_and_a_contradiction_are_different_errors(make_candidates: Make) -> None:
    """Whoever goes on without a game for lack of data must not go on past coins that were not those declared."""
    one_sided = np.ones(5, dtype=np.bool_)
    with pytest.raises(TooFew):
        play(MEMBERSHIP, Given(np.zeros(5)), VIEW, make_candidates(5), one_sided, TERMS, BLIND)
    with pytest.raises(CoinsContradicted, match=r"rate 0\.5"):
        play(MEMBERSHIP, Given(np.zeros(400)), VIEW, make_candidates(400), coins(400, 0.2), TERMS, BLIND)
    assert not issubclass(CoinsContradicted, TooFew)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_coin_needs_a_rate_inside_its_range(rate: float) -> None:
    with pytest.raises(GameInvalid, match="rate"):
        Coin(rate)
