"""Is a task metric no worse than its reference by more than a margin that was stated beforehand?

A difference is second minus first, in the metric's own units; more is better. The limits are one-sided at 95 %:
"noninferior" where the lower one lies above -margin, "inferior" where the upper one lies below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from multitask_bench.schema import StrictModel
from multitask_bench.stats.exact import above_p, below_p, exact_lower, exact_upper

_DRAWS = 2_000
_FAR = 1e3

Verdict = Literal["noninferior", "inferior", "inconclusive"]


class NonInferiority(StrictModel):
    """A paired difference against its margin; value, limits and p are None where there is too little to say."""

    value: float | None
    low: float | None
    """One-sided lower limit."""
    high: float | None
    """One-sided upper limit."""
    p: float | None
    """That the difference is above -margin: small means noninferior."""
    p_inferior: float | None
    """That it is below -margin: small means inferior."""
    margin: float
    n: int
    verdict: Verdict


def noninferior(
    differences: Sequence[float],
    *,
    margin: float,
    method: Literal["bootstrap", "t"] = "bootstrap",
    confidence: float = 0.95,
    seed: int = 0,
) -> NonInferiority:
    """Paired rows: one difference a row, or one mean difference a cluster where rows are alike.

    "bootstrap" resamples rows and studentizes (bootstrap-t; Efron and Tibshirani 1993, chapter 12), which allows for
    a long tail on one side, as metrics have them; "t" is the paired t test against -margin, without randomness, for
    differences that are about symmetric. With fewer than two rows, or without any variation, nothing is claimed:
    rows that all agree tell nothing of the next, and yes-or-no metrics have `noninferior_binary`.
    Source: Piaggio et al. (2012), JAMA 308, 2594-2604. Raises: ValueError: a margin that is not above 0.
    """
    _check(margin, confidence)
    n = len(differences)
    mean = math.fsum(differences) / n if n else None
    if mean is None or n < 2 or max(differences) - min(differences) < 1e-12:
        return _too_little(mean, margin=margin, n=n)
    from scipy import stats

    error = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    score = (mean + margin) / error
    if method == "t":
        most = least = float(stats.t.ppf(confidence, n - 1))
        p = float(stats.t.sf(score, n - 1))
        p_inferior = 1 - p
    else:
        import numpy as np

        drawn = _studentized(differences, seed)
        most, least = float(np.quantile(drawn, confidence)), -float(np.quantile(drawn, 1 - confidence))
        p = (int(np.count_nonzero(drawn >= score)) + 1) / (len(drawn) + 1)
        p_inferior = (int(np.count_nonzero(drawn <= score)) + 1) / (len(drawn) + 1)
    low, high = mean - most * error, mean + least * error
    return NonInferiority(
        value=mean,
        low=min(low, mean),
        high=max(high, mean),
        p=p,
        p_inferior=p_inferior,
        margin=margin,
        n=n,
        verdict=verdict_of(low, high, margin),
    )


def _studentized(differences: Sequence[float], seed: int) -> Any:
    """(mean - observed mean) / standard error of resampled rows; draws without variation stand at the ends."""
    import numpy as np

    rng = np.random.default_rng(seed)
    values = np.asarray(differences, dtype=float)
    n, parts = len(values), []
    # In parts of at most a million numbers.
    step = max(1, min(_DRAWS, 1_000_000 // n))
    for start in range(0, _DRAWS, step):
        drawn = values[rng.integers(0, n, (min(step, _DRAWS - start), n))]
        shift, spread = drawn.mean(axis=1) - values.mean(), drawn.std(axis=1, ddof=1) / math.sqrt(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(np.where(spread > 1e-12, shift / spread, np.sign(shift) * _FAR))
    return np.concatenate(parts)


def noninferior_binary(*, a_only: int, b_only: int, n: int, margin: float, confidence: float = 0.95) -> NonInferiority:
    """A yes-or-no metric (exact match, pass@1): pairs that only the first, or only the second arm got right.

    Tango's score test summed exactly (`stats.exact`). Raises: ValueError: impossible counts, or no margin in (0, 1).
    """
    _check(margin, confidence)
    if margin >= 1:
        raise ValueError(f"the margin of a share lies between 0 and 1, not {margin}")
    if n == 0:
        return _too_little(None, margin=margin, n=0)
    counts = {"a_only": a_only, "b_only": b_only, "n": n}
    low, high = exact_lower(**counts, confidence=confidence), exact_upper(**counts, confidence=confidence)
    p, p_inferior = above_p(**counts, margin=-margin), below_p(**counts, margin=-margin)
    verdict: Verdict = "inconclusive"
    if p <= 1 - confidence:
        verdict = "noninferior"
    elif p_inferior <= 1 - confidence:
        verdict = "inferior"
    return NonInferiority(
        value=(b_only - a_only) / n, low=low, high=high, p=p, p_inferior=p_inferior, margin=margin, n=n, verdict=verdict
    )


def _too_little(value: float | None, *, margin: float, n: int) -> NonInferiority:
    return NonInferiority(
        value=value, low=None, high=None, p=None, p_inferior=None, margin=margin, n=n, verdict="inconclusive"
    )


def verdict_of(low: float | None, high: float | None, margin: float) -> Verdict:
    """What the limits of a difference say against its margin; nothing where there are none."""
    if low is None or high is None:
        return "inconclusive"
    if low > -margin:
        return "noninferior"
    return "inferior" if high < -margin else "inconclusive"


def _check(margin: float, confidence: float) -> None:
    if not margin > 0:
        raise ValueError(f"a margin is stated as a number above 0, not {margin}")
    if not 0.5 < confidence < 1:
        raise ValueError(f"a confidence lies between 0.5 and 1, not {confidence}")
