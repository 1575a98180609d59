"""The crossed interval covers, and few seeds do not make a claim."""

from __future__ import annotations

import numpy as np
import pytest

from multitask_bench.stats.crossed import crossed


def test_the_interval_covers_the_true_contrast_when_seeds_and_intents_vary() -> None:
    rng = np.random.default_rng(7)
    truth, covered, found = 0.1, 0, 300
    for _ in range(found):
        seeds, intents = rng.normal(0, 0.06, (3, 1)), rng.normal(0, 0.2, (1, 40))
        table = truth + seeds + intents + rng.normal(0, 0.3, (3, 40))
        one = crossed(table.tolist(), draws=600)
        assert one.low is not None
        assert one.high is not None
        covered += one.low <= truth <= one.high
    assert covered / found >= 0.94


def test_no_contrast_is_called_one_in_at_most_five_of_a_hundred_runs() -> None:
    rng = np.random.default_rng(8)
    shown = 0
    for _ in range(300):
        table = rng.normal(0, 0.06, (3, 1)) + rng.normal(0, 0.2, (1, 40)) + rng.normal(0, 0.3, (3, 40))
        shown += crossed(table.tolist(), draws=600).shown != 0
    assert shown / 300 <= 0.06


def test_a_clear_contrast_is_shown_and_one_inside_the_range_of_seeds_is_not() -> None:
    clear = crossed([[0.5, 0.4, 0.6, 0.5] * 5, [0.4, 0.5, 0.5, 0.5] * 5, [0.5, 0.5, 0.4, 0.6] * 5])
    assert clear.shown == 1
    assert clear.p is not None
    assert clear.p < 0.05
    apart = crossed([[0.5] * 20, [0.5] * 20, [-0.1] * 20])
    assert apart.value is not None
    assert apart.value > 0
    assert apart.shown == 0


def test_one_seed_resamples_intents_alone_and_nothing_gives_nothing() -> None:
    one = crossed([[0.0, 1.0] * 10])
    assert one.seeds == 1
    assert one.low is not None
    assert one.low > 0.2
    assert crossed([]).value is None
    with pytest.raises(ValueError, match="same intents"):
        crossed([[1.0], [1.0, 2.0]])
