"""The area under the ROC curve, with an interval for rows that hang together in clusters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Z95 = NormalDist().inv_cdf(0.975)
_TAIL = 0.025


class Auc(NamedTuple):
    """The chance that a positive scores above a negative (ties count half), with a 95 % interval; None without both."""

    value: float | None
    low: float | None
    high: float | None
    positives: int
    negatives: int


class Scored(NamedTuple):
    """One row: its score, whether it is a positive, and the cluster it belongs to."""

    score: float
    positive: bool
    cluster: str


def clustered_auc(rows: Sequence[Scored]) -> Auc:
    """The area and its interval, where rows of one cluster are alike, positives and negatives both.

    Variance after Obuchowski (1997, Biometrics 53, 567-578), which is DeLong's where every cluster is one row; the
    interval is taken on the logit scale, so that it stays inside [0, 1]. Where the classes do not overlap at all
    the data show no variance: then it is what as many independent clusters would exclude, 0.025^(1/clusters).
    """
    positives = [row for row in rows if row.positive]
    negatives = [row for row in rows if not row.positive]
    if not positives or not negatives:
        return Auc(None, None, None, len(positives), len(negatives))
    above = _placements([r.score for r in positives], [r.score for r in negatives])
    below = 1 - _placements([r.score for r in negatives], [r.score for r in positives])
    value = math.fsum(above.tolist()) / len(above)
    by_positive = _by_cluster(positives, above - value)
    by_negative = _by_cluster(negatives, below - value)
    low, high = _ends(value, by_positive, by_negative, len(positives), len(negatives))
    return Auc(value, min(low, value), max(high, value), len(positives), len(negatives))


def _placements(of: Sequence[float], among: Sequence[float]) -> npt.NDArray[np.float64]:
    """Of each score, the share of ``among`` below it; equal ones count half."""
    order = np.sort(np.asarray(among, dtype=float))
    below, upto = np.searchsorted(order, of, "left"), np.searchsorted(order, of, "right")
    found: npt.NDArray[np.float64] = (below + upto) / (2 * len(order))
    return found


def _by_cluster(rows: Sequence[Scored], residuals: npt.NDArray[np.float64]) -> dict[str, float]:
    out: dict[str, float] = defaultdict(float)
    for row, residual in zip(rows, residuals.tolist(), strict=True):
        out[row.cluster] += residual
    return dict(out)


def _ends(
    value: float, by_positive: dict[str, float], by_negative: dict[str, float], positives: int, negatives: int
) -> tuple[float, float]:
    fewest = min(len(by_positive), len(by_negative))
    variance = (
        _corrected(by_positive, by_positive) / positives**2
        + _corrected(by_negative, by_negative) / negatives**2
        + 2 * _corrected(by_positive, by_negative) / (positives * negatives)
    )
    if value in (0.0, 1.0) or fewest < 2 or variance <= 0:
        unseen = _TAIL ** (1 / fewest)
        return (value * unseen, value + (1 - value) * (1 - unseen))
    middle = math.log(value / (1 - value))
    half = _Z95 * math.sqrt(variance) / (value * (1 - value))
    return _expit(middle - half), _expit(middle + half)


def _corrected(first: dict[str, float], second: dict[str, float]) -> float:
    """Sum of products over clusters, corrected for the number of those that either has."""
    clusters = sorted(first.keys() | second.keys()) if first is not second else sorted(first)
    count = len(clusters)
    if count < 2:
        return 0.0
    return count / (count - 1) * math.fsum(first.get(c, 0.0) * second.get(c, 0.0) for c in clusters)


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
