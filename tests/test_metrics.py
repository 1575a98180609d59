"""The task metrics are those of the libraries, resampled or not."""

from __future__ import annotations

import numpy as np
import pytest

from multitask_bench.data import benign
from multitask_bench.data._metrics import bootstrap, chrf, label_of, macro_f1, rouge_l

ANSWERS = ["Le train part à midi.", "Il fait froid ce soir", "", "Nous avons mangé du pain"]
REFERENCES = ["Le train part à midi.", "Il fait très froid ce soir.", "La porte est ouverte.", "Nous mangeons du pain."]


def test_chrf_is_sacrebleus() -> None:
    from sacrebleu.metrics.chrf import CHRF

    for pick in ([0, 1, 2, 3], [0, 0, 3, 3], [2, 2, 2, 1]):
        rows = chrf().statistics(ANSWERS, REFERENCES)[pick]
        wanted = CHRF().corpus_score([ANSWERS[i] for i in pick], [[REFERENCES[i] for i in pick]]).score / 100
        assert chrf().value(rows.sum(axis=0)) == pytest.approx(wanted)


def test_macro_f1_is_scikit_learns_and_counts_an_answer_without_label_as_wrong() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    references = rng.choice(["positive", "negative", "neutral"], 60).tolist()
    answers = rng.choice(["Positive.", "it is negative", "neutral", "no idea"], 60).tolist()
    labels = sorted(set(references))
    wanted = f1_score(references, [label_of(a, labels) for a in answers], labels=labels, average="macro")
    assert macro_f1().value(macro_f1().statistics(answers, references).sum(axis=0)) == pytest.approx(wanted)


def test_rouge_is_the_mean_over_rows() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    wanted = np.mean([scorer.score(r, a)["rougeL"].fmeasure for a, r in zip(ANSWERS, REFERENCES, strict=True)])
    assert bootstrap(rouge_l(), ANSWERS, REFERENCES)[0] == pytest.approx(wanted)


def test_an_interval_holds_its_value_and_one_row_tells_nothing() -> None:
    found = benign.score("translation", ANSWERS, REFERENCES)
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert found["low"] < found["high"]
    alone = benign.score("own", ANSWERS[:1], REFERENCES[:1])
    assert (alone["metric"], alone["low"], alone["high"]) == ("chrF", 0.0, 1.0)
