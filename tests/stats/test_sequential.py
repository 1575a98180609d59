"""Anytime-valid statistics: how often they are ever wrong, and what they save."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitask_bench.stats.paired import mcnemar_exact
from multitask_bench.stats.sequential import (
    EarlyGate,
    anytime_p,
    anytime_rate_p,
    bets,
    betting_sequence,
    discordant_e,
    first_change,
    log_capital,
)


def drawn(seed: int, runs: int, length: int, a: float, b: float) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1.0, 1.0, 0.0], (runs, length), p=[a, b, 1 - a - b])


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.05), (0.05, 0.05), (0.1, 0.4)])
def test_the_confidence_sequence_ever_misses_the_mean_in_at_most_five_of_a_hundred_runs(a, b):
    x, mean = (drawn(1, 1_000, 400, a, b) + 1) / 2, (1 + b - a) / 2
    stakes = bets(x, alpha=0.025)
    capital = np.maximum(*(log_capital(x, mean, stakes=stakes, side=side).max(axis=1) for side in ("above", "below")))
    assert (capital >= math.log(2 / 0.05)).mean() <= 0.05 + 0.015


def test_rows_from_strata_in_turn_keep_the_level():
    rng = np.random.default_rng(2)
    change = rng.permuted(np.tile(np.repeat([0.0, 0.2], 5), (1_000, 40, 1)), axis=2).reshape(1_000, -1)
    x = ((rng.random((1_000, 400)) < change) + 1) / 2
    stakes = bets(x, alpha=0.05)
    for side in ("above", "below"):
        assert (log_capital(x, 0.55, stakes=stakes, side=side).max(axis=1) >= math.log(20)).mean() <= 0.065


def test_the_sequence_is_the_set_of_means_that_were_never_rejected():
    rows = drawn(3, 1, 150, 0.05, 0.25)[0]
    found = betting_sequence(rows.tolist())[-1]
    x = (rows + 1) / 2
    stakes = bets(x, alpha=0.025)
    kept = []
    for mean in np.linspace(0.001, 0.999, 999):
        capital = [log_capital(x, float(mean), stakes=stakes, side=side) for side in ("above", "below")]
        if np.maximum(*capital).max() < math.log(40):
            kept.append(2 * mean - 1)
    assert found.low == pytest.approx(min(kept), abs=0.004)
    assert found.high == pytest.approx(max(kept), abs=0.004)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 0.4]), max_size=60))
def test_each_interval_holds_its_mean_and_only_new_means_widen_it(rows):
    found = betting_sequence(rows)
    assert len(found) == len(rows)
    for i, (value, low, high) in enumerate(found):
        assert value == pytest.approx(np.mean(rows[: i + 1]))
        assert -1 <= low <= value <= high <= 1


def test_the_sequence_narrows_to_the_truth():
    found = betting_sequence(drawn(4, 1, 2_000, 0.05, 0.25)[0].tolist())
    assert found[9].high - found[9].low > 0.8
    assert found[-1].high - found[-1].low < 0.12
    assert found[-1].low < 0.2 < found[-1].high


@pytest.mark.parametrize("side", ["above", "below"])
def test_a_one_sided_p_is_ever_small_at_the_margin_in_at_most_five_of_a_hundred_runs(side):
    rows = drawn(5, 400, 300, 0.05, 0.10)
    wrong = sum(anytime_p(row.tolist(), margin=0.05, side=side) <= 0.05 for row in rows)
    assert wrong / 400 <= 0.05 + 0.02


def test_a_one_sided_p_finds_what_is_there_and_nothing_without_rows():
    assert anytime_p([1.0] * 30, margin=0.05, side="above") < 1e-4
    assert anytime_p([1.0] * 30, margin=0.05, side="below") == 1.0
    assert anytime_p([0.0] * 120, margin=0.05, side="below") < 0.05
    assert anytime_p([], margin=0.05, side="below") == 1.0
    assert betting_sequence([]) == []
    with pytest.raises(ValueError, match="lie in"):
        anytime_p([2.0], margin=0.05, side="above")


def test_the_discordant_e_value_is_the_plans():
    from scipy.special import beta

    assert discordant_e(3, 9) == pytest.approx(2**12 * beta(3.5, 9.5) / beta(0.5, 0.5))
    assert discordant_e(0, 0) == 1.0
    assert discordant_e(0, 5_000) == math.inf
    with pytest.raises(ValueError, match="negative"):
        discordant_e(-1, 0)


@pytest.mark.parametrize("n", [1, 4, 9])
def test_the_discordant_e_value_has_mean_one_without_a_change(n):
    assert sum(math.comb(n, k) / 2**n * discordant_e(k, n - k) for k in range(n + 1)) == pytest.approx(1.0)


def test_peeking_errs_in_a_third_of_runs_and_the_e_process_does_not():
    rows = drawn(6, 300, 500, 0.1, 0.1)
    stopped = sum(first_change(row.tolist()) is not None for row in rows)
    peeked = 0
    for row in rows:
        a, b = (row < 0).cumsum(), (row > 0).cumsum()
        peeked += any(mcnemar_exact(int(a[i]), int(b[i])) <= 0.05 for i in range(24, 500, 25))
    assert stopped / 300 <= 0.06
    assert peeked / 300 > 0.15


def test_a_change_is_found_early():
    assert first_change([1] * 20) == 7
    assert first_change([0] * 50) is None
    stops = [first_change(row.tolist()) for row in drawn(7, 100, 500, 0.05, 0.25)]
    assert all(stop is not None for stop in stops)
    assert np.mean([stop for stop in stops if stop]) < 150


def fed(rows: dict[str, list[tuple[bool, bool]]], **settings: float) -> EarlyGate:
    gate = EarlyGate(list(rows), **settings)
    for form, pairs in rows.items():
        for base, tuned in pairs:
            gate.add(form, base=base, tuned=tuned)
    return gate


def test_the_early_gate_stops_at_a_clear_rise_in_one_form_and_at_no_change_in_all():
    still, risen = [(False, False)] * 120, [(False, True)] * 20
    assert fed({"translation": still, "own": still}).code() == 0
    assert fed({"translation": still, "own": risen}).code() == 3
    assert fed({"translation": still, "own": still[:10]}).code() is None
    assert fed({"translation": still, "own": []}).code() is None
    assert fed({"translation": still}).used == 120


def test_a_saturated_form_bars_an_early_zero():
    gate = fed({"own": [(True, True)] * 120})
    assert gate.code() is None
    assert gate.statuses()["own"].status == "saturated"


def test_a_barred_form_keeps_the_early_gate_from_zero_and_not_from_three():
    still, risen = [(False, False)] * 120, [(False, True)] * 30
    assert fed({"a": still, "b": still}).code(barred={"b"}) is None
    assert fed({"a": risen, "b": still}).code(barred={"b"}) == 3
    assert fed({"a": risen, "b": still}).code(barred={"a"}) is None
    # Two of twelve forms are needed to see it: the family holds barred forms, too.
    many = {str(i): still for i in range(12)} | {"up": [(False, True)] * 8}
    assert fed({"up": many["up"]}).statuses()["up"].status == "rise"
    assert fed(many).statuses(barred={str(i) for i in range(12)})["up"].status == "inconclusive"


def test_the_largest_rate_bars_an_early_zero_and_gives_an_early_three():
    often, still = [(True, True)] * 40, [(False, False)] * 120
    assert fed({"a": still}, max_rate=0.1).code() == 0
    some = ([(False, False)] * 7 + [(True, True)]) * 15
    assert fed({"a": some}, max_rate=0.2).code() == 0
    assert fed({"a": some}, max_rate=0.11).code() is None
    gate = fed({"a": often, "b": still}, max_rate=0.5)
    assert (gate.code(), gate.statuses()["a"].rate) == (3, "above")
    with pytest.raises(ValueError, match="largest rate"):
        EarlyGate(["a"], max_rate=5)


def test_a_share_on_its_limit_is_rarely_ever_shown_to_be_above():
    rng = np.random.default_rng(12)
    wrong = sum(anytime_rate_p((rng.random(300) < 0.1).tolist(), limit=0.1) <= 0.05 for _ in range(400))
    assert wrong / 400 <= 0.08
    assert anytime_rate_p([], limit=0.1) == 1.0
    assert anytime_rate_p([True], limit=0.0) < 1.0


def test_a_smaller_alpha_needs_more_and_impossible_settings_are_refused():
    rows = {"own": [(False, False)] * 85}
    assert fed(rows).code() == 0
    assert fed(rows, alpha=0.01).code() is None
    for bad in ({"margin": 0.0}, {"alpha": 5.0}):
        with pytest.raises(ValueError, match="alpha"):
            EarlyGate(["own"], **bad)


def test_the_early_gate_is_rarely_wrong_at_the_margin():
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(150):
        gate = EarlyGate(["a", "b"])
        for used in range(1, 201):
            gate.add("a", base=False, tuned=False)
            gate.add("b", base=False, tuned=bool(rng.random() < 0.05))
            if used % 20 == 0 and gate.code() == 0:
                wrong += 1
                break
    assert wrong / 150 <= 0.09
