"""Two arms on the same probes: is there a difference, and how large may it be?

``a_only`` counts the pairs that only the first arm answered, ``b_only`` those that only the second
did. A difference is second minus first, (b_only - a_only) / n: positive when the second answers more.
The Tango functions take their counts by name, because other packages order them differently and a
swap would change the sign without a sound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

_EXACT_INTENTS = 14
"""Up to so many non-zero differences, all 2^14 sign patterns are counted instead of sampled."""

_DECIMALS = 12
"""Differences of intents are shares of a few forms; 0.6 and 0.6000000000000001 are the same one."""


class Difference(NamedTuple):
    """Second arm minus first, as a fraction, with its interval; all None where there is no pair."""

    value: float | None
    low: float | None
    high: float | None


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact McNemar p of ``b`` against ``c`` discordant pairs; 1.0 where there is none."""
    if min(b, c) < 0:
        raise ValueError(f"discordant pairs cannot be negative: {b}, {c}")
    if b + c == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(b, b + c).pvalue)


def tango(*, a_only: int, b_only: int, n: int, confidence: float = 0.95) -> Difference:
    """The difference of two paired shares with Tango's two-sided score interval.

    Source: Tango (1998), Statistics in Medicine 17, 891-908. Raises: ValueError: impossible counts.
    """
    _check(a_only, b_only, n, confidence)
    if n == 0:
        return Difference(None, None, None)
    one_sided = (1 + confidence) / 2
    return Difference(
        (b_only - a_only) / n,
        tango_lower(a_only=a_only, b_only=b_only, n=n, confidence=one_sided),
        tango_upper(a_only=a_only, b_only=b_only, n=n, confidence=one_sided),
    )


def tango_upper(*, a_only: int, b_only: int, n: int, confidence: float) -> float:
    """The one-sided upper limit of the difference; 1.0 where there is no pair to exclude anything."""
    _check(a_only, b_only, n, confidence)
    if n == 0:
        return 1.0
    z = NormalDist().inv_cdf(confidence)

    def excluded(delta: float) -> bool:
        shortfall = n * delta - (b_only - a_only)
        return shortfall**2 > z * z * n * score_variance(a_only / n, b_only / n, delta)

    return _boundary(excluded, (b_only - a_only) / n, 1.0)


def tango_lower(*, a_only: int, b_only: int, n: int, confidence: float) -> float:
    """The one-sided lower limit of the difference; -1.0 where there is no pair to exclude anything."""
    # Swapping the arms mirrors the interval. 0.0 - x and not -x: a limit of -0.0 would print its sign.
    return 0.0 - tango_upper(a_only=b_only, b_only=a_only, n=n, confidence=confidence)


def tango_p(*, a_only: int, b_only: int, n: int, margin: float) -> float:
    """One-sided p of Tango's score test that the difference is above ``margin``; 1.0 without pairs."""
    _check(a_only, b_only, n, 0.95)
    if n == 0:
        return 1.0
    excess = b_only - a_only - n * margin
    variance = n * score_variance(a_only / n, b_only / n, margin)
    if variance == 0.0:
        return 0.0 if excess > 0 else 1.0
    return NormalDist().cdf(-excess / math.sqrt(variance))


def score_variance(a_share: float, b_share: float, delta: float) -> float:
    """Variance of one pair's difference if the true one is ``delta``, given the discordant shares.

    The share that only the first arm answers is set to its maximum likelihood estimate under ``delta``:
    the larger root q of 2q^2 + Bq + C = 0; the variance is 2q + delta (1 - delta) (Tango 1998).
    """
    b = (2.0 - b_share + a_share) * delta - a_share - b_share
    c = -a_share * delta * (1.0 - delta)
    # Square root of b^2 - 8c, without squaring: a tiny delta would underflow to a variance of 0.
    s = math.sqrt(8.0 * abs(c))
    root = math.hypot(b, s) if c <= 0 else math.sqrt(max(0.0, abs(b) - s) * (abs(b) + s))
    # The textbook root subtracts nearly equal numbers when b > 0; this form of it does not.
    q = -2.0 * c / (b + root) if b > 0 else (root - b) / 4.0
    return max(0.0, 2.0 * q + delta * (1.0 - delta))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values, in order; a None is no test: it stays None and does not count."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, i) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - step)))
        adjusted[i] = highest
    return adjusted


def sign_flip(differences: Sequence[float], *, seed: int = 0, draws: int = 20_000) -> float:
    """Two-sided p of the mean difference when whole intents swap their arms at random.

    ``differences`` holds one number an intent, over all of its forms: forms of one intent are not
    independent. Zeros carry no sign and drop out. Up to 14 others the p is exact; beyond, it is
    (k + 1) / (draws + 1) and depends on ``seed``. No difference at all gives 1.0.
    """
    import numpy as np

    sizes = _tally([abs(d) for d in differences])
    sizes.pop(0.0, None)
    if not sizes:
        return 1.0
    observed = abs(math.fsum(differences))
    least = observed - 1e-9 * max(observed, max(sizes))
    if sizes.total() <= _EXACT_INTENTS:
        sums = np.zeros(1)
        for size in sizes.elements():
            sums = np.concatenate([sums + size, sums - size])
        return float(np.mean(np.abs(sums) >= least))
    rng = np.random.default_rng(seed)
    drawn = np.zeros(draws)
    for size, count in sorted(sizes.items()):
        # Of `count` intents with the same size, a binomial number keeps its sign.
        drawn += size * (2 * rng.binomial(count, 0.5, draws) - count)
    return float((np.count_nonzero(np.abs(drawn) >= least) + 1) / (draws + 1))


def bootstrap_difference(
    differences: Sequence[float], *, seed: int = 0, draws: int = 5_000, confidence: float = 0.95
) -> Difference:
    """The mean of one difference an intent, with the percentile interval over resampled intents.

    All None without intents. Where all intents agree the interval is a point and says nothing about
    the next intent: give Tango's interval a form instead.
    """
    import numpy as np

    if not differences:
        return Difference(None, None, None)
    sizes = sorted(_tally(differences).items())
    values = np.array([size for size, _ in sizes])
    n = len(differences)
    # Resampling intents is drawing how often each distinct difference occurs.
    counts = np.random.default_rng(seed).multinomial(n, [count / n for _, count in sizes], draws)
    tail = (1 - confidence) / 2
    low, high = np.quantile(counts @ values / n, [tail, 1 - tail])
    mean = math.fsum(differences) / n
    return Difference(mean, min(float(low), mean), max(float(high), mean))


def _tally(values: Sequence[float]) -> Counter[float]:
    # + 0.0 turns -0.0 into 0.0.
    return Counter(round(float(v), _DECIMALS) + 0.0 for v in values)


def _boundary(excluded: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last value not excluded, between one that is not and the end of the range."""
    if not excluded(outside):
        return outside
    for _ in range(80):
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            break
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return inside


def _check(a_only: int, b_only: int, n: int, confidence: float) -> None:
    if min(a_only, b_only) < 0 or a_only + b_only > n:
        raise ValueError(f"a_only={a_only} and b_only={b_only} do not fit into n={n} pairs")
    if not 0.5 < confidence < 1:
        raise ValueError(f"a confidence lies between 0.5 and 1, not {confidence}")
