"""The exact test: its size, its limits, and what it shares with Tango's score test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from multitask_bench.stats.exact import MOST_PAIRS, _scores, above_p, below_p, exact_lower, exact_upper
from multitask_bench.stats.paired import score_variance, tango_p, tango_upper


@st.composite
def tables(draw: st.DrawFn) -> dict[str, int]:
    n = draw(st.integers(1, 120))
    a_only = draw(st.integers(0, n))
    return {"a_only": a_only, "b_only": draw(st.integers(0, n - a_only)), "n": n}


def chance_of_error(n: int, first: float, margin: float, level: float) -> float:
    total = 0.0
    second = first + margin
    for a in range(n + 1):
        for b in range(n + 1 - a):
            if below_p(a_only=a, b_only=b, n=n, margin=margin) <= level:
                total += multinomial.pmf([a, b, n - a - b], n, [first, second, 1 - first - second])
    return total


@pytest.mark.parametrize("margin", [0.05, -0.05, 0.2])
@pytest.mark.parametrize("first", [0.051, 0.1, 0.3])
def test_a_difference_at_the_margin_is_called_below_it_in_at_most_five_of_a_hundred(margin, first):
    assert chance_of_error(18, first, margin, 0.05) <= 0.05
    assert chance_of_error(18, first, margin, 0.01) <= 0.01


def test_the_score_test_alone_errs_more():
    # 52 pairs, of which none differs though 5 % would: 0.95^52.
    assert tango_upper(a_only=0, b_only=0, n=52, confidence=0.95) <= 0.05
    assert below_p(a_only=0, b_only=0, n=52, margin=0.05) == pytest.approx(0.95**52 + 0.001, abs=1e-6)


def brute_force_p(a_only: int, b_only: int, n: int, margin: float) -> float:
    """The same p by walking all tables and 400 values of the nuisance share."""
    seen = _scores(np.array([a_only]), np.array([b_only]), n, margin)[0]
    cells = [(a, b) for a in range(n + 1) for b in range(n + 1 - a)]
    a, b = np.array(cells).T
    inside = [cell for cell, score in zip(cells, _scores(a, b, n, margin), strict=True) if score <= seen + 1e-9]
    ends = binomtest(a_only, n).proportion_ci(0.999, method="exact")
    lowest, highest = max(0.0, -margin), (1 - margin) / 2
    best = 0.0
    for q in np.linspace(max(lowest, ends.low), min(highest, ends.high), 400):
        shares = [q, q + margin, max(0.0, 1 - 2 * q - margin)]
        best = max(best, sum(multinomial.pmf([x, y, n - x - y], n, shares) for x, y in inside))
    return best + 0.001


@pytest.mark.parametrize(("a_only", "b_only", "n", "margin"), [(0, 0, 12, 0.05), (2, 1, 10, 0.1), (3, 0, 9, -0.1)])
def test_the_p_value_is_the_one_of_all_tables(a_only, b_only, n, margin):
    found = below_p(a_only=a_only, b_only=b_only, n=n, margin=margin)
    assert found == pytest.approx(brute_force_p(a_only, b_only, n, margin), abs=2e-3)


@settings(max_examples=60, deadline=None)
@given(tables(), st.floats(-0.9, 0.9))
def test_the_scores_are_tangos(table, margin):
    a, b, n = table["a_only"], table["b_only"], table["n"]
    variance = n * score_variance(a / n, b / n, margin)
    if variance > 1e-9:
        expected = (b - a - n * margin) / math.sqrt(variance)
        assert _scores(np.array([a]), np.array([b]), n, margin)[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(tables(), st.floats(-0.8, 0.8), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_limits_and_the_tests_agree(table, margin, confidence):
    low, high = exact_lower(**table, confidence=confidence), exact_upper(**table, confidence=confidence)
    assert -1 <= low <= (table["b_only"] - table["a_only"]) / table["n"] <= high <= 1
    # The p value is not strictly monotone in the margin, so a hair's breadth on either side is left out.
    if margin > high + 0.005:
        assert below_p(**table, margin=margin) <= 1 - confidence + 0.002
    if margin < low - 0.005:
        assert above_p(**table, margin=margin) <= 1 - confidence + 0.002


def test_with_many_pairs_it_is_the_score_test():
    for a_only, b_only in ((20, 60), (100, 130)):
        table = {"a_only": a_only, "b_only": b_only, "n": 1500}
        assert above_p(**table, margin=0.01) == pytest.approx(tango_p(**table, margin=0.01), abs=0.006)
        many = {"a_only": a_only, "b_only": b_only, "n": MOST_PAIRS + 1}
        assert above_p(**many, margin=0.01) == pytest.approx(tango_p(**many, margin=0.01))
        assert below_p(**many, margin=0.01) == pytest.approx(1 - tango_p(**many, margin=0.01))
        assert exact_upper(**many, confidence=0.95) == tango_upper(**many, confidence=0.95)


def test_without_pairs_nothing_is_excluded_and_impossible_counts_are_refused():
    assert below_p(a_only=0, b_only=0, n=0, margin=0.05) == 1.0
    assert exact_upper(a_only=0, b_only=0, n=0, confidence=0.95) == 1.0
    assert exact_lower(a_only=0, b_only=0, n=0, confidence=0.95) == -1.0
    assert exact_upper(a_only=0, b_only=3, n=3, confidence=0.95) == 1.0
    with pytest.raises(ValueError, match="do not fit"):
        below_p(a_only=2, b_only=2, n=3, margin=0.0)
    with pytest.raises(ValueError, match="margin"):
        below_p(a_only=2, b_only=2, n=5, margin=1.0)
