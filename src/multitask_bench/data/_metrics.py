"""Task metrics by sacrebleu, scikit-learn and rouge-score, each in [0, 1], with bootstrap intervals.

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
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as err:
        raise MissingExtraError.of("the translation metric", "local") from err
    metric = CHRF()
    metric.corpus_score(["a"], [["a"]])  # the signature names the number of references only after a first score

    # What corpus_score itself calls, row by row and then on the sum (sacrebleu 2.x).
    def statistics(answers: Sequence[str], references: Sequence[str]) -> Statistics:
        return np.asarray(metric._extract_corpus_statistics(list(answers), [list(references)]), dtype=float)

    def value(total: Statistics) -> float:
        return float(metric._compute_score_from_stats(total.tolist()).score) / 100

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


def bootstrap(metric: Metric, answers: Sequence[str], references: Sequence[str]) -> tuple[float, float, float]:
    """The value on all rows and the 2.5 and 97.5 percentiles over ``DRAWS`` resamples of rows."""
    rng = np.random.default_rng(0)
    rows = metric.statistics(answers, references)
    value = metric.value(rows.sum(axis=0))
    if len(rows) < 2:
        return value, 0.0, 1.0
    draws = [metric.value(rows[rng.integers(0, len(rows), len(rows))].sum(axis=0)) for _ in range(DRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return value, min(float(low), value), max(float(high), value)
