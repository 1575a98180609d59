"""Paired tests and intervals, against published examples, references and by simulation."""

from __future__ import annotations

import math
from itertools import product
from operator import mul
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitask_bench.stats.paired import (
    Difference,
    benjamini_hochberg,
    bootstrap_difference,
    cochran_q,
    holm,
    mcnemar_exact,
    mcnemar_midp,
    sign_flip,
    tango,
    tango_lower,
    tango_p,
    tango_upper,
)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, int]:
    n = draw(st.integers(1, 400))
    a_only = draw(st.integers(0, n))
    return {"a_only": a_only, "b_only": draw(st.integers(0, n - a_only)), "n": n}


@pytest.mark.parametrize(("b", "c"), [(0, 1), (1, 0), (3, 12), (6, 16), (10, 10), (0, 20), (40, 70)])
def test_mcnemar_is_the_exact_test_of_statsmodels(b, c):
    from statsmodels.stats.contingency_tables import mcnemar

    assert mcnemar_exact(b, c) == pytest.approx(mcnemar([[9, b], [c, 9]], exact=True).pvalue)


@pytest.mark.parametrize(("b", "c"), [(0, 1), (3, 12), (12, 3), (6, 16), (9, 10), (0, 20), (40, 70)])
def test_mid_p_is_the_mean_of_the_exact_p_and_that_of_the_next_more_extreme_table(b, c):
    from scipy.stats import binom

    k, n = min(b, c), b + c
    beyond = 2 * binom.cdf(k - 1, n, 0.5)
    assert mcnemar_midp(b, c) == pytest.approx((mcnemar_exact(b, c) + beyond) / 2)


def test_mid_p_at_a_tie_and_without_discordant_pairs_is_one():
    # The exact p less the probability of the table, another way to write mid-p, is below 1 here.
    assert mcnemar_midp(0, 0) == mcnemar_midp(5, 5) == 1.0
    with pytest.raises(ValueError, match="negative"):
        mcnemar_midp(-1, 2)


def test_mid_p_is_the_published_one():
    # Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13, 91, table 2: 1 and 7 discordant.
    assert mcnemar_midp(1, 7) == pytest.approx(0.039, abs=5e-4)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_mid_p_errs_at_most_slightly_above_the_level(share):
    from scipy.stats import binom

    total = 0.0
    for pairs in range(101):
        wrong = [mcnemar_midp(b, pairs - b) <= 0.05 for b in range(pairs + 1)]
        inner = binom.pmf(np.arange(pairs + 1), pairs, 0.5)[wrong].sum()
        total += binom.pmf(pairs, 100, share) * inner
    assert total <= 0.052


@pytest.mark.parametrize("conditions", [2, 3, 5])
def test_cochrans_q_is_the_one_of_statsmodels(conditions):
    from statsmodels.stats.contingency_tables import cochrans_q

    table = np.random.default_rng(conditions).random((60, conditions)) < np.linspace(0.2, 0.5, conditions)
    found = cochran_q(table.tolist())
    reference = cochrans_q(table.astype(int))
    assert (found.statistic, found.p) == pytest.approx((reference.statistic, reference.pvalue))
    assert (found.df, found.exact) == (conditions - 1, False)


def test_cochrans_q_of_few_rows_permutes_and_of_none_is_missing():
    few = cochran_q([[True, False, False]] * 5)
    assert few.exact
    assert few.p == pytest.approx(3 * 3**-5, abs=0.004)
    assert cochran_q([[True, True], [False, False]]).p is None
    assert cochran_q([]).rows == 0
    with pytest.raises(ValueError, match="same two or more"):
        cochran_q([[True], [False]])


def test_cochrans_q_rarely_finds_what_is_not_there():
    rng = np.random.default_rng(23)
    tables = rng.random((400, 40, 4)) < rng.beta(0.5, 1.0, (400, 40, 1))
    wrong = sum((p := cochran_q(table.tolist()).p) is not None and p <= 0.05 for table in tables)
    assert wrong / 400 <= 0.08


def test_mcnemar_without_discordant_pairs_is_one():
    assert mcnemar_exact(0, 0) == 1.0


@pytest.mark.parametrize(
    ("a_only", "b_only", "n", "confidence", "low", "high", "digits"),
    [
        # Bentur et al. (2009) in Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33, 2850-2875.
        (7, 1, 21, 0.95, -0.517, -0.026, 3),
        # Cavo et al. (2012), same place; R contingencytables 3.0.0, tests of chapter 8.
        (16, 6, 161, 0.95, -0.1240, -0.0054, 4),
        # R PropCIs 0.3-0, scoreci.mp(25, 28, 618, 0.90), which also gives (second - first) / n.
        (25, 28, 618, 0.90, -0.0148, 0.0247, 4),
    ],
)
def test_tango_gives_the_published_intervals(a_only, b_only, n, confidence, low, high, digits):
    found = tango(a_only=a_only, b_only=b_only, n=n, confidence=confidence)
    assert found.value == (b_only - a_only) / n
    assert (round(found.low or 0, digits), round(found.high or 0, digits)) == (low, high)


def likelihood_score(a_only: int, b_only: int, n: int, delta: float) -> float:
    """Tango's statistic with the nuisance share found by maximising the likelihood numerically."""
    from scipy.optimize import minimize_scalar

    def minus_log(q: float) -> float:
        cells = ((a_only, q), (b_only, q + delta), (n - a_only - b_only, 1 - 2 * q - delta))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

    bounds = (max(0.0, -delta), (1 - delta) / 2)
    q = minimize_scalar(minus_log, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (b_only - a_only - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(
    ("a_only", "b_only", "n"), [(0, 0, 30), (0, 5, 50), (5, 0, 50), (3, 9, 40), (20, 20, 40), (1, 12, 13), (7, 1, 21)]
)
def test_tango_inverts_the_score_test_with_a_numerically_maximised_likelihood(a_only, b_only, n):
    found = tango(a_only=a_only, b_only=b_only, n=n)
    z = NormalDist().inv_cdf(0.975)
    grid = np.linspace(-0.995, 0.995, 399)
    kept = [d for d in grid if abs(likelihood_score(a_only, b_only, n, float(d))) <= z]
    assert found.low == pytest.approx(min(kept), abs=5.1e-3)
    assert found.high == pytest.approx(max(kept), abs=5.1e-3)


@given(tables())
def test_the_difference_lies_in_its_interval(table):
    value, low, high = tango(**table)
    assert -1 <= low <= value <= high <= 1
    assert low < high


@given(tables())
def test_swapping_the_arms_mirrors_the_interval(table):
    value, low, high = tango(**table)
    swapped = tango(a_only=table["b_only"], b_only=table["a_only"], n=table["n"])
    assert swapped == pytest.approx((-value, -high, -low), abs=1e-12)


@given(tables(), st.floats(-0.9, 0.9), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_lower_limit_and_the_test_against_a_margin_agree(table, margin, confidence):
    p = tango_p(**table, margin=margin)
    if abs(p - (1 - confidence)) > 1e-6:
        assert (tango_lower(**table, confidence=confidence) > margin) == (p < 1 - confidence)


@given(tables())
def test_more_confidence_widens_the_interval(table):
    assert tango_upper(**table, confidence=0.9) <= tango_upper(**table, confidence=0.99)


def test_without_discordance_the_upper_limit_has_its_closed_form():
    z = NormalDist().inv_cdf(0.95)
    assert tango_upper(a_only=0, b_only=0, n=52, confidence=0.95) == pytest.approx(z**2 / (52 + z**2))


@pytest.mark.parametrize("n", [1, 5, 1000, 10**6])
def test_extreme_tables_reach_the_end_of_the_range_and_no_further(n):
    assert tango(a_only=0, b_only=n, n=n).high == 1.0
    assert tango(a_only=n, b_only=0, n=n).low == -1.0


def test_without_pairs_there_is_no_difference_and_nothing_is_excluded():
    assert tango(a_only=0, b_only=0, n=0) == Difference(None, None, None)
    assert tango_upper(a_only=0, b_only=0, n=0, confidence=0.95) == 1.0
    assert tango_lower(a_only=0, b_only=0, n=0, confidence=0.95) == -1.0
    assert tango_p(a_only=0, b_only=0, n=0, margin=0.05) == 1.0


def test_more_discordant_pairs_than_pairs_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        tango(a_only=3, b_only=3, n=5)


@pytest.mark.parametrize(
    ("first", "second", "n"), [(0.02, 0.07, 100), (0.1, 0.1, 60), (0.05, 0.3, 40), (0.0, 0.05, 150)]
)
def test_the_tango_interval_covers_as_often_as_it_says(first, second, n):
    rng = np.random.default_rng(11)
    drawn = rng.multinomial(n, [first, second, 1 - first - second], 400)
    covered = 0
    for a_only, b_only, _ in drawn.tolist():
        _, low, high = tango(a_only=a_only, b_only=b_only, n=n)
        covered += low <= second - first <= high
    assert 0.92 <= covered / 400 <= 0.99


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_holm_is_the_holm_of_statsmodels(count):
    from statsmodels.stats.multitest import multipletests

    for p_values in np.random.default_rng(count).beta(0.3, 2, (5, count)).tolist():
        assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_benjamini_hochberg_is_the_one_of_statsmodels_and_missing_tests_leave_it(count):
    from statsmodels.stats.multitest import multipletests

    p_values = np.random.default_rng(count).beta(0.3, 2, count).tolist()
    assert benjamini_hochberg([None, *p_values])[1:] == pytest.approx(list(multipletests(p_values, method="fdr_bh")[1]))
    assert benjamini_hochberg([None, None]) == [None, None]


@given(st.lists(st.none() | st.floats(0, 1), max_size=12))
def test_a_missing_p_value_stays_missing_and_leaves_the_family(p_values):
    adjusted = holm(p_values)
    present = [p for p in p_values if p is not None]
    assert [p is None for p in adjusted] == [p is None for p in p_values]
    assert [p for p in adjusted if p is not None] == holm(present)


@given(st.lists(st.sampled_from([-1.0, -0.6, -0.2, 0.0, 0.2, 0.4, 1.0]), max_size=9))
def test_few_intents_give_the_exact_sign_flip_p(differences):
    sums = [abs(sum(map(mul, signs, differences))) for signs in product((-1, 1), repeat=len(differences))]
    reached = sum(total >= abs(sum(differences)) - 1e-9 for total in sums)
    assert sign_flip(differences) == pytest.approx(reached / len(sums))


def test_one_form_an_intent_makes_the_sign_flip_mcnemars_test():
    assert sign_flip([1.0] * 9 + [-1.0] * 2 + [0.0] * 50) == pytest.approx(mcnemar_exact(9, 2))
    sampled = sign_flip([1.0] * 25 + [-1.0] * 12 + [0.0] * 100)
    assert sampled == pytest.approx(mcnemar_exact(25, 12), abs=0.006)


def test_many_agreeing_intents_give_the_smallest_p_that_sampling_can():
    assert sign_flip([0.2] * 60, draws=1999) == 1 / 2000


def test_no_difference_is_no_evidence():
    assert sign_flip([]) == sign_flip([0.0, -0.0]) == 1.0


@settings(max_examples=25)
@given(st.lists(st.sampled_from([-0.4, -0.2, 0.0, 0.2, 0.6]), min_size=16, max_size=40), st.randoms())
def test_resampling_ignores_order_and_sides_and_repeats_under_a_seed(differences, rng):
    shuffled = rng.sample(differences, len(differences))
    assert sign_flip(shuffled, draws=500) == sign_flip(differences, draws=500)
    assert sign_flip([-d for d in differences], draws=500) == sign_flip(differences, draws=500)
    assert bootstrap_difference(shuffled, draws=200) == bootstrap_difference(differences, draws=200)


def test_the_sign_flip_p_is_uniform_enough_without_an_effect():
    rng = np.random.default_rng(3)
    tables = rng.choice([-0.4, -0.2, 0.0, 0.2, 0.4], (300, 40)).tolist()
    below = sum(sign_flip(table, draws=400) <= 0.05 for table in tables)
    assert below / 300 <= 0.09


def test_the_bootstrap_interval_is_near_the_normal_one_for_many_intents():
    rng = np.random.default_rng(5)
    differences = rng.choice([0.0, 0.2, 0.4, -0.2], 300).tolist()
    value, low, high = bootstrap_difference(differences)
    half = 1.96 * float(np.std(differences)) / math.sqrt(300)
    assert value == pytest.approx(float(np.mean(differences)))
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.004)


def test_the_bootstrap_of_nothing_is_missing_and_of_a_constant_leaves_room_for_the_unseen():
    assert bootstrap_difference([]) == Difference(None, None, None)
    unseen = 1 - 0.025 ** (1 / 7)
    assert bootstrap_difference([0.2] * 7) == pytest.approx((0.2, 0.2 - 1.2 * unseen, 0.2 + 0.8 * unseen))
    assert bootstrap_difference([0.0]) == pytest.approx((0.0, -0.975, 0.975))
    assert bootstrap_difference([1.0] * 7).high == 1.0


def test_the_bootstrap_covers_where_few_intents_differ():
    rng = np.random.default_rng(29)
    moved = rng.random((300, 50, 1)) < 0.1
    tables = (moved * np.where(rng.random((300, 50, 5)) < 2 / 3, 0.6, -0.6)).mean(axis=2)
    found = [bootstrap_difference(table.tolist(), draws=600) for table in tables]
    assert sum(low <= 0.02 <= high for _, low, high in found) / 300 >= 0.88
