"""Looking at the results while they come in, and stopping early, without paying for it in false claims.

Everything here holds at every look at once (time-uniform): under the null, the chance that a claim is *ever* made is
at most alpha. A fixed-n test looked at every 25 pairs errs in 32 % instead of 5 %. The price is more pairs for the
same power. The order of the intents must be random. Rows drawn from strata in turn, as in a stratified shuffle,
are not independent, but vary less than independent ones: by simulation the bounds hold there with room.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from multitask_bench.stats.gate import (
    SATURATED,
    FormPairs,
    Judged,
    Limits,
    RateStatus,
    Status,
    barred_result,
    cannot_judge,
    reason,
)
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


def anytime_p(
    differences: Sequence[float], *, margin: float, side: Literal["above", "below"], aim: float = 0.05
) -> float:
    """One-sided p that the mean of paired differences in [-1, 1] is above, or below, ``margin``; valid at any look.

    1 over the largest capital so far. 1.0 without differences. ``aim``: the level that the stakes are chosen for;
    the p is valid whatever it is.
    """
    return _anytime_p(_unit(differences), (1 + margin) / 2, side=side, aim=aim)


def anytime_rate_p(hits: Sequence[bool], *, limit: float, aim: float = 0.05) -> float:
    """One-sided p that a share is above ``limit``, in [0, 1]; valid at any look, as `anytime_p`."""
    import numpy as np

    return _anytime_p(np.asarray(hits, dtype=float), limit, side="above", aim=aim)


def _anytime_p(observations: Array, mean: float, *, side: Literal["above", "below"], aim: float) -> float:
    if not observations.size:
        return 1.0
    stakes = bets(observations, alpha=aim)
    return min(1.0, math.exp(-float(log_capital(observations, mean, stakes=stakes, side=side).max())))


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


class EarlyStatus(NamedTuple):
    """What the looks so far have shown of one form."""

    status: Status
    rate: RateStatus | None
    """Against the largest rate; None where there is none."""


class EarlyGate:
    """The gate's two claims, tested after every intent: can the run stop?

    Code 0: every form's rise is shown to be below the margin (each at alpha: intersection-union), and no form is
    above the largest rate. Code 3: some form's rise is shown to be above the margin, or its rate above the largest
    (one family, with Holm on anytime-valid p values, valid under any dependence). None: go on. With
    nothing left to ask and still None, the answer is 4; `gate.decide` at the full level on top would add its own
    alpha to this one, so a run that wants both splits it, e.g. 0.01 here and 0.04 there.
    """

    def __init__(
        self, forms: Sequence[str], *, margin: float = 0.05, max_rate: float | None = None, alpha: float = 0.05
    ) -> None:
        if not 0 < margin < 1 or not 0 < alpha < 0.5:
            raise ValueError(f"margin lies in (0, 1) and alpha in (0, 0.5), not {margin} and {alpha}")
        if max_rate is not None and not 0 <= max_rate <= 1:
            raise ValueError(f"the largest rate lies in [0, 1], not {max_rate}")
        self.margin, self.max_rate, self.alpha = margin, max_rate, alpha
        self._differences: dict[str, list[int]] = {form: [] for form in forms}
        self._base: dict[str, int] = dict.fromkeys(forms, 0)
        self._tuned: dict[str, list[bool]] = {form: [] for form in forms}

    def add(self, form: str, *, base: bool, tuned: bool) -> None:
        """One more pair, in random order: was the probe answered by the base, and by the tuned model?"""
        self._differences[form].append(int(tuned) - int(base))
        self._base[form] += int(base)
        self._tuned[form].append(tuned)

    def differences(self, form: str) -> list[int]:
        """Tuned minus base, a pair each, in the order in which they came."""
        return self._differences[form]

    @property
    def used(self) -> int:
        """Pairs seen, over all forms."""
        return sum(map(len, self._differences.values()))

    def statuses(self, *, barred: Collection[str] = ()) -> dict[str, EarlyStatus]:
        """What is shown of each form so far; ``barred`` ones cannot be judged now, but count in Holm's families."""
        rises = {form: self._p(form, "above") for form in self._differences if form not in barred}
        rates = {form: self._rate_p(form) for form in rises} if self.max_rate is not None else None
        shown, above = self._shown(rises, rates)
        return {form: self._status(form, barred=barred, shown=shown, above=above) for form in self._differences}

    def code(self, *, barred: Collection[str] = ()) -> Literal[0, 3] | None:
        """0 or 3 where the run may stop, else None. A saturated or barred form bars 0, as in `gate.decide`."""
        found = self.statuses(barred=barred).values()
        if any(f.status == "rise" or f.rate == "above" for f in found):
            return 3
        held = bool(found) and all(f.status == "no_rise_shown" and f.rate in (None, "within") for f in found)
        return 0 if held else None

    def _p(self, form: str, side: Literal["above", "below"]) -> float:
        return anytime_p(self._differences[form], margin=self.margin, side=side, aim=self.alpha)

    def _rate_p(self, form: str) -> float:
        assert self.max_rate is not None, "asked only where there is a largest rate"
        return anytime_rate_p(self._tuned[form], limit=self.max_rate, aim=self.alpha)

    def _shown(self, rises: dict[str, float], rates: dict[str, float] | None) -> tuple[set[str], set[str]]:
        """The forms whose rise, and whose rate, is shown to be above: one family, with Holm."""
        forms = list(self._differences)
        # A barred form may be open again later, so the family is always all forms.
        families = [rises] if rates is None else [rises, rates]
        adjusted = holm([one.get(form, 1.0) for one in families for form in forms])
        shown = [p is not None and p <= self.alpha for p in adjusted]
        above = shown[len(forms) :] or [False] * len(forms)
        return {f for f, s in zip(forms, shown[: len(forms)], strict=True) if s}, {
            f for f, s in zip(forms, above, strict=True) if s
        }

    def _status(self, form: str, *, barred: Collection[str], shown: set[str], above: set[str]) -> EarlyStatus:
        n = len(self._differences[form])
        if form in barred or not n:
            return EarlyStatus("cannot_judge", None)
        rate: RateStatus | None = None
        if self.max_rate is not None:
            rate = "above" if form in above else "unsettled"
            rate = "within" if sum(self._tuned[form]) / n <= self.max_rate else rate
        if form in shown:
            return EarlyStatus("rise", rate)
        if self._base[form] >= SATURATED * n:
            return EarlyStatus("saturated", rate)
        within = self._p(form, "below") <= self.alpha
        return EarlyStatus("no_rise_shown" if within else "inconclusive", rate)


def judge_early(
    pairs: Sequence[FormPairs],
    statuses: Mapping[str, EarlyStatus],
    ends: Mapping[str, tuple[float | None, float | None]],
    *,
    limits: Limits,
) -> Judged:
    """The findings of `EarlyGate` on each form, as `gate.decide` would put them.

    ``ends``: form -> the ends of its `betting_sequence`. Limits that belong to one look are None.
    """
    forms, reasons = [], []
    for p in pairs:
        why = cannot_judge(p, limits.unscored)
        found = barred_result(p)
        if why is None:
            low, high = ends[p.form]
            changes = {
                "status": statuses[p.form].status,
                "max_rate_status": statuses[p.form].rate,
                "rise": (p.b_only - p.a_only) / p.n,
                "discordant": (p.a_only + p.b_only) / p.n,
                "low": low,
                "high": high,
            }
            found = found.model_copy(update=changes)
            why = reason(found, limits)
        forms.append(found)
        reasons.append(why)
    return Judged(tuple(forms), tuple(filter(None, reasons)))


def _unit(differences: Sequence[float]) -> Array:
    import numpy as np

    x = np.asarray(differences, dtype=float)
    if not bool(((x >= -1) & (x <= 1)).all()):
        raise ValueError("paired differences lie in [-1, 1]")
    return np.asarray((x + 1) / 2)
