"""How many intents a question needs, and what a given number of them can show.

The paired formula is Connor's (1987), Biometrics 43, 207-211: n = (z_a sqrt(psi) + z_b sqrt(psi -
d^2))^2 / d^2 for a rise d and a share psi of pairs in which the arms differ. A rise of d makes at
least d of the pairs differ, so psi is never taken below d.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from multitask_bench.stats.exact import below_p
from multitask_bench.stats.paired import score_variance

MOST_INTENTS = 100_000
"""Beyond this, the answer is "no number of intents": nobody will write so many."""

PRIOR_DISCORDANCE = 0.2
"""Share of pairs that differ, for planning before anything was asked: the middle of the shares (5 to 30 %) for which
the number of intents of this study was planned. A fine-tune that keeps its guardrails has less, one that loses them
more, and then the rise is larger as well."""


def detectable_rise(n: int, *, discordant_share: float, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The smallest rise, as a fraction, that a two-sided McNemar test of ``n`` pairs would likely show.

    None where not even a rise from 0 to 1 would be shown (fewer than four pairs at 5 %).
    """
    _check_shares(discordant_share=discordant_share, power=power, alpha=alpha)
    if _connor(1.0, discordant_share, power, alpha) > n:
        return None
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _connor(middle, discordant_share, power, alpha) > n:
            low = middle
        else:
            high = middle
    return high


def intents_needed(rise: float, *, discordant_share: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """How many pairs a two-sided McNemar test needs to show a rise of this fraction."""
    _check_shares(discordant_share=discordant_share, power=power, alpha=alpha)
    if not 0 < rise <= 1:
        raise ValueError(f"a rise to be shown lies in (0, 1], not {rise}")
    return math.ceil(_connor(rise, discordant_share, power, alpha))


def intents_for_zero(margin: float, confidence: float = 0.95) -> int:
    """How many pairs, none of them discordant, bring the gate's exact one-sided upper limit to the margin."""
    if not 0 < margin < 1:
        raise ValueError(f"a margin lies between 0 and 1, not {margin}")
    # If a share `margin` changed, no pair of n shows it with probability (1 - margin)^n.
    n = max(1, math.floor(math.log(1 - confidence) / math.log1p(-margin)))
    while below_p(a_only=0, b_only=0, n=n, margin=margin) > 1 - confidence:
        n += 1
    return n


def intents_to_settle(
    rise: float, *, discordant_share: float, margin: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """How many pairs the one-sided test needs to place this rise on its side of the margin.

    The rise and the discordant share are those seen so far, taken for the truth. None where the rise
    lies so near the margin that 100,000 pairs would not do. Never fewer than the pairs that would be needed
    without any discordance (``intents_for_zero``) where the rise is below the margin.
    """
    _check_shares(discordant_share=discordant_share, power=power, alpha=alpha)
    b_share = (discordant_share + rise) / 2
    at_margin = math.sqrt(score_variance(discordant_share - b_share, b_share, margin))
    at_rise = math.sqrt(max(0.0, discordant_share - rise * rise))
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha), NormalDist().inv_cdf(power)
    distance = abs(rise - margin)
    found = _count(z_alpha * at_margin + z_power * at_rise, distance)
    if found is None or rise > margin:
        return found
    return max(found, intents_for_zero(margin, 1 - alpha))


def rise_shown(
    n: int, *, discordant_share: float, margin: float, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """The smallest rise that ``n`` pairs would likely show to be above the margin; None where no rise would be."""

    def shown(rise: float) -> bool:
        share = max(discordant_share, rise)
        needed = intents_to_settle(rise, discordant_share=share, margin=margin, power=power, alpha=alpha)
        return needed is not None and needed <= n

    if not shown(1.0):
        return None
    low, high = margin, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def rows_for_noninferiority(sd: float, *, margin: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """How many rows show a task metric within ``margin`` of its reference if the two are equal.

    ``sd`` is that of one row's difference, in the metric's units, as ``margin`` is. One-sided,
    n = (z_alpha + z_power)^2 sd^2 / margin^2 (Julious 2004, Statistics in Medicine 23, 1921-1986).
    Raises: ValueError: not above 0.
    """
    _check_shares(discordant_share=0.0, power=power, alpha=alpha)
    if sd <= 0 or margin <= 0:
        raise ValueError(f"sd and margin must be above 0, not {sd} and {margin}")
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return math.ceil((z * sd / margin) ** 2)


def rate_intents_to_settle(share: float, *, limit: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """How many intents a one-sided test needs to show that a share lies above ``limit``; None as above."""
    _check_shares(discordant_share=share, power=power, alpha=alpha)
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha), NormalDist().inv_cdf(power)
    root = z_alpha * math.sqrt(limit * (1 - limit)) + z_power * math.sqrt(share * (1 - share))
    return _count(root, share - limit)


def _count(root: float, distance: float) -> int | None:
    if root >= distance * math.sqrt(MOST_INTENTS):
        return None
    return math.ceil((root / distance) ** 2)


def _connor(rise: float, discordant_share: float, power: float, alpha: float) -> float:
    psi = max(discordant_share, rise)
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    return ((z_alpha * math.sqrt(psi) + z_power * math.sqrt(max(0.0, psi - rise * rise))) / rise) ** 2


def _check_shares(*, discordant_share: float, power: float, alpha: float) -> None:
    if not 0 <= discordant_share <= 1:
        raise ValueError(f"a discordant share lies in [0, 1], not {discordant_share}")
    if not (0.5 <= power < 1 and 0 < alpha < 0.5):
        raise ValueError(f"power must lie in [0.5, 1) and alpha in (0, 0.5), not {power} and {alpha}")
