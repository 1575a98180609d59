"""The task metrics are those of the libraries, resampled or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from multitask_bench.data import benign
from multitask_bench.data._metrics import (
    BY_NAME,
    Metric,
    bleu,
    bootstrap,
    chrf,
    chrf_plus,
    label_of,
    length_ratio,
    macro_f1,
    rouge_l,
)

ANSWERS = ["Le train part à midi.", "Il fait froid ce soir", "", "Nous avons mangé du pain"]
REFERENCES = ["Le train part à midi.", "Il fait très froid ce soir.", "La porte est ouverte.", "Nous mangeons du pain."]


@pytest.mark.parametrize(("ours", "name"), [(chrf, "CHRF"), (chrf_plus, "CHRF++"), (bleu, "BLEU")])
def test_translation_metrics_are_sacrebleus(ours: Callable[[], Metric], name: str) -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    theirs = {"CHRF": CHRF(), "CHRF++": CHRF(word_order=2), "BLEU": BLEU()}[name]
    metric = ours()
    for pick in ([0, 1, 2, 3], [0, 0, 3, 3], [2, 2, 2, 1]):
        rows = metric.statistics(ANSWERS, REFERENCES)[pick]
        wanted = theirs.corpus_score([ANSWERS[i] for i in pick], [[REFERENCES[i] for i in pick]]).score / 100
        assert metric.value(rows.sum(axis=0)) == pytest.approx(wanted)
    assert metric.signature == str(theirs.get_signature())


def test_the_length_ratio_is_of_characters_and_may_lie_above_one() -> None:
    assert bootstrap(length_ratio(), ["ab", "abcd "], ["ab", "ab"])[0] == 1.5
    assert bootstrap(length_ratio(), [""], [""])[0] == 0.0


def test_every_task_names_metrics_that_exist_and_its_headline_first() -> None:
    for task, names in {**benign.METRICS, "own": benign.OTHERS}.items():
        found = benign.scores(task, ANSWERS, REFERENCES)
        assert [row["metric"] for row in found] == list(names)
        assert names[0] == benign.headline(task)
        assert all(row["low"] <= row["value"] <= row["high"] and row["n"] == 4 for row in found)
        assert all(row["high"] <= 1 for row in found if row["metric"] != "length_ratio")
        assert set(names) <= set(BY_NAME)


def test_a_perfect_answer_has_one_in_every_metric() -> None:
    for task in ("translation", "summarization", "own"):
        assert {row["value"] for row in benign.scores(task, REFERENCES, REFERENCES)} == {1.0}


def test_an_answer_without_a_label_is_counted() -> None:
    assert benign.unparsed(["positive!", "no idea", "it is Neutral"], ["positive", "negative", "neutral"]) == 1


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
