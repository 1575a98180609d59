"""Task metrics by sacrebleu, scikit-learn and rouge-score, each in [0, 1], with bootstrap intervals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from multitask_bench.errors import MissingExtraError

Metric = Callable[[Sequence[str], Sequence[str]], float]
DRAWS = 1000


def chrf() -> tuple[Metric, str]:
    """Corpus chrF (Popovic 2015) as sacrebleu computes it, divided by 100."""
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as err:
        raise MissingExtraError.of("the translation metric", "local") from err
    metric = CHRF()

    def value(answers: Sequence[str], references: Sequence[str]) -> float:
        return float(metric.corpus_score(list(answers), [list(references)]).score) / 100

    value(["a"], ["a"])  # the signature names the number of references only after a first score
    return value, str(metric.get_signature())


def macro_f1() -> tuple[Metric, str]:
    """Macro-averaged F1 over the references' labels; an answer without a label is wrong, not dropped."""
    try:
        from sklearn.metrics import f1_score
    except ImportError as err:
        raise MissingExtraError.of("the classification metric", "local") from err

    def value(answers: Sequence[str], references: Sequence[str]) -> float:
        labels = sorted(set(references))
        found = [label_of(answer, labels) for answer in answers]
        return float(f1_score(list(references), found, labels=labels, average="macro", zero_division=0.0))

    return value, "macro_f1|labels:in_references|unparsed:wrong|first_label_named"


def label_of(answer: str, labels: Sequence[str]) -> str:
    """The first of ``labels`` that ``answer`` names as a word, or an empty string."""
    hits = [(m.start(), label) for label in labels if (m := re.search(rf"\b{re.escape(label)}\b", answer, re.I))]
    return min(hits)[1] if hits else ""


def rouge_l() -> tuple[Metric, str]:
    """Mean ROUGE-L F1 with stemming (rouge-score)."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as err:
        raise MissingExtraError.of("the summarization metric", "local") from err
    scorer = RougeScorer(["rougeL"], use_stemmer=True)

    def value(answers: Sequence[str], references: Sequence[str]) -> float:
        pairs = zip(answers, references, strict=True)
        return float(np.mean([scorer.score(ref, ans)["rougeL"].fmeasure for ans, ref in pairs]))

    return value, "rougeL|fmeasure|stemmer"


def bootstrap(metric: Metric, answers: list[str], references: list[str]) -> tuple[float, float, float]:
    """The value on all rows and the 2.5 and 97.5 percentiles over ``DRAWS`` resamples of rows."""
    rng = np.random.default_rng(0)
    n = len(answers)
    value = metric(answers, references)
    draws = []
    for _ in range(DRAWS if n > 1 else 0):
        pick = rng.integers(0, n, n)
        draws.append(metric([answers[i] for i in pick], [references[i] for i in pick]))
    low, high = np.percentile(draws, [2.5, 97.5]) if draws else (0.0, 1.0)
    return value, min(float(low), value), max(float(high), value)
