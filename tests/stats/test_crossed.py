"""The crossed interval covers with few seeds and with several, and few seeds do not make a claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from multitask_bench.stats.crossed import crossed

EFFECTS = {"none": (0.0, 0.0), "seeds": (0.15, 0.0), "intents": (0.0, 0.3), "both": (0.06, 0.2)}


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("name", EFFECTS)
def test_the_interval_covers_with_and_without_effects_of_seeds_and_intents(seeds, name):
    # Resampling seeds and intents covered 86 % at five seeds and 89 % at eight where the seeds vary.
    rng = np.random.default_rng(7)
    by_seed, by_intent = EFFECTS[name]
    covered = 0
    for _ in range(500):
        table = 0.1 + rng.normal(0, by_seed, (seeds, 1)) + rng.normal(0, by_intent, (1, 60))
        found = crossed((table + rng.normal(0, 0.3, (seeds, 60))).tolist())
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.1 <= found.high
    assert covered / 500 >= 0.925


def test_no_contrast_is_called_one_in_at_most_five_of_a_hundred_runs() -> None:
    rng = np.random.default_rng(8)
    shown = 0
    for _ in range(500):
        table = rng.normal(0, 0.06, (3, 1)) + rng.normal(0, 0.2, (1, 40)) + rng.normal(0, 0.3, (3, 40))
        shown += crossed(table.tolist()).shown != 0
    assert shown / 500 <= 0.06


def test_a_clear_contrast_is_shown_and_one_inside_the_range_of_seeds_is_not() -> None:
    clear = crossed([[0.5, 0.4, 0.6, 0.5] * 5, [0.4, 0.5, 0.5, 0.5] * 5, [0.5, 0.5, 0.4, 0.6] * 5])
    assert clear.shown == 1
    assert clear.p is not None
    assert clear.p < 0.05
    apart = crossed([[0.5] * 20, [0.5] * 20, [-0.1] * 20])
    assert apart.value is not None
    assert apart.value > 0
    assert apart.shown == 0


def test_the_p_value_and_the_interval_say_the_same():
    rng = np.random.default_rng(9)
    for _ in range(50):
        found = crossed((0.1 + rng.normal(0, 0.1, (4, 1)) + rng.normal(0, 0.3, (4, 30))).tolist())
        assert found.p is not None
        assert found.low is not None
        assert found.high is not None
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_seeds_alone_give_the_t_interval_over_their_means():
    means = [0.1, 0.3, 0.2, 0.5]
    found = crossed([[m] * 200 for m in means])
    ends = stats.t.interval(0.95, 3, np.mean(means), stats.sem(means))
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


def test_one_seed_varies_over_intents_alone():
    values = [0.0, 1.0] * 10
    found = crossed([values])
    assert found.seeds == 1
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 19, np.mean(values), stats.sem(values)))


def test_where_nothing_varies_the_unseen_intents_are_left_room():
    flipped = crossed([[1.0] * 40] * 3)
    assert flipped.shown == 1
    assert (flipped.low, flipped.high) == pytest.approx((1 - 2 * (1 - 0.025 ** (1 / 40)), 1.0))
    assert flipped.p == pytest.approx(0.5**39)
    still = crossed([[0.0] * 40] * 3)
    assert (still.shown, still.p) == (0, 1.0)
    assert still.low == pytest.approx(-(1 - 0.025 ** (1 / 40)))
    alone = crossed([[1.0]])
    assert (alone.shown, alone.p) == (0, 1.0)


def test_nothing_gives_nothing_and_uneven_seeds_are_refused():
    assert crossed([]).value is None
    assert crossed([]).shown == 0
    assert math.isclose(crossed([[0.1, 0.2], [0.1, 0.4]]).value or 0, 0.2)
    with pytest.raises(ValueError, match="same intents"):
        crossed([[1.0], [1.0, 2.0]])
