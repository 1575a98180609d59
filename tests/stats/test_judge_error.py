"""Judge error: against the reference formulas, and how often the intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitask_bench.stats.judge_error import (
    FLAWLESS,
    Borrowed,
    Card,
    Estimate,
    Labelled,
    _apart,
    active_mean,
    borrowed_difference,
    independent,
    over_strata,
    ppi_difference,
    ppi_mean,
    rogan_gladen,
)
from multitask_bench.stats.rates import clustered_rate, rate

CARD = Card(hits=90, positives=100, cleared=95, negatives=100)


def masked(truth, kept) -> list[float | None]:
    return [float(t) if k else None for t, k in zip(truth, kept, strict=True)]


@pytest.mark.parametrize(
    ("flagged", "n", "card", "low", "high"),
    [
        # UW-Madison-Lee-Lab/LLM-judge-reporting, confidence_interval(p, q0, q1, n, m0, m1).
        (400, 1000, Card(180, 200, 140, 200), 0.05635072484160894, 0.2627330257859588),
        (250, 500, Card(80, 100, 80, 100), 0.3799746588561528, 0.6200253411438469),
        (1240, 2000, Card(329, 350, 129, 150), 0.5540683112896904, 0.640872723791618),
    ],
)
def test_the_interval_is_the_one_of_lang_and_reiczigel(flagged, n, card, low, high):
    found = rogan_gladen(flagged, n, card)
    assert (found.low, found.high) == pytest.approx((low, high))
    q1, q0 = card.sensitivity, card.specificity
    assert found.value == pytest.approx((flagged / n + q0 - 1) / (q0 + q1 - 1))
    assert (found.n, found.labels) == (n, card.positives + card.negatives)


def test_a_correction_stays_between_0_and_1_and_inside_its_interval():
    for flagged in (14, 20, 50, 72):
        found = rogan_gladen(flagged, 100, Card(70, 100, 80, 100))
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high
    assert rogan_gladen(0, 100, CARD).value == 0.0


@pytest.mark.parametrize("flagged", [0, 100])
def test_a_card_that_does_not_fit_the_answers_corrects_nothing(flagged):
    # With 20 % false alarms and 30 % misses, neither none nor all of 100 rows are flagged.
    assert rogan_gladen(flagged, 100, Card(70, 100, 80, 100)) == Estimate(None, None, None, 100, 200)


@pytest.mark.parametrize("alike", [True, False])
def test_a_rate_over_forms_covers_whether_the_forms_of_an_intent_are_alike_or_not(alike):
    rng = np.random.default_rng(9)
    forms, intents, trials, covered = 3, 60, 400, 0
    for _ in range(trials):
        shared = rng.random(intents) < 0.3
        estimates = []
        for sensitivity, specificity in ((0.9, 0.95), (0.8, 0.9), (0.95, 0.85)):
            truth = shared if alike else rng.random(intents) < 0.3
            said = np.where(truth, rng.random(intents) < sensitivity, rng.random(intents) > specificity)
            card = Card(int(rng.binomial(70, sensitivity)), 70, int(rng.binomial(70, specificity)), 70)
            estimates.append(rogan_gladen(int(said.sum()), intents, card))
        found = over_strata(estimates)
        covered += found.low <= 0.3 <= found.high
        assert found.n == forms * intents
    assert covered / trials >= 0.94


def test_a_form_that_cannot_be_corrected_leaves_the_total_uncorrected():
    fine = rogan_gladen(40, 100, CARD)
    assert over_strata([fine]) == fine
    assert over_strata([fine, Estimate(None, None, None, 50, 0)]).value is None
    assert over_strata([]).value is None
    two = over_strata([fine, rogan_gladen(10, 300, CARD)])
    assert fine.value > two.value > rogan_gladen(10, 300, CARD).value
    assert two.value == pytest.approx((100 * fine.value + 300 * rogan_gladen(10, 300, CARD).value) / 400)


@given(k=st.integers(0, 300), n=st.integers(1, 300))
def test_an_interval_says_how_many_rows_it_is_worth(k, n):
    k = min(k, n)
    found = rate(k, n)
    assert independent(found.value, found.low, found.high, most=10_000) == pytest.approx(n, rel=1e-3)
    assert independent(found.value, found.low, found.high, most=n / 2) <= n / 2


def test_labels_of_recurring_prompts_are_worth_fewer():
    # Ten prompts of thirty models each, where the prompt decides: worth ten labels, not three hundred.
    found = clustered_rate([[i < 7] * 30 for i in range(10)])
    assert independent(found.value, found.low, found.high, most=300) < 15


@pytest.mark.parametrize("card", [Card(50, 100, 50, 100), Card(10, 100, 20, 100), Card(0, 0, 9, 10), Card(9, 10, 0, 0)])
def test_a_judge_no_better_than_chance_corrects_nothing(card):
    assert rogan_gladen(10, 100, card).value is None
    assert borrowed_difference(a_only=0, b_only=9, both=3, n=50, card=card) == Borrowed(*[None] * 7)


@pytest.mark.parametrize("p", [0.0, 0.05, 0.3])
def test_the_corrected_rate_covers_where_the_plain_one_does_not(p):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(800):
        card = Card(int(rng.binomial(60, 0.9)), 60, int(rng.binomial(60, 0.85)), 60)
        found = rogan_gladen(int(rng.binomial(200, p * 0.9 + (1 - p) * 0.15)), 200, card)
        # A card that does not fit is told, not counted as right.
        covered += found.low is not None and found.low <= p <= found.high
    assert covered / 800 >= 0.93


def test_ppi_is_the_formula_of_the_paper_with_its_tuned_weight():
    rng = np.random.default_rng(2)
    truth = (rng.random(5_000) < 0.3).astype(float)
    judged = np.where(rng.random(5_000) < 0.1, 1 - truth, truth)
    kept = np.arange(5_000) < 500
    found = ppi_mean(judged.tolist(), masked(truth, kept))
    y, near, far = truth[:500], judged[:500], judged[500:]
    lam = np.cov(y, near)[0, 1] / ((1 + 500 / 4_500) * judged.var(ddof=1))
    value = lam * far.mean() + (y - lam * near).mean()
    half = 1.96 * math.sqrt(lam**2 * far.var() / 4_500 + (y - lam * near).var() / 500)
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx((value - half, value + half), abs=0.002)


@pytest.mark.parametrize("error", [0.01, 0.2])
def test_ppi_covers_and_a_good_judge_makes_it_narrower_than_the_labels_alone(error):
    rng = np.random.default_rng(3)
    covered, widths, alone = 0, [], []
    for _ in range(400):
        truth = (rng.random(600) < 0.3).astype(float)
        judged = np.where(rng.random(600) < error, 1 - truth, truth)
        labels = masked(truth, np.arange(600) < 100)
        found, plain = ppi_mean(judged.tolist(), labels), ppi_mean([0.5] * 600, labels)
        covered += found.low <= 0.3 <= found.high
        widths.append(found.high - found.low)
        alone.append(plain.high - plain.low)
    assert covered / 400 >= 0.93
    assert np.mean(widths) < np.mean(alone) * (0.75 if error == 0.01 else 1.0)


def test_a_judge_that_tells_nothing_costs_nothing():
    rng = np.random.default_rng(4)
    truth = (rng.random(1_000) < 0.5).astype(float)
    labels = masked(truth, np.arange(1_000) < 200)
    noise, alone = ppi_mean((rng.random(1_000) < 0.5).tolist(), labels), ppi_mean([0.0] * 1_000, labels)
    assert (noise.value, noise.low, noise.high) == pytest.approx((alone.value, alone.low, alone.high), abs=0.01)
    assert alone.value == pytest.approx(truth[:200].mean())


def test_labels_on_which_the_judge_never_erred_still_leave_room():
    judged = [1.0, 0.0] * 200
    found = ppi_mean(judged, [*judged[:40], *[None] * 360])
    assert found.value == pytest.approx(0.5)
    assert found.high - found.low > 2 * 1.96 * math.sqrt(0.25 / 400)


def test_active_labels_with_one_probability_are_ppi():
    rng = np.random.default_rng(5)
    truth = (rng.random(3_000) < 0.3).astype(float)
    judged = np.where(rng.random(3_000) < 0.1, 1 - truth, truth)
    kept = rng.random(3_000) < 0.2
    labels = masked(truth, kept)
    uniform, active = ppi_mean(judged.tolist(), labels), active_mean(judged.tolist(), labels, [0.2] * 3_000)
    assert active.value == pytest.approx(uniform.value, abs=0.01)
    assert active.high - active.low == pytest.approx(uniform.high - uniform.low, rel=0.15)
    assert active.labels == uniform.labels == kept.sum()


def test_asking_where_the_judge_is_unsure_covers_and_the_plain_mean_of_such_labels_does_not():
    rng = np.random.default_rng(6)
    covered, plain = 0, 0
    for _ in range(400):
        unsure = rng.random(500) < 0.3
        truth = (rng.random(500) < np.where(unsure, 0.6, 0.1)).astype(float)
        judged = np.where(rng.random(500) < np.where(unsure, 0.3, 0.02), 1 - truth, truth)
        chance = np.where(unsure, 0.4, 0.08)
        kept = rng.random(500) < chance
        found = active_mean(judged.tolist(), masked(truth, kept), chance.tolist())
        covered += found.low <= 0.25 <= found.high
        half = 1.96 * math.sqrt(truth[kept].var() / kept.sum())
        plain += abs(truth[kept].mean() - 0.25) <= half
    assert covered / 400 >= 0.93
    assert plain / 400 < 0.5


def test_a_difference_is_corrected_from_labels_of_both_arms_although_the_judge_errs_unlike_in_them():
    rng = np.random.default_rng(7)
    covered, naive = 0, 0
    for _ in range(400):
        before = (rng.random(500) < 0.1).astype(float)
        after = np.where(rng.random(500) < 0.2, 1.0, before)
        scores = [np.where(rng.random(500) < e, 1 - t, t) for e, t in ((0.02, before), (0.25, after))]
        kept = rng.random(500) < 0.3
        arms = [Labelled(s.tolist(), masked(t, kept)) for s, t in zip(scores, (before, after), strict=True)]
        found = ppi_difference(*arms)
        active = ppi_difference(*arms, probabilities=[0.3] * 500)
        assert active.value == pytest.approx(found.value, abs=0.05)
        covered += found.low <= 0.18 <= found.high
        moved = scores[1] - scores[0]
        naive += abs(moved.mean() - 0.18) <= 1.96 * math.sqrt(moved.var() / 500)
    assert covered / 400 >= 0.93
    assert naive / 400 < 0.6


def test_labels_of_one_arm_alone_never_correct_a_difference():
    judged = [1.0, 0.0, 1.0, 0.0]
    labelled, bare = Labelled(judged, [1.0, 0.0, None, None]), Labelled(judged, [None] * 4)
    with pytest.raises(ValueError, match="labels of both"):
        ppi_difference(labelled, bare)
    other = Labelled(judged, [1.0, None, None, 0.0])
    assert ppi_difference(labelled, other).labels == 1
    with pytest.raises(ValueError, match="one arm only"):
        ppi_difference(labelled, other, probabilities=[0.5] * 4)
    with pytest.raises(ValueError, match="same rows"):
        ppi_difference(labelled, Labelled(judged[:3], [1.0, 0.0, None]))


def test_too_few_labels_correct_nothing_and_mistakes_are_refused():
    assert ppi_mean([1.0, 0.0], [1.0, None]) == Estimate(None, None, None, 2, 1)
    assert active_mean([1.0], [None], [0.5]) == Estimate(None, None, None, 1, 0)
    with pytest.raises(ValueError, match="as many labels"):
        ppi_mean([1.0], [])
    with pytest.raises(ValueError, match="lie in"):
        ppi_mean([1.0, 5.0], [1.0, 5.0])
    for chance in ([0.0, 0.5], [0.5, 1.5]):
        with pytest.raises(ValueError, match="probability"):
            active_mean([1.0, 0.0], [1.0, 0.0], chance)
    with pytest.raises(ValueError, match="as many"):
        active_mean([1.0, 0.0], [1.0, 0.0], [0.5])
    with pytest.raises(ValueError, match="flagged"):
        rogan_gladen(5, 4, CARD)
    with pytest.raises(ValueError, match="card"):
        rogan_gladen(1, 4, Card(11, 10, 1, 1))


def test_labels_on_every_row_are_their_mean():
    labels = [1.0, 0.0, 0.0, 1.0, 1.0] * 10
    assert ppi_mean([0.0] * 50, labels).value == pytest.approx(0.6)
    assert active_mean([0.0] * 50, labels, [1.0] * 50).value == pytest.approx(0.6)


def test_a_borrowed_card_only_stretches_a_difference_if_the_judge_errs_alike():
    found = borrowed_difference(a_only=2, b_only=42, both=10, n=200, card=CARD, differential=0.0)
    assert found.value == pytest.approx(0.2 / 0.85)
    assert (found.lowest, found.highest) == (found.low, found.high)
    assert found.low > 0


def test_differential_error_widens_the_range_and_a_tipping_point_removes_the_sign():
    counts = {"a_only": 5, "b_only": 30, "both": 10, "n": 200, "card": CARD}
    found = borrowed_difference(**counts)
    assert found.lowest < found.low
    assert found.high < found.highest
    assert 0 < found.tipping < 0.5
    assert borrowed_difference(**counts, differential=found.tipping + 1e-4).lowest <= 0
    assert borrowed_difference(**counts, differential=found.tipping - 1e-3).lowest > 0
    assert found.tipping < found.reversal < 0.5
    mirrored = borrowed_difference(**{**counts, "a_only": 30, "b_only": 5})
    assert mirrored.tipping == pytest.approx(found.tipping, abs=1e-3)
    assert mirrored.highest == pytest.approx(-found.lowest)


def test_a_difference_that_is_not_shown_has_nothing_to_tip_and_a_huge_one_is_hard_to():
    assert borrowed_difference(a_only=9, b_only=10, both=5, n=200, card=CARD).tipping == 0.0
    small = borrowed_difference(a_only=2, b_only=30, both=10, n=300, card=CARD).tipping
    huge = borrowed_difference(a_only=0, b_only=280, both=0, n=300, card=CARD).tipping
    assert huge is None or huge > 5 * small


def test_a_good_judge_tips_where_a_flawless_one_does_and_a_poor_one_sooner():
    counts = {"a_only": 4, "b_only": 44, "both": 6, "n": 200}
    cards = (FLAWLESS, Card(9e5, 1e6, 9e5, 1e6), Card(8e5, 1e6, 8e5, 1e6), Card(95e4, 1e6, 7e5, 1e6))
    without, good, poor, bad = (borrowed_difference(**counts, card=card) for card in cards)
    assert (without.value, without.reversal) == pytest.approx((0.2, 0.2), abs=1e-3)
    assert poor.value == pytest.approx(0.2 / 0.6)
    assert good.tipping == pytest.approx(without.tipping, abs=0.01)
    assert without.tipping > poor.tipping > 0.75 * without.tipping
    assert poor.tipping > bad.tipping > 0.6 * without.tipping
    assert without.lowest < without.low < without.high < without.highest


def test_the_sign_of_a_difference_goes_when_the_judges_errors_make_up_all_of_it():
    none = borrowed_difference(a_only=10, b_only=10, both=5, n=200, card=CARD)
    assert (none.value, none.reversal) == (0.0, 0.0)
    # Nothing at all is answered before, all after: no judge that tells more than chance makes that up.
    assert borrowed_difference(a_only=0, b_only=300, both=0, n=300, card=CARD, differential=0.05).lowest > 0.8


def test_the_range_covers_a_judge_that_errs_five_points_more_in_one_arm():
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(300):
        before = rng.random(200) < 0.1
        after = before | (rng.random(200) < 0.2)
        seen = [
            np.where(t, rng.random(200) < se, rng.random(200) < fp)
            for t, se, fp in ((before, 0.88, 0.05), (after, 0.93, 0.1))
        ]
        card = Card(int(rng.binomial(80, 0.905)), 80, int(rng.binomial(80, 0.925)), 80)
        a_only, b_only, both = (int(x.sum()) for x in (seen[0] & ~seen[1], seen[1] & ~seen[0], seen[0] & seen[1]))
        found = borrowed_difference(a_only=a_only, b_only=b_only, both=both, n=200, card=card)
        covered += found.lowest <= 0.18 <= found.highest
    assert covered / 300 >= 0.95


def test_shares_that_lie_apart_stay_between_0_and_1():
    assert _apart(0.9, 0.1) == pytest.approx((0.85, 0.95))
    assert _apart(0.99, 0.1) == pytest.approx((0.9, 1.0))
    assert _apart(0.02, -0.1) == pytest.approx((0.1, 0.0))


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        borrowed_difference(a_only=3, b_only=3, both=3, n=8, card=CARD)
    with pytest.raises(ValueError, match="differential"):
        borrowed_difference(a_only=1, b_only=1, both=1, n=8, card=CARD, differential=5)
