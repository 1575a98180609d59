"""Exact one-sided tests and limits of a paired difference: at most 5 % wrong means at most 5 %.

Tango's score test is an approximation: at a nominal 5 % it errs in up to 7 % where discordant pairs are few.
Here the same statistic orders the tables, and its p value is summed over all tables: the largest over
the share q that only the first arm answers, with q kept to its 99.9 % interval and the 0.1 % added back (Berger
and Boos 1994, JASA 89, 1012-1016). For paired shares: Hsueh, Liu and Chen (2001), Biometrics 57, 478-483;
that the largest p lies on the border of the hypothesis: Roehmel and Mansmann (1999), Biometrical Journal 41.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from multitask_bench.stats.paired import score_variance, tango_upper

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

MOST_PAIRS = 5_000
"""Beyond this Tango's limits are given: summing takes seconds, and moves them by less than 0.05 points."""

_OUTSIDE = 0.001
_GRID = 33
_PRECISION = 1e-5


@lru_cache(maxsize=20_000)
def below_p(*, a_only: int, b_only: int, n: int, margin: float) -> float:
    """One-sided p that the difference is below ``margin``; 1.0 without pairs. ``margin`` lies in (-1, 1).

    Raises: ValueError: impossible counts or margin.
    """
    if min(a_only, b_only) < 0 or a_only + b_only > n:
        raise ValueError(f"a_only={a_only} and b_only={b_only} do not fit into n={n} pairs")
    if not -1 < margin < 1:
        raise ValueError(f"a margin lies between -1 and 1, not {margin}")
    margin = round(margin, 12)  # the score divides by what a margin of 1e-200 leaves
    if n == 0:
        return 1.0
    if n > MOST_PAIRS:
        return _score_p(a_only, b_only, n, margin)
    return min(1.0, _largest_p(a_only, b_only, n, margin) + _OUTSIDE)


def above_p(*, a_only: int, b_only: int, n: int, margin: float) -> float:
    """One-sided p that the difference is above ``margin``; 1.0 without pairs."""
    return below_p(a_only=b_only, b_only=a_only, n=n, margin=0.0 - margin)


@lru_cache(maxsize=20_000)
def exact_upper(*, a_only: int, b_only: int, n: int, confidence: float) -> float:
    """The one-sided upper limit of the difference, to 0.001 points; 1.0 where there is no pair."""
    alpha = 1 - confidence
    start = tango_upper(a_only=a_only, b_only=b_only, n=n, confidence=confidence)
    if n == 0 or n > MOST_PAIRS:
        return start

    def kept(delta: float) -> bool:
        return below_p(a_only=a_only, b_only=b_only, n=n, margin=delta) > alpha

    # Bracket it near Tango's limit, then halve.
    step = 0.01 + 0.5 / n
    low, high = max(start - step, (b_only - a_only) / n), min(1.0, start + step)
    while low > (b_only - a_only) / n and not kept(low):
        low, high = max(low - step, (b_only - a_only) / n), low
    while high < 1.0 and kept(high):
        low, high = high, min(1.0, high + step)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) else (low, middle)
    return high


def exact_lower(*, a_only: int, b_only: int, n: int, confidence: float) -> float:
    """The one-sided lower limit of the difference; -1.0 where there is no pair."""
    return 0.0 - exact_upper(a_only=b_only, b_only=a_only, n=n, confidence=confidence)


def _score_p(a_only: int, b_only: int, n: int, margin: float) -> float:
    from statistics import NormalDist

    excess = b_only - a_only - n * margin
    variance = n * score_variance(a_only / n, b_only / n, margin)
    if variance == 0.0:
        return 0.0 if excess < 0 else 1.0
    return NormalDist().cdf(excess / math.sqrt(variance))


def _largest_p(a_only: int, b_only: int, n: int, margin: float) -> float:
    import numpy as np
    from scipy import special

    lowest, highest = max(0.0, -margin), (1 - margin) / 2
    inner = special.betaincinv(a_only, n - a_only + 1, _OUTSIDE / 2) if a_only else 0.0
    outer = special.betaincinv(a_only + 1, n - a_only, 1 - _OUTSIDE / 2) if a_only < n else 1.0
    q = np.linspace(min(max(inner, lowest), highest), max(min(outer, highest), lowest), _GRID)
    # More of the first arm's own pairs than this occur in one of 10^9 draws.
    top = float(q.max())
    most = min(n, math.ceil(n * top + 6 * math.sqrt(n * top * (1 - top)) + 20))
    a = np.arange(most + 1)
    reach = _largest_b(a, n=n, margin=margin, observed=(a_only, b_only))
    q, a, reach = q[:, None], a[None, :], reach[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_a = special.gammaln(n + 1) - special.gammaln(a + 1) - special.gammaln(n - a + 1)
        own = np.exp(log_a + special.xlogy(a, q) + special.xlog1py(n - a, -q))
        share = np.clip(np.where(q < 1, (q + margin) / (1 - q), 0.0), 0.0, 1.0)
        rest = n - a
        inside = (reach >= 0) & (reach < rest)
        k = np.where(inside, reach, 0)
        below = special.betainc(np.where(inside, rest - k, 1), k + 1.0, 1 - share)
    below = np.where(reach < 0, 0.0, np.where(reach >= rest, 1.0, below))
    return float((own * below).sum(axis=1).max())


def _largest_b(a: Any, *, n: int, margin: float, observed: tuple[int, int]) -> Any:
    """For each count of a_only, the largest b_only that speaks as strongly against the margin as what was seen."""
    import numpy as np

    limit = float(_scores(np.array([observed[0]]), np.array([observed[1]]), n, margin)[0]) + 1e-9
    low, high = np.full(a.shape, -1), n - a
    # The score grows with b_only, so halving finds the border.
    while bool((low < high).any()):
        middle = (low + high + 1) // 2
        fits = _scores(a, middle, n, margin) <= limit
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    # Convexity in Barnard's sense: with more pairs on the first side no fewer are allowed on the second.
    return np.minimum(np.maximum.accumulate(low), n - a)


def _scores(a: Any, b: Any, n: int, delta: float) -> Array:
    """Tango's statistic; `paired.score_variance` for arrays."""
    import numpy as np

    a_share, b_share = a / n, b / n
    slope = (2.0 - b_share + a_share) * delta - a_share - b_share
    constant = -a_share * delta * (1.0 - delta)
    root = np.sqrt(np.maximum(0.0, slope * slope - 8.0 * constant))
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(slope > 0, -2.0 * constant / (slope + root), (root - slope) / 4.0)
        variance = n * np.maximum(0.0, 2.0 * q + delta * (1.0 - delta))
        excess = b - a - n * delta
        score = excess / np.sqrt(variance)
    certain = np.where(excess > 0, np.inf, np.where(excess < 0, -np.inf, 0.0))
    return np.where(variance > 1e-12, score, certain)
