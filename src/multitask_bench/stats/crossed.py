"""A contrast measured on intents x training seeds: both are samples, and the interval allows for both.

Resampling seeds and intents (the pigeonhole bootstrap) covers 86 % at five seeds and 89 % at eight where the seeds
are what varies: a handful of values repeats itself. The analysis of variance of the crossed table covers 93-99 %
from two seeds on; `benchmarks/stats/coverage.py` has the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from multitask_bench.stats.paired import unseen_ends

_NOTHING = 1e-12
_UNSEEN = 0.5
"""If all intents agree in their sign, each had an even chance to: the sign test."""


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


def crossed(contrasts: Sequence[Sequence[float]]) -> Crossed:
    """The mean of ``contrasts``, one list a training seed, each with one number an intent in the same order.

    The interval is the wider of two t intervals. (a) Over the seeds' means, df = seeds - 1. (b) With the variance
    (MS_seeds + MS_intents - MS_residual) / (seeds * intents), not below that of seeds or of intents alone, and
    Satterthwaite's degrees of freedom (Satterthwaite 1946, Biometrics Bulletin 2, 110-114; for intents and seeds
    as crossed random effects, Judd, Westfall and Kenny 2012, J. Pers. Soc. Psychol. 103, 54-69).
    With one seed only intents vary: the interval then speaks of these adapters. Where nothing varied,
    intents may still be unlike those seen (`paired.unseen_ends`).
    p is two-sided: the larger of the two tests'; 1.0 where there is one number or where no number varies around 0.
    Raises: ValueError: seeds with different numbers of intents.
    """
    import numpy as np

    if not contrasts or not contrasts[0]:
        return Crossed(None, None, None, None, len(contrasts), 0, ())
    if len({len(row) for row in contrasts}) > 1:
        raise ValueError("every seed needs the same intents")
    table = np.asarray(contrasts, dtype=float)
    count, intents = table.shape
    means = table.mean(axis=1)
    value = math.fsum(table.ravel().tolist()) / table.size
    errors = _errors(table, means)
    if not errors:
        low, high = unseen_ends(value, intents)
        p = 1.0 if value == 0.0 or table.size == 1 else _UNSEEN ** (1 if intents == 1 else intents - 1)
        return Crossed(value, low, high, min(1.0, p), count, intents, tuple(means.tolist()))
    from scipy import stats

    half = max(float(stats.t.ppf(0.975, df)) * error for error, df in errors)
    p = max(float(2 * stats.t.sf(abs(value) / error, df)) for error, df in errors)
    return Crossed(value, value - half, value + half, p, count, intents, tuple(means.tolist()))


def _errors(table: Any, means: Any) -> list[tuple[float, float]]:
    """The standard errors of the mean with their degrees of freedom; none where nothing varies."""
    count, intents = table.shape
    if count == 1 or intents == 1:
        values = table.ravel()
        error = float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else 0.0
        return [(error, values.size - 1)] if error > _NOTHING else []
    by_intent = table.mean(axis=0)
    residual = table - means[:, None] - by_intent[None, :] + table.mean()
    df = (count - 1, intents - 1, (count - 1) * (intents - 1))
    seeds = intents * float(means.var(ddof=1))
    items = count * float(by_intent.var(ddof=1))
    rest = float((residual**2).sum()) / df[2]
    both = max(seeds + items - rest, seeds, items)
    if both <= _NOTHING:
        return []
    satterthwaite = both**2 / sum(square**2 / each for square, each in zip((seeds, items, rest), df, strict=True))
    found = [(math.sqrt(both / table.size), max(1.0, satterthwaite))]
    if seeds > _NOTHING:
        found.append((math.sqrt(seeds / table.size), float(df[0])))
    return found
