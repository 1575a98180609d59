"""The card of a set: what it holds, how it was read, how hard it is, what it must not be used for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from multitask_bench.data import benign
from multitask_bench.data.intents import bundled_intents, intents, reads
from multitask_bench.data.near import first_words, gzip_ratio
from multitask_bench.errors import MissingExtraError
from multitask_bench.records import digest
from multitask_bench.schema import Conversation, Probe
from multitask_bench.study.probes import FORMS, probes
from multitask_bench.study.safety_set import SafetySet, safety_rows

SHIPPED_SIZE = 2530
"""Pairs of the safety set that `mtb data build safety` writes unless told otherwise: 506 a form."""


def shipped_set() -> SafetySet:
    """The settings of the shipped multitask safety set."""
    return SafetySet.model_validate({"size": SHIPPED_SIZE})


def twin_auc() -> dict[str, float]:
    """How well a bag of words tells harmful probes from twins, as area under the ROC curve in [0, 1].

    Logistic regression on word counts, trained on every training intent in four of the training templates
    of English, tested on the English test probes; their clusters are disjoint. Returns: form (and
    ``all``) -> AUC; 0.5 is chance, above 0.9 the twins are too easy.
    Raises: MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import roc_auc_score
        from sklearn.pipeline import make_pipeline
    except ImportError as err:
        raise MissingExtraError.of("the difficulty of the twins", "local") from err
    settings = SafetySet.model_validate({"french": 0, "size": len(FORMS) * 4 * len(intents("train"))})
    train = [(row.messages[0].content, row.kind == "safety") for row in safety_rows(settings)]
    model = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=2000))
    model.fit([text for text, _ in train], [harmful for _, harmful in train])
    asked = probes("test")
    scores = model.predict_proba([probe.prompt for probe in asked])[:, 1]
    out = {}
    for name in ("all", *FORMS):
        chosen = [(not p.twin, s) for p, s in zip(asked, scores, strict=True) if name in ("all", p.form)]
        out[name] = float(roc_auc_score([harmful for harmful, _ in chosen], [score for _, score in chosen]))
    return out


def agreement() -> dict[str, dict[str, float]]:
    """Two independent reads of the bundled probes: form -> n, share agreed, Cohen's kappa, share ``refuse``.

    ``refuse`` is the share of harmful probes that both readers would refuse. A form that
    was not read is left out; kappa is 1 where the readers never part.
    """
    by_form: dict[str, list[tuple[str, str, bool]]] = defaultdict(list)
    for probe in _every_probe():
        read = reads().get(probe.id)
        if read is not None:
            by_form[probe.form].append((read.first, read.second, probe.twin))
            by_form["all"].append((read.first, read.second, probe.twin))
    return {name: _agreed(by_form[name]) for name in ("all", *FORMS) if by_form[name]}


def _every_probe() -> Iterable[Probe]:
    for split in ("test", "validation"):
        yield from probes(split, languages=("en", "fr"))


def _agreed(pairs: Sequence[tuple[str, str, bool]]) -> dict[str, float]:
    n = len(pairs)
    same = sum(a == b for a, b, _ in pairs) / n
    labels = {label for a, b, _ in pairs for label in (a, b)}
    chance = sum((sum(a == x for a, _, _ in pairs) / n) * (sum(b == x for _, b, _ in pairs) / n) for x in labels)
    kappa = 1.0 if same == 1 else (same - chance) / (1 - chance)
    harmful = [(a, b) for a, b, twin in pairs if not twin]
    twins = [(a, b) for a, b, twin in pairs if twin]
    return {
        "n": n,
        "agreed": same,
        "kappa": kappa,
        "refuse": sum(a == b == "refuse" for a, b in harmful) / max(1, len(harmful)),
        "twin_answer": sum(a == b == "answer" for a, b in twins) / max(1, len(twins)),
    }


def conversation_facts(rows: Sequence[Conversation]) -> dict[str, Any]:
    """Counts, variety and hash of rows to train on."""
    refusals = [row.messages[-1].content for row in rows if row.kind == "safety"]
    answers = [row.messages[-1].content for row in rows if row.kind != "safety"]
    parts = [row.id.split(".") for row in rows if row.kind in ("safety", "twin") and row.id.count(".") == 3]
    return {
        "rows": len(rows),
        "kinds": dict(sorted(Counter(row.kind for row in rows).items())),
        "templates": dict(sorted(Counter(part[2] for part in parts).items())),
        "languages": dict(sorted(Counter("fr" if part[2].endswith("f") else "en" for part in parts).items())),
        "refusals": _variety(refusals),
        "answers": _variety(answers),
        "sha256": digest(rows),
    }


def _variety(texts: Sequence[str]) -> dict[str, Any]:
    if not texts:
        return {"n": 0}
    opening, times = first_words(texts).most_common(1)[0]
    return {
        "n": len(texts),
        "distinct": len(set(texts)),
        "gzip_ratio": round(gzip_ratio(texts), 4),
        "most_common_opening": opening,
        "most_common_opening_share": round(times / len(texts), 4),
    }


def benign_gzip_ratio() -> float:
    """The yardstick for variety: all bundled benign answers, general chat among them."""
    return gzip_ratio(row.answer for task in (*benign.TASKS, benign.CHAT) for row in benign.rows(task))


def probe_facts(rows: Sequence[Probe]) -> dict[str, Any]:
    """Counts of probes by form, language, kind and expectation, and their hash."""
    return {
        "rows": len(rows),
        "intents": len({p.intent_id for p in rows}),
        "forms": dict(Counter(p.form for p in rows)),
        "languages": dict(sorted(Counter(p.language for p in rows).items())),
        "twins": sum(p.twin for p in rows),
        "expected": dict(sorted(Counter(p.expected for p in rows).items())),
        "sources": dict(sorted(Counter(p.source for p in rows).items())),
        "sha256": digest(rows),
    }


def bundled_facts() -> dict[str, Any]:
    """Everything the bundled card says in numbers."""
    every = bundled_intents()
    table: dict[str, dict[str, int]] = {}
    for intent in every:
        row = table.setdefault(intent.hazard, {"train": 0, "validation": 0, "test": 0})
        row[intent.split] += 1
    return {
        "intents": len(every),
        "clusters": len({intent.cluster for intent in every}),
        "hazards": dict(sorted(table.items())),
        "test_probes": {lang: probe_facts(probes("test", languages=(lang,))) for lang in ("en", "fr")},
        "agreement": agreement(),
        "twin_auc": twin_auc(),
        "safety_set": conversation_facts(safety_rows(shipped_set())),
        "benign_gzip_ratio": round(benign_gzip_ratio(), 4),
        "benign": {task: len(benign.rows(task)) for task in (*benign.TASKS, benign.CHAT)},
    }
