"""Rates and differences corrected for a judge that errs, with intervals that allow for what is not known of it.

Two kinds of knowledge, and each its own method. A *card* (sensitivity and specificity against labels made elsewhere):
Rogan-Gladen for a rate; for a difference of two arms only a range, because a card cannot tell whether the
judge errs alike in both. *Labels of rows of this very run*: prediction-powered inference, for rates and
for differences.

A labelled subsample in which the judge was never wrong proves little: its variance would be 0. One
disagreement in either direction is therefore added to every variance (as Agresti and Min 2005, Statistics in
Medicine 24, 729-740, do for paired shares), and labels are counted in degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

MOST_DIFFERENTIAL = 0.5
"""No tipping point is looked for beyond a judge that errs 50 points more in one arm than in the other."""


class Card(NamedTuple):
    """A judge against labels: of ``positives`` true ones it found ``hits``, of ``negatives`` it cleared ``cleared``.

    Counts need not be whole: labels of prompts that recur are worth fewer independent ones (`independent`).
    """

    hits: float
    positives: float
    cleared: float
    negatives: float

    @property
    def sensitivity(self) -> float:
        return self.hits / self.positives

    @property
    def specificity(self) -> float:
        return self.cleared / self.negatives


FLAWLESS = Card(10**12, 10**12, 10**12, 10**12)
"""A judge that errs nowhere, known for certain: what a tipping point starts from where no card fits.

With a sensitivity and specificity of 90 % the tipping point is the same to a point, since both the difference and what
makes it up are divided by sensitivity + specificity - 1; with 80 % it is a fifth, with 70 % up to a third smaller.
"""


class Estimate(NamedTuple):
    """A corrected rate or difference, as fractions; all None where the correction is not identified."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Judged rows."""
    labels: float
    """Labels that it rests on: those of the card, or of this run."""


class Borrowed(NamedTuple):
    """A difference corrected with a card from elsewhere, and what a judge that errs unlike in the arms would do."""

    value: float | None
    """Second minus first, if the judge errs alike in both arms."""
    low: float | None
    high: float | None
    lowest: float | None
    """The lower limit, at the worst, if the judge's errors differ between the arms by up to ``differential``."""
    highest: float | None
    tipping: float | None
    """The smallest differential error at which the interval holds 0; 0.0: it does without any; None: none up to 0.5."""
    reversal: float | None
    """The smallest at which the difference itself is 0 or of the other sign; None: none up to 0.5."""


class Labelled(NamedTuple):
    """One arm: the judge's score of every row, and the label of those that have one."""

    judged: Sequence[float]
    labels: Sequence[float | None]


def rogan_gladen(flagged: int, n: int, card: Card, *, confidence: float = 0.95) -> Estimate:
    """The true share among ``n`` rows of which the judge flagged ``flagged``, with Lang and Reiczigel's interval.

    Source: Rogan and Gladen (1978), Am. J. Epidemiol. 107, 71-76; Lang and Reiczigel (2014), Preventive Veterinary
    Medicine 113, 13-22; for judges, Lee et al. (2025), arXiv 2511.21140. All None where the card says no more
    than chance (sensitivity + specificity <= 1), holds no labels, or does not fit: the whole interval lies outside
    [0, 1], as where fewer rows are flagged than the card's false alarms alone would make.
    Raises: ValueError: impossible counts.
    """
    _check_card(card)
    if not 0 <= flagged <= n:
        raise ValueError(f"a rate needs 0 <= flagged <= n, not {flagged} of {n}")
    labels = card.positives + card.negatives
    if n == 0 or min(card.positives, card.negatives) == 0:
        return Estimate(None, None, None, n, labels)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    total, m1, m0 = n + z * z, card.positives + 2, card.negatives + 2
    p, se, sp = (flagged + z * z / 2) / total, (card.hits + 1) / m1, (card.cleared + 1) / m0
    informed, plain = se + sp - 1, card.sensitivity + card.specificity - 1
    if informed <= 0 or plain <= 0:
        return Estimate(None, None, None, n, labels)
    share = (p + sp - 1) / informed
    from_se, from_sp = share * se * (1 - se) / m1, (1 - share) * sp * (1 - sp) / m0
    center = share + 2 * z * z * (from_se - from_sp)
    half = z * math.sqrt(p * (1 - p) / total + share * from_se + (1 - share) * from_sp) / informed
    if not center - half < 1 or not center + half > 0:
        return Estimate(None, None, None, n, labels)
    value = _clip((flagged / n + card.specificity - 1) / plain)
    return Estimate(value, min(value, _clip(center - half)), max(value, _clip(center + half)), n, labels)


def over_strata(estimates: Sequence[Estimate]) -> Estimate:
    """The share over several strata, such as forms, each corrected with a card of its own; weighted by rows.

    The limits are averaged like the values, as if all strata erred in the same direction at once: the same intents
    stand in every form, and how alike they are is not known. So the interval is wide, never narrow. All None where
    a stratum has no estimate.
    """
    n, labels = sum(one.n for one in estimates), sum(one.labels for one in estimates)
    if n == 0 or any(one.value is None for one in estimates):
        return Estimate(None, None, None, n, labels)
    value, low, high = (
        math.fsum(float(getattr(one, end)) * one.n for one in estimates) / n for end in ("value", "low", "high")
    )
    return Estimate(value, min(low, value), max(high, value), n, labels)


def independent(value: float, low: float, high: float, *, most: float) -> float:
    """How many independent rows a share with the 95 % interval of `stats.rates` is worth; at most ``most``.

    Inverts Wilson's interval, and Clopper and Pearson's at 0 and 1: a card holds intervals that allow for recurring
    prompts, and so its counts overstate what it knows.
    """
    width = high - low
    if not 0 < width < 1:
        return most
    if value in (0.0, 1.0):
        return min(most, math.log(0.025) / math.log1p(-width))
    z = NormalDist().inv_cdf(0.975)
    fewest, rows = 0.01, float(most)
    for _ in range(60):
        middle = (fewest + rows) / 2
        wide = 2 * z * math.sqrt(value * (1 - value) / middle + z * z / (4 * middle**2)) / (1 + z * z / middle)
        fewest, rows = (middle, rows) if wide > width else (fewest, middle)
    return rows


def ppi_mean(judged: Sequence[float], labels: Sequence[float | None], *, confidence: float = 0.95) -> Estimate:
    """The mean label of all rows, in [0, 1], from the judge on all and labels on a simple random sample of them.

    PPI++ with its power-tuned weight: a judge that tells nothing costs nothing. ``labels`` has None where a row has
    none. Source: Angelopoulos, Duchi and Zrnic (2023), arXiv 2311.01453, section 6. All None with fewer than two
    labels. Raises: ValueError: lists of different length.
    """
    return _ppi(judged, labels, confidence=confidence, least=0.0)


def active_mean(
    judged: Sequence[float],
    labels: Sequence[float | None],
    probabilities: Sequence[float],
    *,
    confidence: float = 0.95,
) -> Estimate:
    """The same where row i was labelled with a known probability, higher where the judge is unsure.

    The mean of w J + (Y - w J) labelled / probability, with the weight w in [0, 1] that has the least variance.
    The draws of the rows must be independent. Source: Zrnic and Candes (2024), arXiv 2403.03208, section 4.
    Raises: ValueError: lists of different length, or a probability that is not in (0, 1].
    """
    return _active(judged, labels, probabilities, confidence=confidence, least=0.0)


def ppi_difference(
    first: Labelled, second: Labelled, *, probabilities: Sequence[float] | None = None, confidence: float = 0.95
) -> Estimate:
    """Second arm minus first over the same rows, in [-1, 1], from labels of *both* arms on the same rows.

    Rows labelled in one arm only carry no difference; with ``probabilities`` (of both labels being made) they are
    refused, since the draw would not be the one stated. Labels of one arm alone never correct a difference: the
    judge may err otherwise in the other. Raises: ValueError: as above, or no row is labelled in both arms.
    """
    arms = (first.judged, first.labels, second.judged, second.labels)
    if len({len(rows) for rows in arms}) > 1:
        raise ValueError("the arms need the same rows, each with its score and its label or None")
    both = [a is not None and b is not None for a, b in zip(first.labels, second.labels, strict=True)]
    one = [(a is None) != (b is None) for a, b in zip(first.labels, second.labels, strict=True)]
    if not any(both):
        raise ValueError("no row is labelled in both arms; a difference is corrected only from labels of both")
    judged = [b - a for a, b in zip(first.judged, second.judged, strict=True)]
    labels = [
        b - a if a is not None and b is not None else None for a, b in zip(first.labels, second.labels, strict=True)
    ]
    if probabilities is None:
        return _ppi(judged, labels, confidence=confidence, least=-1.0)
    if any(one):
        raise ValueError(f"{sum(one)} rows are labelled in one arm only; label the other arm too, or drop the label")
    return _active(judged, labels, probabilities, confidence=confidence, least=-1.0)


def borrowed_difference(
    *, a_only: float, b_only: float, both: float, n: float, card: Card, differential: float = 0.05
) -> Borrowed:
    """A difference of flagged shares on ``n`` pairs, corrected with a card that was made on other rows.

    Judged alike in both arms, only its size changes: it is divided by sensitivity + specificity - 1. What removes its
    sign is a judge that errs otherwise on the tuned model's answers, and no card made elsewhere excludes that.
    Hence the range over sensitivities and specificities that lie up to ``differential`` apart (half of it on
    either side of the card's), and the tipping points. 95 % intervals by the delta method, smoothed as above.
    Counts need not be whole: pairs that hang together (an intent in five forms) are counted as the fewer independent
    ones that they are worth.
    Source: quantitative bias analysis, Fox, MacLehose and Lash (2021), chapter 6. All None where the
    card says no more than chance. Raises: ValueError: impossible counts.
    """
    _check_card(card)
    if min(a_only, b_only, both) < 0 or a_only + b_only + both > n * (1 + 1e-9):
        raise ValueError(f"a_only={a_only}, b_only={b_only} and both={both} do not fit into n={n} pairs")
    if not 0 <= differential <= MOST_DIFFERENTIAL:
        raise ValueError(f"a differential error lies between 0 and {MOST_DIFFERENTIAL}, not {differential}")
    nothing = Borrowed(None, None, None, None, None, None, None)
    if n == 0 or min(card.positives, card.negatives) == 0 or card.sensitivity + card.specificity <= 1:
        return nothing
    pairs = _Pairs(a_only, b_only, both, n, card)
    value, low, high = pairs.corrected(0.0, 0.0)
    if value is None or low is None or high is None:
        return nothing
    lowest, highest = pairs.worst(differential)
    return Borrowed(value, low, high, lowest, highest, _tipping(pairs, low, high), _reversal(pairs, value))


class _Pairs(NamedTuple):
    a_only: float
    b_only: float
    both: float
    n: float
    card: Card

    def corrected(self, se_gap: float, sp_gap: float) -> tuple[float | None, float | None, float | None]:
        """The difference with its 95 % limits if sensitivity and specificity lie so far apart, second minus first."""
        m1, m0 = self.card.positives + 2, self.card.negatives + 2
        se_smooth, sp_smooth = (self.card.hits + 1) / m1, (self.card.cleared + 1) / m0
        se_a, se_b = _apart(self.card.sensitivity, se_gap)
        sp_a, sp_b = _apart(self.card.specificity, sp_gap)
        j_a, j_b = se_a + sp_a - 1, se_b + sp_b - 1
        if min(j_a, j_b) <= 0:
            return None, None, None
        # Half a pair in each of the four cells keeps the variance of a rare flag above 0 (Agresti and Min 2005).
        total = self.n + 2
        p_a = (self.a_only + self.both + 1) / total
        p_b = (self.b_only + self.both + 1) / total
        joint = (self.both + 0.5) / total - p_a * p_b
        theta_a = ((self.a_only + self.both) / self.n + sp_a - 1) / j_a
        theta_b = ((self.b_only + self.both) / self.n + sp_b - 1) / j_b
        sampling = (p_a * (1 - p_a) / j_a**2 + p_b * (1 - p_b) / j_b**2 - 2 * joint / (j_a * j_b)) / total
        by_se = theta_a / j_a - theta_b / j_b
        by_sp = (1 - theta_b) / j_b - (1 - theta_a) / j_a
        of_card = by_se**2 * se_smooth * (1 - se_smooth) / m1 + by_sp**2 * sp_smooth * (1 - sp_smooth) / m0
        half = NormalDist().inv_cdf(0.975) * math.sqrt(max(0.0, sampling) + of_card)
        value = _clip(theta_b - theta_a, -1.0)
        return value, _clip(theta_b - theta_a - half, -1.0), _clip(theta_b - theta_a + half, -1.0)

    def worst(self, differential: float) -> tuple[float, float]:
        """The lowest lower and the highest upper limit; -1 or 1 where a judge would be no better than chance."""
        steps = [differential * k / 2 for k in range(-2, 3)]
        found = [self.corrected(se_gap, sp_gap) for se_gap in steps for sp_gap in steps]
        lows, highs = [low for _, low, _ in found], [high for _, _, high in found]
        lowest = -1.0 if None in lows else min(low for low in lows if low is not None)
        return lowest, 1.0 if None in highs else max(high for high in highs if high is not None)


def _tipping(pairs: _Pairs, low: float, high: float) -> float | None:
    if low <= 0 <= high:
        return 0.0

    def tipped(differential: float) -> bool:
        lowest, highest = pairs.worst(differential)
        return lowest <= 0 if low > 0 else highest >= 0

    return _smallest(tipped)


def _reversal(pairs: _Pairs, value: float) -> float | None:
    if value == 0:
        return 0.0

    def reversed_(differential: float) -> bool:
        # The value moves one way with either gap, so that its worst lies in a corner.
        gaps = (-differential, differential)
        found = [pairs.corrected(se_gap, sp_gap)[0] for se_gap in gaps for sp_gap in gaps]
        return any(one is None or one * value <= 0 for one in found)

    return _smallest(reversed_)


def _smallest(tipped: Callable[[float], bool]) -> float | None:
    """The smallest differential error that tips, to a twentieth of a point; None where none up to the most does."""
    if not tipped(MOST_DIFFERENTIAL):
        return None
    inside, outside = 0.0, MOST_DIFFERENTIAL
    for _ in range(10):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if tipped(middle) else (middle, outside)
    return outside


def _apart(share: float, gap: float) -> tuple[float, float]:
    """Two shares that lie ``gap`` apart around ``share``, moved inwards as a pair where one would leave [0, 1]."""
    first, second = share - gap / 2, share + gap / 2
    shift = min(0.0, 1 - max(first, second)) + max(0.0, -min(first, second))
    return first + shift, second + shift


def _ppi(judged: Sequence[float], labels: Sequence[float | None], *, confidence: float, least: float) -> Estimate:
    import numpy as np
    from scipy import stats

    scores, labelled, truth = _arrays(judged, labels, least)
    m, n = int(labelled.sum()), len(scores)
    if m < 2:
        return Estimate(None, None, None, n, m)
    near, far = scores[labelled], scores[~labelled]
    rest = len(far)
    weight = 0.0
    spread = float(np.var(scores, ddof=1))
    if rest and spread > 0:
        weight = _clip(float(np.cov(truth, near)[0, 1]) / ((1 + m / rest) * spread))
    value = float(truth.mean()) if not rest else weight * float(far.mean()) + float((truth - weight * near).mean())
    errors = truth - weight * near
    # One more disagreement in either direction; without the judge it is one label of either kind.
    variance = (float(((errors - errors.mean()) ** 2).sum()) + 2) / (m * (m - 1))
    if rest:
        variance += weight**2 * spread / rest
    half = float(stats.t.ppf((1 + confidence) / 2, m - 1)) * math.sqrt(variance)
    return _estimate(value, half, n=n, labels=m, least=least)


def _active(
    judged: Sequence[float],
    labels: Sequence[float | None],
    probabilities: Sequence[float],
    *,
    confidence: float,
    least: float,
) -> Estimate:
    import numpy as np
    from scipy import stats

    scores, labelled, truth = _arrays(judged, labels, least)
    chance = np.asarray(probabilities, dtype=float)
    if chance.shape != scores.shape:
        raise ValueError(f"{len(scores)} rows need as many probabilities, not {len(chance)}")
    if not bool(((chance > 0) & (chance <= 1)).all()):
        raise ValueError("every row needs a probability in (0, 1] of being labelled; 0 hides it from the mean")
    m, n = int(labelled.sum()), len(scores)
    if m < 2:
        return Estimate(None, None, None, n, m)
    drawn = labelled / chance
    filled = np.zeros(n)
    filled[labelled] = truth
    of_labels, of_judge = filled * drawn, scores * (drawn - 1)
    spread = float(np.var(of_judge, ddof=1))
    weight = _clip(float(np.cov(of_labels, of_judge)[0, 1]) / spread) if spread > 0 else 1.0
    terms = of_labels - weight * of_judge
    # One more disagreement in either direction, as heavy as labelled rows are; one labelled for sure hides nothing.
    heavy = float(((1 - chance[labelled]) / chance[labelled] ** 2).mean())
    variance = float(terms.var(ddof=1)) / n + 2 * heavy / n**2
    half = float(stats.t.ppf((1 + confidence) / 2, m - 1)) * math.sqrt(variance)
    return _estimate(float(terms.mean()), half, n=n, labels=m, least=least)


def _arrays(judged: Sequence[float], labels: Sequence[float | None], least: float) -> tuple[Array, Any, Array]:
    import numpy as np

    if len(judged) != len(labels):
        raise ValueError(f"{len(judged)} judged rows need as many labels or None, not {len(labels)}")
    scores = np.asarray(judged, dtype=float)
    truth = np.array([label for label in labels if label is not None], dtype=float)
    for values in (scores, truth):
        if not bool(((values >= least) & (values <= 1)).all()):
            raise ValueError(f"scores and labels lie in [{least:g}, 1]")
    return scores, np.array([label is not None for label in labels], dtype=bool), truth


def _estimate(value: float, half: float, *, n: int, labels: int, least: float) -> Estimate:
    inside = _clip(value, least)
    return Estimate(
        inside, min(inside, _clip(value - half, least)), max(inside, _clip(value + half, least)), n=n, labels=labels
    )


def _clip(value: float, least: float = 0.0) -> float:
    return min(1.0, max(least, value))


def _check_card(card: Card) -> None:
    if not (0 <= card.hits <= card.positives and 0 <= card.cleared <= card.negatives):
        raise ValueError(f"a card needs 0 <= hits <= positives and 0 <= cleared <= negatives, not {tuple(card)}")
