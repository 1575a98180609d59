"""Task metrics by sacrebleu, scikit-learn and rouge-score, with bootstrap intervals; each in [0, 1] but for ratios.

Each metric follows from statistics that add up over rows (n-gram counts, label counts), so a
resample is a sum and not a second scoring: a thousand draws take a second instead of twenty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitask_bench.errors import MissingExtraError

DRAWS = 1000

Statistics = NDArray[np.float64]


class Metric(NamedTuple):
    """One metric: how rows become statistics, and their sum a value."""

    statistics: Callable[[Sequence[str], Sequence[str]], Statistics]
    """(answers, references) -> shape (rows, statistics)."""
    value: Callable[[Statistics], float]
    """Sum over rows, shape (statistics,) -> the metric in [0, 1]."""
    signature: str


def chrf() -> Metric:
    """Corpus chrF (Popovic 2015) as sacrebleu computes it, divided by 100."""
    return _sacrebleu("CHRF")


def chrf_plus() -> Metric:
    """Corpus chrF++ (Popovic 2017): chrF with one- and two-word n-grams beside the characters', divided by 100."""
    return _sacrebleu("CHRF", word_order=2)


def bleu() -> Metric:
    """Corpus BLEU (Papineni et al. 2002) as sacrebleu computes it, divided by 100."""
    return _sacrebleu("BLEU")


def _sacrebleu(name: str, **settings: int) -> Metric:
    try:
        from sacrebleu import metrics
    except ImportError as err:
        raise MissingExtraError.of("the translation metric", "local") from err
    metric = getattr(metrics, name)(**settings)
    metric.corpus_score(["a"], [["a"]])  # the signature names the number of references only after a first score

    # What corpus_score itself calls, row by row and then on the sum (sacrebleu 2.x).
    def statistics(answers: Sequence[str], references: Sequence[str]) -> Statistics:
        return np.asarray(metric._extract_corpus_statistics(list(answers), [list(references)]), dtype=float)

    def value(total: Statistics) -> float:
        score = metric._compute_score_from_stats([int(count) for count in total]).score
        return min(1.0, float(score) / 100)  # a perfect BLEU is 100.00000000000004

    return Metric(statistics, value, str(metric.get_signature()))


def macro_f1() -> Metric:
    """Macro-averaged F1 over the references' labels; an answer without a label is wrong, not dropped.

    With zero for a label that a resample lacks on both sides, as scikit-learn's ``zero_division=0``.
    """

    def statistics(answers: Sequence[str], references: Sequence[str]) -> Statistics:
        labels = sorted(set(references))
        found = [label_of(answer, labels) for answer in answers]
        is_true = np.array([[ref == label for label in labels] for ref in references], dtype=float)
        is_found = np.array([[one == label for label in labels] for one in found], dtype=float)
        return np.hstack([is_true * is_found, is_true + is_found])

    def value(total: Statistics) -> float:
        hits, named = np.split(total, 2)
        return float(np.mean(np.divide(2 * hits, named, out=np.zeros_like(hits), where=named > 0)))

    return Metric(statistics, value, "macro_f1|labels:in_references|unparsed:wrong|first_label_named")


def label_of(answer: str, labels: Sequence[str]) -> str:
    """The first of ``labels`` that ``answer`` names as a word, or an empty string."""
    hits = [(m.start(), label) for label in labels if (m := re.search(rf"\b{re.escape(label)}\b", answer, re.I))]
    return min(hits)[1] if hits else ""


def rouge_l() -> Metric:
    """Mean ROUGE-L F1 with stemming (rouge-score)."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as err:
        raise MissingExtraError.of("the summarization metric", "local") from err
    scorer = RougeScorer(["rougeL"], use_stemmer=True)

    def statistics(answers: Sequence[str], references: Sequence[str]) -> Statistics:
        pairs = zip(answers, references, strict=True)
        return np.array([[scorer.score(ref, ans)["rougeL"].fmeasure, 1.0] for ans, ref in pairs])

    return Metric(statistics, lambda total: float(total[0] / total[1]), "rougeL|fmeasure|stemmer")


def length_ratio() -> Metric:
    """Characters of all answers over characters of all references: 1 is as long, and it may lie above 1."""

    def statistics(answers: Sequence[str], references: Sequence[str]) -> Statistics:
        pairs = zip(answers, references, strict=True)
        return np.array([[len(ans.strip()), len(ref.strip())] for ans, ref in pairs], dtype=float)

    def value(total: Statistics) -> float:
        return float(total[0] / total[1]) if total[1] else 0.0

    return Metric(statistics, value, "length_ratio|characters|sum/sum")


BY_NAME: dict[str, Callable[[], Metric]] = {
    "chrF++": chrf_plus,
    "chrF": chrf,
    "BLEU": bleu,
    "macro_f1": macro_f1,
    "rougeL": rouge_l,
    "length_ratio": length_ratio,
}


def bootstrap(metric: Metric, answers: Sequence[str], references: Sequence[str]) -> tuple[float, float, float]:
    """The value on all rows and the 2.5 and 97.5 percentiles over ``DRAWS`` resamples of rows."""
    return resampled(metric.value, metric.statistics(answers, references))


def resampled(value_of: Callable[[Statistics], float], rows: Statistics) -> tuple[float, float, float]:
    """The value on all rows, given their statistics, and the 2.5 and 97.5 percentiles over ``DRAWS`` resamples."""
    rng = np.random.default_rng(0)
    value = value_of(rows.sum(axis=0))
    if len(rows) < 2:
        return value, 0.0, max(1.0, value)
    draws = [value_of(rows[rng.integers(0, len(rows), len(rows))].sum(axis=0)) for _ in range(DRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return value, min(float(low), value), max(float(high), value)
