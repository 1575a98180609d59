"""Rates and their intervals, against scipy, statsmodels and by simulation."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitask_bench import stats
from multitask_bench.schema import Rate
from multitask_bench.stats.rates import _wilson, answered_bounds, clustered_rate, rate

EMPTY = Rate(value=None, low=None, high=None, n=0)
counts = st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
cluster_lists = st.lists(st.lists(st.booleans(), max_size=7), max_size=30)


def spans(found: Rate) -> tuple[float, float, float]:
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.value, found.high


@settings(max_examples=50)
@given(counts)
def test_a_rate_lies_in_its_interval_and_the_interval_is_never_a_point(count):
    low, value, high = spans(rate(*count))
    assert 0 <= low <= value <= high <= 1
    assert low < high


@settings(max_examples=50)
@given(counts)
def test_turning_answers_into_refusals_mirrors_the_interval(count):
    k, n = count
    low, value, high = spans(rate(k, n))
    assert spans(rate(n - k, n)) == pytest.approx((1 - high, 1 - value, 1 - low))


@pytest.mark.parametrize(("k", "n"), [(1, 7), (5, 50), (25, 50), (49, 50), (200, 205)])
def test_the_interval_is_the_wilson_interval_of_statsmodels(k, n):
    from statsmodels.stats.proportion import proportion_confint

    low, _, high = spans(rate(k, n))
    assert (low, high) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (0, 205), (5000, 5000)])
def test_at_a_share_of_0_or_1_the_interval_is_the_exact_one_of_statsmodels(k, n):
    from statsmodels.stats.proportion import proportion_confint

    low, _, high = spans(rate(k, n))
    assert (low, high) == pytest.approx(proportion_confint(k, n, method="beta"), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 50, 400])
def test_one_answer_more_moves_both_ends_up_across_the_change_of_method(n):
    found = [spans(rate(k, n)) for k in range(n + 1)]
    assert all(a[0] <= b[0] and a[2] <= b[2] for a, b in pairwise(found))


@pytest.mark.parametrize(("k", "n"), [(3, 50), (49, 50)])
def test_the_formula_for_fractional_rows_agrees_with_scipy_at_whole_ones(k, n):
    from scipy.stats import binomtest

    ends = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert _wilson(k / n, n) == pytest.approx((ends.low, ends.high), abs=1e-12)


def test_no_refusals_broken_in_fifty_still_allows_seven_percent():
    assert spans(rate(0, 50))[2] == pytest.approx(0.0711, abs=1e-4)


def test_without_rows_a_rate_is_missing_and_not_zero():
    assert rate(0, 0) == clustered_rate([]) == clustered_rate([[], []]) == EMPTY


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match="0 <= k <= n"):
        rate(k, n)


@settings(max_examples=50)
@given(cluster_lists, st.randoms())
def test_a_clustered_rate_ignores_order_and_lies_in_its_interval(clusters, rng):
    found = clustered_rate(clusters)
    shuffled = [rng.sample(rows, len(rows)) for rows in clusters]
    rng.shuffle(shuffled)
    assert clustered_rate(shuffled) == found
    if found.n:
        low, value, high = spans(found)
        assert 0 <= low <= value <= high <= 1
        assert low < high


@settings(max_examples=50)
@given(cluster_lists.filter(lambda clusters: any(clusters)))
def test_clusters_never_narrow_the_interval_of_independent_rows(clusters):
    rows = [row for rows in clusters for row in rows]
    low, value, high = spans(clustered_rate(clusters))
    plain_low, plain_value, plain_high = spans(rate(sum(rows), len(rows)))
    assert value == plain_value
    assert low <= plain_low + 1e-12
    assert high >= plain_high - 1e-12


def test_forms_that_always_agree_are_worth_one_row_an_intent():
    clusters = [[True] * 5] * 8 + [[False] * 5] * 32
    found = clustered_rate(clusters)
    assert found.n == 200
    assert spans(found) == pytest.approx(spans(rate(8, 40)))


def test_at_a_rate_of_zero_the_number_of_intents_counts_not_of_rows():
    assert spans(clustered_rate([[False] * 5] * 40)) == pytest.approx(spans(rate(0, 40)))


def test_at_a_rate_of_zero_one_large_cluster_among_small_ones_does_not_pass_for_many():
    low, _, high = spans(clustered_rate([[False] * 100, [False], [False], [False]]))
    assert (low, high) == pytest.approx((0, 0.97), abs=0.01)


def test_single_row_clusters_are_independent_rows():
    clusters = [[True]] * 30 + [[False]] * 70
    # G/(G - 1) makes 100 clusters of one row worth 99 rows.
    assert spans(clustered_rate(clusters)) == pytest.approx(spans(rate(30, 100)), abs=2e-3)


@pytest.mark.parametrize("mean", [0.1, 0.4])
def test_the_clustered_interval_covers_where_the_plain_one_does_not(mean):
    rng = np.random.default_rng(7)
    truths = rng.beta(mean, 1 - mean, (400, 60))  # forms of one intent correlate at 1/2
    drawn = rng.random((400, 60, 5)) < truths[..., None]
    covered, plain = 0, 0
    for table in drawn:
        low, _, high = spans(clustered_rate(table.tolist()))
        covered += low <= mean <= high
        low, high = _wilson(float(table.mean()), table.size)
        plain += low <= mean <= high
    assert 0.91 <= covered / 400 <= 0.985
    assert plain / 400 < 0.85


def test_the_bounds_count_every_unjudged_row_once_as_refused_and_once_as_answered():
    assert answered_bounds(3, 2, 10) == (0.3, 0.5)
    assert answered_bounds(0, 0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="do not fit"):
        answered_bounds(8, 3, 10)


def test_importing_the_statistics_loads_neither_scipy_stats_nor_torch():
    modules = [path.stem for path in Path(stats.__file__).parent.glob("*.py")]
    assert len(modules) >= 11
    lines = [f"import multitask_bench.stats.{name}" for name in modules]
    heavy = "{'scipy.stats', 'statsmodels', 'torch', 'inspect_ai'}"
    code = "\n".join(["import sys", *lines, f"sys.exit(bool({heavy} & set(sys.modules)))"])
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_more_rows_at_the_same_rate_narrow_the_interval():
    widths = [spans(rate(n // 4, n)) for n in (20, 80, 320, 1280)]
    assert all(after[2] - after[0] < before[2] - before[0] for before, after in pairwise(widths))
