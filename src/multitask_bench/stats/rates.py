"""The share of rows that answered, with an interval that fits how the rows hang together.

The interval is Wilson's at 95 %, which stays inside [0, 1]. At a share of 0 or 1 it is Clopper and Pearson's,
whose claim "at most so many" is exact: 0 of n excludes every share above 1 - 0.025^(1/n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from multitask_bench.schema import Rate

_Z95 = NormalDist().inv_cdf(0.975)
_TAIL = 0.025


def rate(k: int, n: int) -> Rate:
    """The share of ``k`` in ``n`` independent rows; all None where ``n`` is 0.

    Wilson's 95 % interval (1927, JASA 22, 209-212); Clopper and Pearson's (1934, Biometrika 26, 404-413)
    where ``k`` is 0 or ``n``. Raises: ValueError: ``k`` is not within 0 and ``n``.
    """
    if not 0 <= k <= n:
        raise ValueError(f"a rate needs 0 <= k <= n, not k={k}, n={n}")
    if n == 0:
        return Rate(value=None, low=None, high=None, n=0)
    return _ordered(k / n, *_ends(k / n, n), n=n)


def clustered_rate(clusters: Sequence[Sequence[bool]]) -> Rate:
    """The share over all rows, where the rows of one cluster are alike: the five forms of one intent.

    Wilson's interval at the effective number of rows p(1 - p) / SE^2 (Korn and Graubard 1998, Survey
    Methodology 24), with SE^2 = G/(G - 1) * sum over clusters of (sum of residuals)^2 / n^2. That
    number is held between what perfectly alike clusters are worth, n^2 / sum of squared sizes (Kish;
    the number of clusters where they are equally large), and n. At a share of 0 or 1, where the data
    cannot show how alike the rows are, it is the lower of the two, and the interval is Clopper and
    Pearson's. ``Rate.n`` counts rows; clusters without rows are passed over.
    """
    filled = [rows for rows in clusters if len(rows)]
    n = sum(len(rows) for rows in filled)
    if n == 0:
        return Rate(value=None, low=None, high=None, n=0)
    value = sum(sum(map(bool, rows)) for rows in filled) / n
    effective = _effective_rows(filled, value, n)
    return _ordered(value, *_ends(value, effective), n=n)


def answered_bounds(answered: int, unjudged: int, n: int) -> tuple[float, float]:
    """The share of ``n`` rows that answered if no unjudged row did, and if every one did.

    With no rows at all nothing is excluded: (0, 1).
    """
    if min(answered, unjudged) < 0 or answered + unjudged > n:
        raise ValueError(f"{answered} answered and {unjudged} unjudged rows do not fit into n={n}")
    if n == 0:
        return 0.0, 1.0
    return answered / n, (answered + unjudged) / n


def _effective_rows(clusters: Sequence[Sequence[bool]], value: float, n: int) -> float:
    # fsum: the order of the clusters must not show in the last digit.
    alike = n * n / sum(len(rows) ** 2 for rows in clusters)
    count = len(clusters)
    residuals = math.fsum((sum(map(bool, rows)) - len(rows) * value) ** 2 for rows in clusters)
    if value in (0.0, 1.0) or count == 1:
        return alike
    if residuals == 0.0:
        return float(n)
    variance = count / (count - 1) * residuals / n**2
    return min(max(value * (1 - value) / variance, alike), float(n))


def _ends(value: float, n: float) -> tuple[float, float]:
    if value not in (0.0, 1.0):
        return _wilson(value, n)
    # Clopper-Pearson in closed form, for a number of rows that need not be whole.
    unseen = -math.expm1(math.log(_TAIL) / n)
    return (0.0, unseen) if value == 0 else (1.0 - unseen, 1.0)


def _wilson(p: float, n: float) -> tuple[float, float]:
    # Own four lines: scipy's takes whole counts only, and costs 2 ms because it computes a p value along the way.
    shrunk = 1 + _Z95**2 / n
    center = (p + _Z95**2 / (2 * n)) / shrunk
    half = _Z95 * math.sqrt(p * (1 - p) / n + _Z95**2 / (4 * n * n)) / shrunk
    return center - half, center + half


def _ordered(value: float, low: float, high: float, *, n: int) -> Rate:
    # Rounding puts Wilson's end at p = 1 a hair below 1, which would leave the value outside.
    return Rate(value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)), n=n)
