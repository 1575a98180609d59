"""A contrast measured on intents x training seeds: both vary, and both are resampled.

Source: METHODS section 4.4 (crossed resampling of prompts and seeds; a t interval over seeds where there
are few of them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

FEW_SEEDS = 5
"""Below so many seeds their resampling is too narrow (three values repeat themselves), and the interval is
widened to the t interval over seeds."""

DRAWS = 4_000


class Crossed(NamedTuple):
    """The mean contrast with its 95 % interval and two-sided p; None where seeds or intents are missing."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    seeds: int
    intents: int
    by_seed: tuple[float, ...]
    """The contrast of each seed."""

    @property
    def shown(self) -> int:
        """1: above 0 in every seed and in the interval; -1: below; 0: neither.

        A gap inside the range of the seeds is not called one.
        """
        if self.low is None or self.high is None or not self.by_seed:
            return 0
        if self.low > 0 and min(self.by_seed) > 0:
            return 1
        return -1 if self.high < 0 and max(self.by_seed) < 0 else 0


def crossed(contrasts: Sequence[Sequence[float]], *, seed: int = 0, draws: int = DRAWS) -> Crossed:
    """The mean of ``contrasts``, one list a training seed, each with one number an intent in the same order.

    The interval is the percentile interval over resampled seeds and intents; below five seeds it is widened
    to the t interval over the seeds' means (df = seeds - 1) where that is wider. With one seed only intents
    are resampled: it then speaks of these adapters.
    p is two-sided: the larger of the bootstrap's and, below five seeds, the t test's.
    Raises: ValueError: seeds with different numbers of intents.
    """
    import numpy as np
    from scipy import stats

    if not contrasts or not contrasts[0]:
        return Crossed(None, None, None, None, len(contrasts), 0, ())
    if len({len(row) for row in contrasts}) > 1:
        raise ValueError("every seed needs the same intents")
    table = np.asarray(contrasts, dtype=float)
    count, intents = table.shape
    means = table.mean(axis=1)
    value = math.fsum(table.ravel().tolist()) / table.size
    rng = np.random.default_rng(seed)
    # Resampling is drawing how often each seed and each intent occurs.
    by_seed = rng.multinomial(count, [1 / count] * count, draws) / count
    by_intent = rng.multinomial(intents, [1 / intents] * intents, draws) / intents
    drawn = np.einsum("ds,si,di->d", by_seed, table, by_intent)
    low, high = np.quantile(drawn, [0.025, 0.975])
    beyond = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    p = min(1.0, 2 * (beyond + 1) / (draws + 1))
    if 2 <= count < FEW_SEEDS:
        spread = float(means.std(ddof=1)) / math.sqrt(count)
        half = float(stats.t.ppf(0.975, count - 1)) * spread
        low, high = min(low, value - half), max(high, value + half)
        if spread > 0:
            p = max(p, float(2 * stats.t.sf(abs(value) / spread, count - 1)))
    return Crossed(value, min(float(low), value), max(float(high), value), p, count, intents, tuple(means.tolist()))
