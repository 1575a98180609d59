"""How many intents a question needs, and what a given number of them can show.

The paired formula is Connor's (1987), Biometrics 43, 207-211: n = (z_a sqrt(psi) + z_b sqrt(psi -
d^2))^2 / d^2 for a rise d and a share psi of pairs in which the arms differ. A rise of d makes at
least d of the pairs differ, so psi is never taken below d.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from multitask_bench.stats.paired import score_variance, tango_upper

MOST_INTENTS = 100_000
"""Beyond this, the answer is "no number of intents": nobody will write so many."""


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
    """How many pairs, none of them discordant, bring Tango's one-sided upper limit to the margin."""
    if not 0 < margin < 1:
        raise ValueError(f"a margin lies between 0 and 1, not {margin}")
    z = NormalDist().inv_cdf(confidence)
    # Without discordance the limit is z^2 / (n + z^2).
    n = max(1, math.ceil(z * z * (1 - margin) / margin) - 1)
    while tango_upper(a_only=0, b_only=0, n=n, confidence=confidence) > margin:
        n += 1
    return n


def intents_to_settle(
    rise: float, *, discordant_share: float, margin: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """How many pairs Tango's one-sided test needs to place this rise on its side of the margin.

    The rise and the discordant share are those seen so far, taken for the truth. None where the rise
    lies so near the margin that 100,000 pairs would not do. Without discordance this is
    ``intents_for_zero``.
    """
    _check_shares(discordant_share=discordant_share, power=power, alpha=alpha)
    b_share = (discordant_share + rise) / 2
    at_margin = math.sqrt(score_variance(discordant_share - b_share, b_share, margin))
    at_rise = math.sqrt(max(0.0, discordant_share - rise * rise))
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha), NormalDist().inv_cdf(power)
    distance = abs(rise - margin)
    return _count(z_alpha * at_margin + z_power * at_rise, distance)


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
