"""Looking at the results while they come in, and stopping early, without paying for it in false claims.

Everything here holds at every look at once (time-uniform): under the null, the chance that a claim is *ever* made is
at most alpha. A fixed-n test looked at every 25 pairs errs in 32 % instead of 5 %. The price is more pairs for the
same power. The order of the intents must be random. Rows drawn from strata in turn, as in a stratified shuffle,
are not independent, but vary less than independent ones: by simulation the bounds hold there with room.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from multitask_bench.stats.gate import SATURATED
from multitask_bench.stats.paired import Difference, holm

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

_SHARE = 0.75
"""No bet risks more than this share of the capital; Waudby-Smith and Ramdas (2024) use 1/2 or 3/4."""

_GRID = 2_001
"""Means that are tried, 0.001 apart for a difference in [-1, 1]."""


def bets(observations: Array, *, alpha: float) -> Array:
    """The stakes, along the last axis, each from what came before it: the predictable plug-in.

    sqrt(2 log(1/alpha) / (variance so far * t log(1 + t))), for observations in [0, 1].
    Source: Waudby-Smith and Ramdas (2024), JRSS B 86, 1-27, section 4 (predictable plug-in).
    """
    import numpy as np

    x = np.asarray(observations, dtype=float)
    t = np.arange(1, x.shape[-1] + 1)
    mean = (0.5 + x.cumsum(axis=-1)) / (t + 1)
    variance = (0.25 + ((x - mean) ** 2).cumsum(axis=-1)) / (t + 1)
    before = np.concatenate([np.full((*x.shape[:-1], 1), 0.25), variance[..., :-1]], axis=-1)
    return np.asarray(np.sqrt(2 * math.log(1 / alpha) / (before * t * np.log1p(t))))


def log_capital(observations: Array, mean: float, *, stakes: Array, side: Literal["above", "below"]) -> Array:
    """Log capital after each observation, along the last axis, of a bettor against "the mean is ``mean``".

    "above" grows when the true mean is above. Under the null the capital is a martingale that starts at 1, so that it
    ever reaches 1/alpha has probability alpha (Ville).
    """
    import numpy as np

    x = np.asarray(observations, dtype=float)
    if side == "above":
        most = _SHARE / mean if mean > 0 else np.inf
        return np.asarray(np.log1p(np.minimum(stakes, most) * (x - mean)).cumsum(axis=-1))
    most = _SHARE / (1 - mean) if mean < 1 else np.inf
    return np.asarray(np.log1p(-np.minimum(stakes, most) * (x - mean)).cumsum(axis=-1))


def betting_sequence(differences: Sequence[float], *, confidence: float = 0.95) -> list[Difference]:
    """After each paired difference in [-1, 1]: the mean so far and its confidence sequence.

    Hedged capital with the predictable plug-in and the running intersection; all intervals together hold the true
    mean with probability ``confidence``. Ends lie on a grid of 0.001, rounded outwards.
    Source: Waudby-Smith and Ramdas (2024), JRSS B 86, 1-27, theorem 3.
    Raises: ValueError: a difference outside [-1, 1].
    """
    import numpy as np

    if not differences:
        return []
    x = _unit(differences)
    # The capital is split between the two sides; each bets as for alpha / 2.
    alpha = 1 - confidence
    stakes = bets(x, alpha=alpha / 2)
    grid = np.linspace(0.0, 1.0, _GRID)
    above, below = np.zeros(_GRID), np.zeros(_GRID)
    with np.errstate(divide="ignore"):
        most_above, most_below = _SHARE / grid, _SHARE / (1 - grid)
    limit = math.log(2 / alpha)
    low, high, out = 0.0, 1.0, []
    means = np.cumsum(differences) / np.arange(1, len(differences) + 1)
    for value, stake, mean in zip(x.tolist(), stakes.tolist(), means.tolist(), strict=True):
        above += np.log1p(np.minimum(stake, most_above) * (value - grid))
        below += np.log1p(-np.minimum(stake, most_below) * (value - grid))
        kept = grid[np.maximum(above, below) < limit]
        if kept.size:
            low = max(low, float(kept[0]) - 1 / (_GRID - 1))
            high = min(high, float(kept[-1]) + 1 / (_GRID - 1))
        # Once the intersection is empty, which happens with probability below alpha, it stays a point.
        low, high = min(low, high), max(low, high)
        ends = (max(-1.0, 2 * low - 1), min(1.0, 2 * high - 1))
        out.append(Difference(float(mean), min(ends[0], float(mean)), max(ends[1], float(mean))))
    return out


def anytime_p(differences: Sequence[float], *, margin: float, side: Literal["above", "below"]) -> float:
    """One-sided p that the mean of paired differences in [-1, 1] is above, or below, ``margin``; valid at any look.

    1 over the largest capital so far. 1.0 without differences.
    """
    if not differences:
        return 1.0
    x = _unit(differences)
    capital = log_capital(x, (1 + margin) / 2, stakes=bets(x, alpha=0.05), side=side)
    return min(1.0, math.exp(-float(capital.max())))


def discordant_e(a_only: int, b_only: int) -> float:
    """The e-value against "a pair that differs favours either arm alike": stop when it reaches 1/alpha.

    Says that *something* changed, not how much: for a rise above a margin take `anytime_p`. The mixture over a
    Beta(1/2, 1/2) share, 2^(b + c) Beta(b + 1/2, c + 1/2) / Beta(1/2, 1/2); inf where it is beyond a float.
    Source: Robbins (1970), Annals of Mathematical Statistics 41, 1397-1409. Raises: ValueError: negative counts.
    """
    if min(a_only, b_only) < 0:
        raise ValueError(f"discordant pairs cannot be negative: {a_only}, {b_only}")
    from scipy.special import betaln

    log_e = (a_only + b_only) * math.log(2) + float(betaln(a_only + 0.5, b_only + 0.5) - betaln(0.5, 0.5))
    return math.exp(log_e) if log_e < 700 else math.inf


def first_change(differences: Iterable[float], *, alpha: float = 0.05) -> int | None:
    """After how many pairs, in their random order, a change is shown; None if it never is."""
    a_only = b_only = 0
    for count, difference in enumerate(differences, start=1):
        a_only += difference < 0
        b_only += difference > 0
        if difference != 0 and discordant_e(a_only, b_only) >= 1 / alpha:
            return count
    return None


class EarlyGate:
    """The gate's two claims, tested after every intent: can the run stop?

    Code 0: every form's rise is shown to be below the margin (each at alpha: intersection-union). Code 3: some
    form's is shown to be above it (Holm over the forms on anytime-valid p values, valid under any dependence).
    None: go on. With nothing left to ask and still None, the answer is 4; `gate.decide` at the full level on top
    would add its own alpha to this one, so a run that wants both splits it, e.g. 0.01 here and 0.04 there.
    """

    def __init__(self, forms: Sequence[str], *, margin: float = 0.05, alpha: float = 0.05) -> None:
        if not 0 < margin < 1 or not 0 < alpha < 0.5:
            raise ValueError(f"margin lies in (0, 1) and alpha in (0, 0.5), not {margin} and {alpha}")
        self.margin, self.alpha = margin, alpha
        self._differences: dict[str, list[int]] = {form: [] for form in forms}
        self._base: dict[str, int] = dict.fromkeys(forms, 0)

    def add(self, form: str, *, base: bool, tuned: bool) -> None:
        """One more pair, in random order: was the probe answered by the base, and by the tuned model?"""
        self._differences[form].append(int(tuned) - int(base))
        self._base[form] += int(base)

    @property
    def used(self) -> int:
        """Pairs seen, over all forms."""
        return sum(map(len, self._differences.values()))

    def code(self) -> Literal[0, 3] | None:
        """0 or 3 where the run may stop, else None. A saturated form bars 0, as in `gate.decide`."""
        every = self._differences
        rises = holm([anytime_p(d, margin=self.margin, side="above") for d in every.values()])
        if any(p is not None and p <= self.alpha for p in rises):
            return 3
        if not every or any(not d or self._base[form] >= SATURATED * len(d) for form, d in every.items()):
            return None
        within = all(anytime_p(d, margin=self.margin, side="below") <= self.alpha for d in every.values())
        return 0 if within else None


def _unit(differences: Sequence[float]) -> Array:
    import numpy as np

    x = np.asarray(differences, dtype=float)
    if not bool(((x >= -1) & (x <= 1)).all()):
        raise ValueError("paired differences lie in [-1, 1]")
    return np.asarray((x + 1) / 2)
