"""Non-inferiority: against statsmodels, and how often it errs at the margin."""

from __future__ import annotations

import numpy as np
import pytest

from multitask_bench.stats.noninferiority import noninferior, noninferior_binary


def test_the_t_method_is_the_lower_half_of_statsmodels_paired_tost():
    from statsmodels.stats.weightstats import ttost_paired

    rng = np.random.default_rng(1)
    first, second = rng.normal(0.5, 0.1, 60), rng.normal(0.5, 0.1, 60)
    _, (_, p_above, _), (_, p_below, _) = ttost_paired(second, first, -0.02, 0.02)
    found = noninferior((second - first).tolist(), margin=0.02, method="t")
    assert found.p == pytest.approx(p_above)
    assert found.p_inferior == pytest.approx(1 - p_above)
    assert noninferior((first - second).tolist(), margin=0.02, method="t").p == pytest.approx(p_below)


@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_the_verdict_follows_from_the_limits(method):
    rng = np.random.default_rng(2)
    for shift, verdict in ((0.0, "noninferior"), (-0.1, "inferior"), (-0.02, "inconclusive")):
        rows = rng.normal(0, 0.05, 200)
        found = noninferior((rows - rows.mean() + shift).tolist(), margin=0.02, method=method)
        assert found.verdict == verdict
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.value < found.high
        assert (found.p <= 0.05) == (verdict == "noninferior")
        assert (found.p_inferior <= 0.05) == (verdict == "inferior")


def test_the_studentized_bootstrap_is_near_the_t_interval_for_normal_rows():
    rows = np.random.default_rng(3).normal(0, 1, 400).tolist()
    one, other = noninferior(rows, margin=0.1, method="t"), noninferior(rows, margin=0.1)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.01)


def test_a_loss_equal_to_the_margin_with_a_long_tail_is_rarely_called_noninferior():
    rng = np.random.default_rng(4)
    rows = 0.02 - np.where(rng.random((300, 50)) < 0.5, rng.exponential(0.08, (300, 50)), 0.0)
    wrong = {
        m: sum(noninferior(r.tolist(), margin=0.02, method=m).verdict == "noninferior" for r in rows)
        for m in ("t", "bootstrap")
    }
    assert wrong["bootstrap"] / 300 <= 0.09
    assert wrong["bootstrap"] < wrong["t"]


def test_rows_that_all_agree_claim_nothing():
    for rows in ([], [0.1], [0.0] * 50):
        found = noninferior(rows, margin=0.02)
        assert (found.verdict, found.low, found.p) == ("inconclusive", None, None)


def test_yes_or_no_metrics_take_the_exact_paired_test():
    assert noninferior_binary(a_only=0, b_only=0, n=59, margin=0.05).verdict == "noninferior"
    assert noninferior_binary(a_only=0, b_only=0, n=58, margin=0.05).verdict == "inconclusive"
    lost = noninferior_binary(a_only=40, b_only=0, n=200, margin=0.05)
    assert (lost.verdict, lost.value) == ("inferior", -0.2)
    assert lost.high is not None
    assert lost.high < -0.05
    assert noninferior_binary(a_only=0, b_only=0, n=0, margin=0.05).value is None


def test_a_margin_is_a_number_above_zero():
    with pytest.raises(ValueError, match="above 0"):
        noninferior([0.1, 0.2], margin=0.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        noninferior_binary(a_only=0, b_only=0, n=5, margin=5)
    with pytest.raises(ValueError, match="confidence"):
        noninferior([0.1, 0.2], margin=0.1, confidence=95)
