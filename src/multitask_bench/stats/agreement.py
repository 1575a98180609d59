"""How far judges and people agree beyond chance, with intervals over resampled rows.

Labels are any strings; None is a missing one and never an answer. Kappa and alpha fall towards 0 where nearly all rows
are of one kind, however well the raters agree; AC1 does not: report them side by side, with the counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

Labels = Sequence[Sequence[str | None]]
"""One entry a row (an answer), with one label a rater."""


class Agreement(NamedTuple):
    """A coefficient with its 95 % interval; value is None where it is undefined (one kind of label, no pairs)."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Rows with at least two labels."""
    observed: float | None
    """Share of pairs of labels on the same row that agree."""


def krippendorff_alpha(
    labels: Labels, *, order: Sequence[str] | None = None, seed: int = 0, draws: int = 2_000
) -> Agreement:
    """Krippendorff's alpha for any number of raters and missing labels: nominal, or ordinal where ``order`` is given.

    Source: Krippendorff (2011), Computing Krippendorff's alpha-reliability. Rows with one label drop out. Interval:
    percentiles over resampled rows. Raises: ValueError: rows of different length, a label that is not in ``order``.
    """
    counts, values = _counts(labels, order)

    def coefficient(pairs: Array) -> Array:
        import numpy as np

        totals = pairs.sum(axis=-1)
        distance = _ordinal(totals) if order is not None else 1.0 - np.eye(len(values))
        n = totals.sum(axis=-1)
        seen = (pairs * distance).sum(axis=(-2, -1))
        chance = (totals[..., :, None] * totals[..., None, :] * distance).sum(axis=(-2, -1))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(chance > 0, 1 - (n - 1) * seen / chance, np.nan))

    # A row's pairs of labels, weighted so that each label counts once.
    return _resampled(counts, _coincidences(counts), coefficient, seed=seed, draws=draws)


def cohen_kappa(
    first: Sequence[str | None], second: Sequence[str | None], *, seed: int = 0, draws: int = 2_000
) -> Agreement:
    """Cohen's kappa of two raters on the same rows; rows that one of them left out drop out.

    Source: Cohen (1960), Educational and Psychological Measurement 20, 37-46. Interval: percentiles over
    resampled rows. Raises: ValueError: lists of different length.
    """
    import numpy as np

    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} labels are not of the same rows")
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    counts, values = _counts(pairs, None)
    place = {value: i for i, value in enumerate(values)}
    cells = np.zeros((len(pairs), len(values), len(values)))
    for row, (a, b) in zip(cells, pairs, strict=True):
        row[place[a], place[b]] = 1.0

    def coefficient(table: Array) -> Array:
        n = table.sum(axis=(-2, -1))
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = np.trace(table, axis1=-2, axis2=-1) / n
            chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / n**2
            return np.asarray(np.where(chance < 1, (seen - chance) / (1 - chance), np.nan))

    return _resampled(counts, cells, coefficient, seed=seed, draws=draws)


def gwet_ac1(labels: Labels, *, kinds: Sequence[str] | None = None, seed: int = 0, draws: int = 2_000) -> Agreement:
    """Gwet's AC1 for any number of raters and missing labels, which stays put where one kind of label prevails.

    ``kinds`` are the labels that could have been given, where not all of them were: their number enters.
    Source: Gwet (2008), British Journal of Mathematical and Statistical Psychology 61, 29-48. Rows with one label
    count in how often each kind occurs, not in the agreement. Interval: percentiles over resampled rows.
    """
    import numpy as np

    counts, values = _counts(labels, kinds, keep_single=True)
    size = counts.sum(axis=1)
    paired = size > 1
    agreeing = (counts * (counts - 1)).sum(axis=1) / np.where(paired, size * (size - 1), 1)
    per_row = np.concatenate(
        [np.where(paired, agreeing, 0.0)[:, None], paired[:, None], counts / size[:, None], np.ones((len(counts), 1))],
        axis=1,
    )[:, None, :]

    def coefficient(sums: Array) -> Array:
        sums = sums[..., 0, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = sums[..., 0] / sums[..., 1]
            share = sums[..., 2:-1] / sums[..., -1:]
            chance = (share * (1 - share)).sum(axis=-1) / max(1, len(values) - 1)
            return np.asarray(np.where(len(values) > 1, (seen - chance) / (1 - chance), np.nan))

    return _resampled(counts, per_row, coefficient, seed=seed, draws=draws)


def _counts(labels: Labels, order: Sequence[str] | None, *, keep_single: bool = False) -> tuple[Array, list[str]]:
    """Rows x kinds of label: how many raters gave it."""
    import numpy as np

    if len({len(row) for row in labels}) > 1:
        raise ValueError("every row needs one label, or None, of each rater")
    given = {label for row in labels for label in row if label is not None}
    values = list(order) if order is not None else sorted(given)
    unknown = sorted(given - set(values))
    if unknown:
        raise ValueError(f"the list of labels leaves out {unknown[0]!r}")
    kept = [row for row in labels if sum(label is not None for label in row) > (0 if keep_single else 1)]
    counts = np.array([[sum(label == value for label in row) for value in values] for row in kept], dtype=float)
    return counts.reshape(len(kept), len(values)), values


def _coincidences(counts: Array) -> Array:
    import numpy as np

    size = counts.sum(axis=1)[:, None, None]
    own = counts[:, :, None] * np.eye(counts.shape[1])
    return np.asarray((counts[:, :, None] * counts[:, None, :] - own) / np.maximum(size - 1, 1))


def _ordinal(totals: Array) -> Array:
    """Squared rank distances: what lies between two kinds counts whole, the two themselves half."""
    import numpy as np

    rank = totals.cumsum(axis=-1) - totals / 2
    return np.asarray((rank[..., :, None] - rank[..., None, :]) ** 2)


def _resampled(counts: Array, per_row: Array, coefficient: Any, *, seed: int, draws: int) -> Agreement:
    import numpy as np
    from scipy import stats

    size = counts.sum(axis=1)
    paired = size > 1
    n = int(paired.sum())
    if n == 0:
        return Agreement(None, None, None, 0, None)
    observed = float(((counts * (counts - 1)).sum(axis=1)[paired] / (size * (size - 1))[paired]).mean())
    value = float(coefficient(per_row.sum(axis=0)))
    if math.isnan(value):
        return Agreement(None, None, None, n, observed)
    if observed == 1.0:
        # Nothing to resample: up to this share of rows may yet disagree.
        unseen = -math.expm1(math.log(0.025) / n)
        share = counts.sum(axis=0) / counts.sum()
        return Agreement(value, max(-1.0, value - unseen / max(unseen, 1 - float(share @ share))), value, n, observed)
    rows = len(per_row)
    if rows == 1:
        return Agreement(value, -1.0, 1.0, n, observed)
    flat = per_row.reshape(rows, -1)
    drawn = np.random.default_rng(seed).multinomial(rows, [1 / rows] * rows, draws) @ flat
    found = coefficient(drawn.reshape(draws, *per_row.shape[1:]))
    # Expanded for small numbers of rows, as in `paired.bootstrap_difference` (Hesterberg 2015).
    tail = float(stats.norm.cdf(math.sqrt(rows / (rows - 1)) * stats.t.ppf(0.025, rows - 1)))
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return Agreement(value, min(float(low), value), max(float(high), value), n, observed)
