"""The components that were put in come out, and few levels give none."""

from __future__ import annotations

import numpy as np
import pytest

from multitask_bench.stats.variance import variance_split


def test_planted_components_come_out() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(60):
        table = rng.normal(0, 0.2, (8, 1)) + rng.normal(0, 0.3, (1, 60)) + rng.normal(0, 0.4, (8, 60))
        found.append(variance_split(table.tolist()))
    means = np.mean([list(one) for one in found if one is not None], axis=0)
    assert means == pytest.approx([0.04, 0.09, 0.16], rel=0.15)


def test_below_five_levels_nothing_is_split() -> None:
    assert variance_split([[0.0, 1.0] * 5] * 4) is None
    assert variance_split([[0.0, 1.0]] * 6) is None
    with pytest.raises(ValueError, match="same intents"):
        variance_split([[0.0] * 6] * 5 + [[0.0] * 7])
