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
from typing import Any, NamedTuple

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


def mcnemar_midp(b: int, c: int) -> float:
    """Two-sided mid-p McNemar p of ``b`` against ``c`` discordant pairs; 1.0 where there is none or b = c.

    Half of the probability of what was seen counts: less conservative than the exact test, and rarely
    above the level. Source: Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13, 91.
    """
    if min(b, c) < 0:
        raise ValueError(f"discordant pairs cannot be negative: {b}, {c}")
    if b == c:
        return 1.0
    from scipy.stats import binom

    k, n = min(b, c), b + c
    return float(2 * binom.cdf(k - 1, n, 0.5) + binom.pmf(k, n, 0.5))


class CochransQ(NamedTuple):
    """Cochran's Q over k conditions; None where no row differs between the conditions."""

    statistic: float | None
    p: float | None
    df: int
    rows: int
    """Rows in which the conditions differ; the others carry nothing."""
    exact: bool
    """Whether p comes from permuting rows instead of chi-square."""


def cochran_q(table: Sequence[Sequence[bool]], *, seed: int = 0, draws: int = 10_000) -> CochransQ:
    """Do k conditions answer equally often on the same intents? One row an intent, one column a condition.

    p is the chi-square one with k - 1 degrees of freedom; with fewer than 4 rows that differ, or fewer than 24
    cells in them (Tate and Brown 1970, JASA 65, 155-160), it is that of permuting each row, (hits + 1) / (draws + 1).
    Source: Cochran (1950), Biometrika 37, 256-266. Raises: ValueError: rows of different length, or one condition.
    """
    import numpy as np
    from scipy.stats import chi2

    if len({len(row) for row in table}) > 1 or any(len(row) < 2 for row in table):
        raise ValueError("every row needs the same two or more conditions")
    conditions = len(table[0]) if table else 2
    kept = np.array([list(map(bool, row)) for row in table if 0 < sum(map(bool, row)) < len(row)], dtype=float)
    rows, df = len(kept), conditions - 1
    if not rows:
        return CochransQ(None, None, df, 0, exact=False)
    hits = kept.sum(axis=1)
    scale = conditions * (conditions - 1) / float((hits * (conditions - hits)).sum())

    def statistic(totals: Any) -> Any:
        return scale * ((totals - hits.sum() / conditions) ** 2).sum(axis=-1)

    observed = float(statistic(kept.sum(axis=0)))
    if rows >= 4 and rows * conditions >= 24:
        return CochransQ(observed, float(chi2.sf(observed, df)), df, rows, exact=False)
    rng = np.random.default_rng(seed)
    totals = np.zeros((draws, conditions))
    for row in kept:
        totals += rng.permuted(np.tile(row, (draws, 1)), axis=1)
    reached = int(np.count_nonzero(statistic(totals) >= observed - 1e-9))
    return CochransQ(observed, (reached + 1) / (draws + 1), df, rows, exact=True)


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


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values that bound the share of false findings; a None is no test and does not count.

    For exploration; a confirmatory family takes `holm`. Source: Benjamini and Hochberg (1995), JRSS B 57, 289-300.
    """
    tested = [i for i, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    if tested:
        from scipy.stats import false_discovery_control

        for i, p in zip(tested, false_discovery_control([p_values[i] for i in tested]), strict=True):
            adjusted[i] = float(p)
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
    """The mean of one difference an intent, in [-1, 1], with an interval over resampled intents.

    The expanded percentile interval (Hesterberg 2015, The American Statistician 69, 371-386): plain percentiles
    are too narrow by sqrt((n - 1)/n) and by z in place of t. Where few intents differ they are too narrow still,
    so one more that differs is resampled in either direction, as large as those seen (the idea of Agresti and Min
    2005 for paired shares): of 50 intents of which 5 differ, the interval then covers 91 % instead of 86 %.
    Where all intents agree nothing can be resampled, and ``unseen_ends`` bounds what was not seen.
    All None without intents.
    """
    import numpy as np
    from scipy import stats

    if not differences:
        return Difference(None, None, None)
    tally = _tally(differences)
    n = len(differences)
    mean = math.fsum(differences) / n
    tail = (1 - confidence) / 2
    if len(tally) == 1:
        return Difference(mean, *unseen_ends(mean, n, tail))
    moved = {size: count for size, count in tally.items() if size}
    usual = math.sqrt(math.fsum(count * size**2 for size, count in moved.items()) / sum(moved.values()))
    sizes = sorted((tally + Counter({usual: 1, -usual: 1})).items())
    values = np.array([size for size, _ in sizes])
    # Resampling intents is drawing how often each distinct difference occurs.
    pool = n + 2
    counts = np.random.default_rng(seed).multinomial(pool, [count / pool for _, count in sizes], draws)
    tail = float(stats.norm.cdf(math.sqrt(pool / (pool - 1)) * stats.t.ppf(tail, pool - 1)))
    low, high = np.quantile(counts @ values / pool, [tail, 1 - tail])
    return Difference(mean, min(float(low), mean), max(float(high), mean))


def unseen_ends(value: float, n: int, tail: float = 0.025) -> tuple[float, float]:
    """Where a mean over [-1, 1] may lie if all ``n`` intents gave ``value``: some may be unlike those seen."""
    unseen = -math.expm1(math.log(tail) / n)
    return min(value, value - unseen * (value + 1)), max(value, value + unseen * (1 - value))


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
