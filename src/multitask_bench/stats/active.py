"""Rates and differences of arms from a judge on all rows and labels on rows drawn with known probabilities.

Active inference (Zrnic and Candes 2024, arXiv 2403.03208), section 4: the judge's mean, plus the mean of the
judge's errors over the labelled rows, each weighted by the inverse of its probability of being labelled; the weight
of the judge is power-tuned within [0, 1] as in PPI++ (Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453).

Two departures. The inverse probabilities are divided by their sum instead of by the number of rows (Hajek's
ratio): the draw has a fixed size, and an audit that was stopped early, which labels a random part of what was drawn,
then needs no correction, because all probabilities shrink alike. And the judge's mean is taken over all rows, labelled
ones too, so that the weight is the slope of labels on verdicts without PPI++'s factor for a separate sample.

The interval covers the share among all intents that might have been asked, as the uncorrected one does: the variance
of the draw (Deville's for draws of a fixed size in random order: Matei and Tille 2005, Journal of Official
Statistics 21, 543-570) plus that of the rows, in which the rows of one intent are alike as far as the judge sees
them alike. Few labels prove little: errors of the judge that were not seen are added to the first, half an
answer of either kind to the second, and the limits are Student's, with one degree of freedom less than there are
labels, or intents where these are fewer.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from multitask_bench.stats.judge_error import Estimate

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

Span = tuple[float, float]
"""The least and the greatest value that a label allows: equal where it is clear."""
UNSEEN_LIKENESS = 1 / 3
"""Part of the way from what the verdicts show of intents to rows that are all alike: errors of the judge hide likeness.
Chosen by simulation: without it 12 intents with answers much alike had intervals that held 90 %."""
UNSEEN_ERRORS = 1.5
"""Errors of the judge that are added to the variance of a draw, as heavy as an average row is when drawn: a draw
may miss rare errors altogether. Chosen by simulation: with 1 intervals held 92 % at worst."""
UNCLEAR: Span = (0.0, 1.0)
"""The label of a row of which a person cannot tell."""


class Row(NamedTuple):
    """One answer, or one pair of answers to the same probe."""

    judged: float
    """The judge's score: 0 or 1, or anything between where it gave none."""
    label: Span | None
    """None where the row was not labelled."""
    chance: float
    """The probability in (0, 1] with which it was labelled; of an unlabelled row it is not used."""
    cluster: Hashable
    """The intent: its rows are alike."""


def audited_rate(rows: Sequence[Row], *, confidence: float = 0.95) -> Estimate:
    """The true share of ``rows``, in [0, 1]; all None with fewer than two labels.

    Rows of which nobody can tell count as a half in the value, as 0 in the lower limit and as 1 in the upper one.
    Raises: ValueError: a probability outside (0, 1], or a score or label outside [0, 1].
    """
    return _audited(rows, least=0.0, confidence=confidence)


def audited_difference(pairs: Sequence[tuple[Row, Row]], *, confidence: float = 0.95) -> Estimate:
    """Second minus first over pairs of answers to the same probes, in [-1, 1]; from pairs with *both* labels.

    ``chance`` of the first is that of both labels being made. Pairs with one label count as unlabelled: the judge may
    err otherwise in the other arm. Raises: ValueError: as above.
    """
    return _audited([_subtracted(a, b) for a, b in pairs], least=-1.0, confidence=confidence)


def _subtracted(a: Row, b: Row) -> Row:
    label = None
    if a.label is not None and b.label is not None:
        label = (b.label[0] - a.label[1], b.label[1] - a.label[0])
    return Row(b.judged - a.judged, label, a.chance, a.cluster)


def _audited(rows: Sequence[Row], *, least: float, confidence: float) -> Estimate:
    import numpy as np
    from scipy import stats

    _check(rows, least)
    labelled = np.array([row.label is not None for row in rows], dtype=bool)
    m, n = int(labelled.sum()), len(rows)
    if m < 2:
        return Estimate(None, None, None, n, m)
    scores = np.array([row.judged for row in rows], dtype=float)
    chance = np.array([row.chance for row in rows], dtype=float)[labelled]
    spans = np.array([row.label for row in rows if row.label is not None], dtype=float)
    clusters = [row.cluster for row in rows]
    alike, freedom = _design_effect(scores, clusters), max(1, min(m, len(set(clusters))) - 1)

    def limits(labels: Array) -> tuple[float, float, float]:
        return _limits(
            scores, labelled, labels, chance, alike=alike, t=float(stats.t.ppf((1 + confidence) / 2, freedom))
        )

    value, low, high = limits(spans.mean(axis=1))
    if bool((spans[:, 0] < spans[:, 1]).any()):
        low, high = min(low, limits(spans[:, 0])[1]), max(high, limits(spans[:, 1])[2])
    value, low, high = (min(1.0, max(least, end)) for end in (value, low, high))
    return Estimate(value, min(low, value), max(high, value), n, m)


def _limits(
    scores: Array, labelled: Any, labels: Array, chance: Array, *, alike: float, t: float
) -> tuple[float, float, float]:
    value, variance = _corrected(scores, scores[labelled], labels, chance)
    # The second moment by the same correction: what the answers, not the verdicts, vary by.
    square, _ = _corrected(scores**2, scores[labelled] ** 2, labels**2, chance)
    spread = max(0.0, min(1.0, square) - value**2)  # the corrected mean itself may lie beyond 1
    effective = len(scores) / alike
    variance += (effective * spread + 1) / effective**2
    half = t * math.sqrt(variance)
    return value, value - half, value + half


def _corrected(scores: Array, near: Array, labels: Array, chance: Array) -> tuple[float, float]:
    """The corrected mean of the rows, and its variance over draws."""
    weight = 1 / chance
    total = float(weight.sum())
    heavy = (1 - chance) * weight**2  # a row that is labelled for sure adds no variance
    m = len(labels)

    def centred(values: Array) -> Array:
        return values - float((weight * values).sum()) / total

    spread = float((heavy * centred(near) ** 2).sum())
    tuned = float((heavy * centred(near) * centred(labels)).sum()) / spread if spread > 0 else 1.0
    tuned = min(1.0, max(0.0, tuned))
    errors = labels - tuned * near
    value = tuned * float(scores.mean()) + float((weight * errors).sum()) / total
    # Two degrees of freedom are spent, on the mean and on the weight of the judge.
    variance = (
        m / max(1, m - 2) * float((heavy * centred(errors) ** 2).sum())
        + UNSEEN_ERRORS * float((weight * heavy).sum()) / total
    ) / total**2
    return value, variance


def _design_effect(scores: Array, clusters: Sequence[Hashable]) -> float:
    """By how much the rows of one intent inflate the variance of a mean: from 1, unlike, to its size, all alike.

    As in `rates.clustered_rate`: where the verdicts do not vary they cannot show it, and it is the largest.
    """
    import numpy as np

    n = len(scores)
    place: dict[Hashable, int] = {}
    index = [place.setdefault(cluster, len(place)) for cluster in clusters]
    groups = len(place)
    sizes = np.bincount(index, minlength=groups)
    most = float((sizes**2).sum()) / n
    residuals = scores - scores.mean()
    spread = float((residuals**2).sum())
    if groups == n or groups == 1 or spread == 0:
        return 1.0 if groups == n else most
    sums = np.bincount(index, weights=residuals, minlength=groups)
    found = groups / (groups - 1) * float((sums**2).sum()) / spread
    return min(max(found, 1.0), most) * (1 - UNSEEN_LIKENESS) + most * UNSEEN_LIKENESS


def _check(rows: Sequence[Row], least: float) -> None:
    for row in rows:
        if row.label is not None and not 0 < row.chance <= 1:
            raise ValueError("every labelled row needs its probability in (0, 1] of being labelled")
        ends = (row.judged, row.judged) if row.label is None else (row.judged, *row.label)
        if not least <= min(ends) <= max(ends) <= 1:
            raise ValueError(f"scores and labels lie in [{least:g}, 1]")
