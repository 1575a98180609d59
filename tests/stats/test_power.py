"""Power: METHODS section 4.7's numbers, and a simulation of what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitask_bench.stats.exact import above_p, below_p
from multitask_bench.stats.paired import mcnemar_exact
from multitask_bench.stats.power import (
    detectable_rise,
    intents_for_zero,
    intents_needed,
    intents_to_settle,
    rate_intents_to_settle,
    rise_shown,
    rows_for_noninferiority,
)


@pytest.mark.parametrize(("share", "n"), [(0.05, 155), (0.10, 312), (0.15, 469), (0.20, 626), (0.30, 940)])
def test_a_five_point_rise_needs_connors_number_of_intents(share, n):
    assert intents_needed(0.05, discordant_share=share) == n


@pytest.mark.parametrize(
    ("n", "share", "rise"), [(205, 0.1, 0.062), (205, 0.2, 0.087), (205, 0.3, 0.107), (50, 0.2, 0.17), (50, 0.3, 0.21)]
)
def test_the_detectable_rise_is_the_one_of_the_plan(n, share, rise):
    assert detectable_rise(n, discordant_share=share) == pytest.approx(rise, abs=0.0035)


@given(st.integers(4, 5_000), st.floats(0, 1))
def test_the_detectable_rise_is_the_smallest_that_so_many_intents_suffice_for(n, share):
    rise = detectable_rise(n, discordant_share=share)
    assert rise is not None
    assert intents_needed(rise, discordant_share=share) <= n
    assert intents_needed(rise * 0.98, discordant_share=share) >= n


def test_three_pairs_can_show_nothing():
    assert detectable_rise(3, discordant_share=0.2) is None


def test_the_needed_number_of_intents_gives_about_the_promised_power():
    # The exact McNemar test is a little weaker than the score test that Connor planned for.
    n = intents_needed(0.1, discordant_share=0.2)
    drawn = np.random.default_rng(1).multinomial(n, [0.05, 0.15, 0.8], 500).tolist()
    shown = sum(mcnemar_exact(a, b) <= 0.05 for a, b, _ in drawn)
    assert 0.70 <= shown / 500 <= 0.87


@pytest.mark.parametrize(("margin", "confidence"), [(0.01, 0.95), (0.05, 0.95), (0.05, 0.99), (0.1, 0.9), (0.5, 0.95)])
def test_intents_for_zero_is_the_first_number_that_reaches_the_margin(margin, confidence):
    n = intents_for_zero(margin, confidence)
    assert below_p(a_only=0, b_only=0, n=n, margin=margin) <= 1 - confidence
    assert n == 1 or below_p(a_only=0, b_only=0, n=n - 1, margin=margin) > 1 - confidence


def test_a_margin_of_five_points_takes_59_intents_without_any_change():
    # With 58 a form in which 5 % of intents changed would show none of them in 5.1 % of runs.
    assert intents_for_zero(0.05) == 59
    assert intents_to_settle(0.0, discordant_share=0.0, margin=0.05) == 59


@pytest.mark.parametrize(("sd", "margin", "n"), [(0.3, 0.02, 1392), (0.5, 0.05, 619)])
def test_noninferiority_needs_the_rows_of_the_plan(sd, margin, n):
    assert rows_for_noninferiority(sd, margin=margin) == pytest.approx(n, abs=1)
    with pytest.raises(ValueError, match="above 0"):
        rows_for_noninferiority(0.0, margin=margin)


@pytest.mark.parametrize(("a_share", "b_share"), [(0.05, 0.05), (0.02, 0.04), (0.02, 0.15), (0.1, 0.05)])
def test_the_number_that_settles_it_does_so_about_four_times_in_five(a_share, b_share):
    n = intents_to_settle(b_share - a_share, discordant_share=a_share + b_share, margin=0.05)
    assert n is not None
    drawn = np.random.default_rng(2).multinomial(n, [a_share, b_share, 1 - a_share - b_share], 400).tolist()
    test = above_p if b_share - a_share > 0.05 else below_p
    settled = sum(test(a_only=a_only, b_only=b_only, n=n, margin=0.05) <= 0.05 for a_only, b_only, _ in drawn)
    assert 0.70 <= settled / 400 <= 0.92


@pytest.mark.parametrize("n", [60, 242])
def test_the_rise_that_the_gate_shows_is_shown_about_four_times_in_five(n):
    rise = rise_shown(n, discordant_share=0.2, margin=0.05)
    assert rise is not None
    share = max(0.2, rise)
    shares = [(share - rise) / 2, (share + rise) / 2, 1 - share]
    drawn = np.random.default_rng(3).multinomial(n, shares, 400).tolist()
    shown = sum(above_p(a_only=a, b_only=b, n=n, margin=0.05) <= 0.05 for a, b, _ in drawn)
    assert 0.70 <= shown / 400 <= 0.92
    assert rise_shown(2, discordant_share=0.2, margin=0.05) is None


def test_a_rise_at_the_margin_is_never_settled():
    assert intents_to_settle(0.05, discordant_share=0.1, margin=0.05) is None
    assert rate_intents_to_settle(0.2, limit=0.2) is None


def test_a_rate_further_above_its_limit_needs_fewer_intents():
    near, far = rate_intents_to_settle(0.25, limit=0.2), rate_intents_to_settle(0.4, limit=0.2)
    assert near is not None
    assert far is not None
    assert far < near


def test_shares_that_are_no_fractions_are_refused():
    with pytest.raises(ValueError, match="discordant share"):
        detectable_rise(100, discordant_share=5)
    with pytest.raises(ValueError, match="rise to be shown"):
        intents_needed(0.0, discordant_share=0.1)
    with pytest.raises(ValueError, match="margin"):
        intents_for_zero(5)
    with pytest.raises(ValueError, match="power"):
        intents_needed(0.1, discordant_share=0.1, power=80)
