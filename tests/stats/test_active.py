"""Rates and differences from a judge on all rows and labels on rows drawn with known probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitask_bench.audit.drawing import Question, draw, probabilities
from multitask_bench.stats.active import UNCLEAR, Row, audited_difference, audited_rate
from multitask_bench.stats.judge_error import ppi_mean


def row(judged: float, label: float | None, chance: float = 0.2, cluster: object = None) -> Row:
    return Row(judged, None if label is None else (label, label), chance, object() if cluster is None else cluster)


def test_a_judge_that_is_never_wrong_keeps_its_rate():
    rows = [row(float(i % 4 == 0), float(i % 4 == 0) if i % 5 == 0 else None) for i in range(200)]
    found = audited_rate(rows)
    assert found.value == pytest.approx(0.25)
    assert (found.n, found.labels) == (200, 40)
    assert found.low < 0.25 < found.high


def test_labels_mend_a_judge_that_is_always_wrong():
    rows = [row(1.0, 0.0 if i % 5 == 0 else None) for i in range(200)]
    found = audited_rate(rows)
    assert found.value == 0.0
    assert found.high < 0.12


def test_errors_count_by_the_inverse_of_their_probability():
    # 100 doubtful rows, all labelled and all misjudged; 100 others of which a tenth is labelled, judged rightly.
    rows = [row(0.0, 1.0, 1.0) for _ in range(100)] + [row(0.0, 0.0 if i < 10 else None, 0.1) for i in range(100)]
    assert audited_rate(rows).value == pytest.approx(0.5)


def test_with_equal_probabilities_it_is_prediction_powered_inference():
    rng = np.random.default_rng(3)
    truth = (rng.random(4_000) < 0.3).astype(float)
    judged = np.where(rng.random(4_000) < 0.1, 1 - truth, truth)
    kept = np.arange(4_000) < 800
    labels = [float(t) if k else None for t, k in zip(truth, kept, strict=True)]
    ours = audited_rate([row(j, y, 0.2) for j, y in zip(judged.tolist(), labels, strict=True)])
    theirs = ppi_mean(judged.tolist(), labels)
    assert ours.value == pytest.approx(theirs.value, abs=0.005)
    assert ours.high - ours.low == pytest.approx(theirs.high - theirs.low, rel=0.1)


def test_all_probabilities_shrinking_alike_leaves_the_value_and_widens_nothing_else():
    rows = [
        row(float(i % 3 == 0), float(i % 2 == 0) if i % 4 == 0 else None, 0.25 + 0.5 * (i % 8 == 0)) for i in range(80)
    ]
    half = [r._replace(chance=r.chance / 2) for r in rows]
    one, other = audited_rate(rows), audited_rate(half)
    assert one.value == pytest.approx(other.value, abs=0.05)
    assert other.high - other.low >= one.high - one.low


def test_where_every_row_is_labelled_only_the_rows_themselves_vary():
    found = audited_rate([row(1.0 - i % 2, float(i % 2), 1.0) for i in range(100)])
    assert found.value == 0.5
    assert found.high - found.low == pytest.approx(0.2, abs=0.03)  # Wilson's has 0.19


def test_rows_of_which_nobody_can_tell_widen_the_interval_to_either_side():
    known = [row(0.0, 0.0 if i < 20 else None) for i in range(100)]
    unclear = [*known[:5], *(r._replace(label=UNCLEAR) for r in known[5:10]), *known[10:]]
    sure, doubtful = audited_rate(known), audited_rate(unclear)
    assert doubtful.high > sure.high + 0.1
    assert doubtful.low == 0.0


def test_rows_of_one_intent_that_are_alike_widen_the_interval():
    alone = [row(float(i < 50), float(i < 50) if i % 5 == 0 else None) for i in range(100)]
    alike = [r._replace(cluster=i // 5) for i, r in enumerate(alone)]
    narrow, wide = audited_rate(alone), audited_rate(alike)
    assert wide.high - wide.low > narrow.high - narrow.low


def test_a_difference_needs_labels_of_both():
    a = [row(0.0, 0.0 if i < 20 else None) for i in range(100)]
    b = [row(1.0, 1.0 if i < 15 else None) for i in range(100)]
    found = audited_difference(list(zip(a, b, strict=True)))
    assert found.labels == 15
    assert found.value == 1.0


def test_a_judge_that_errs_more_in_one_arm_does_not_make_up_a_difference():
    rng = np.random.default_rng(4)
    a = [row(0.0, 0.0 if i < 60 else None, 0.2) for i in range(300)]
    b = [row(float(rng.random() < 0.3), 0.0 if i < 60 else None, 0.2) for i in range(300)]
    found = audited_difference(list(zip(a, b, strict=True)))
    assert found.value == pytest.approx(0.0, abs=0.02)
    assert found.low < 0 < found.high


def test_fewer_than_two_labels_give_nothing():
    assert audited_rate([row(1.0, 1.0), row(0.0, None)]).value is None
    assert audited_rate([]).value is None


@pytest.mark.parametrize(
    "wrong", [row(0.0, 1.0, 0.0), row(0.0, 1.0, 1.5), row(2.0, 1.0), Row(0.0, (-1.0, 0.0), 0.5, 0)]
)
def test_impossible_rows_are_refused(wrong: Row):
    with pytest.raises(ValueError, match=r"\(0, 1\]|lie in"):
        audited_rate([wrong, row(0.0, 0.0)])


rows_of_any_kind = st.lists(
    st.builds(
        lambda j, y, p, c: Row(j, None if y is None else (min(y), max(y)), p, c),
        st.sampled_from([0.0, 0.5, 1.0]),
        st.none() | st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])),
        st.floats(0.01, 1.0),
        st.integers(0, 5),
    ),
    max_size=40,
)


def test_a_corrected_mean_beyond_one_is_cut_off():
    # Both labelled rows were misjudged, and all others are judged 1 already.
    found = audited_rate([row(0.0, 1.0, 1.0), row(0.0, 1.0, 1.0), *(row(1.0, None) for _ in range(8))])
    assert found.value == found.high == 1.0
    assert found.low < 1.0


@given(rows_of_any_kind)
def test_the_value_lies_in_its_interval_and_the_interval_in_range(rows: list[Row]):
    for found, least in (
        (audited_rate(rows), 0.0),
        (audited_difference(list(zip(rows, rows[::-1], strict=True))), -1.0),
    ):
        assert (found.value is None) == (found.labels < 2)
        if found.value is not None:
            assert least <= found.low <= found.value <= found.high <= 1
            assert found.low < found.high


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_under_the_audits_own_draw_intervals_hold_the_truth(share: float):
    """A small one of the simulations in ``benchmarks/stats/coverage.py``, which measure 93 % and more."""
    rng = np.random.default_rng(11)
    intents, forms, runs = 30, 5, 150
    hits = np.zeros(2)
    for seed in range(runs):
        before = (rng.random((intents, forms)) < rng.beta(2 * share, 2 - 2 * share, (intents, 1))).astype(float)
        after = np.where(rng.random((intents, forms)) < 0.2, 1.0, before)
        unsure = rng.random((intents, forms)) < 0.2
        error = np.where(unsure, 0.3, 0.05)
        judged = [np.where(rng.random(truth.shape) < error, 1 - truth, truth) for truth in (before, after)]
        questions = [
            Question(f"{i}.{f}", "probes", str(f), 2, float(unsure[i, f])) for i in range(intents) for f in range(forms)
        ]
        chances = probabilities(questions, 60)
        drawn = set(draw(questions, chances, seed=seed))
        arms = []
        for truth, said in zip((before, after), judged, strict=True):
            arms.append(
                [
                    row(
                        float(said[i, f]),
                        float(truth[i, f]) if f"{i}.{f}" in drawn else None,
                        chances[f"{i}.{f}"],
                        i,
                    )
                    for i in range(intents)
                    for f in range(forms)
                ]
            )
        rate, difference = audited_rate(arms[0]), audited_difference(list(zip(*arms, strict=True)))
        hits += [rate.low <= share <= rate.high, difference.low <= 0.2 * (1 - share) <= difference.high]
    # 93 % would show fewer than 88 % in less than one of a hundred such simulations.
    assert (hits / runs >= 0.88).all(), hits / runs
