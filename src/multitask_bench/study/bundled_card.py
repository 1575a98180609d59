"""The card of the bundled data, in Markdown; `CARD.md` beside the data is what this prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multitask_bench.study.card import bundled_facts
from multitask_bench.study.probes import FORMS

NOTICE = (
    "**Notice.** `intents/` names harmful goals in general words, to measure refusals. It holds no method and no harmful "
    "answer. Do not train a model to comply with it."
)
WRITTEN = """**Who wrote it.** Language models (Claude), for this project, from the written brief in `design/0005`; no row is copied
from a data set. Each hazard category had several writers, each of them told what a bag of words could still tell apart.
No person has read every row."""
READ = """**Who read it.** Two language-model readers of the same family as the writers, eight sessions each, labelled every near test
and validation probe, English and French, `refuse`, `answer` or `disputed`: neither saw the writers' labels, ids, the other reader or any answer, and the probes came
shuffled, harmful and benign mixed. `expected` is what writer and both readers agree on, else `disputed`. Several sessions said that they guessed on borderline
probes where they might have said `disputed`, and compared a few dozen with similar ones in their share: the agreement is an upper bound. The 770 reads of
the `plain` probes are from an earlier pair of readers and cover those whose wording is unchanged. No label here is a human's."""
PLAIN = """Beside these, `intents_plain/` holds the first 175 intents (98 train, 22 validation, 55 test; same clusters and splits, English requests
only). Words alone tell their twins from the harmful side with an AUC of about .90, which a 135M model can learn: the quickstart asks them
(`bundle: plain`), nothing else does."""
LIMITS = """**Not covered.** Sexual harm to minors is left out on purpose. Multi-turn requests, long documents, real task data,
languages other than English and French, jailbreak wordings.

**Overlap.** `tests/test_data.py` holds the training rows against the test probes: two templates a form and language, and
all test clusters, never occur in training. Against AdvBench, HarmBench, StrongREJECT, SimpleSafetyTests, JailbreakBench
and XSTest no bundled prompt shares a whole request (`mtb data overlap`, tested where those lists are at hand).

**Licence.** Apache-2.0. Not to be used as training data for compliance, nor as a leaderboard: measure your own models
before and after, and keep the test intents out of every training set."""


def bundled_card() -> str:
    """The card, computed from the data.

    Raises: MissingExtraError: scikit-learn is not installed.
    """
    facts = bundled_facts()
    parts = [
        "# Bundled data",
        "Made by `mtb data card bundled`.",
        NOTICE,
        _intents(facts),
        PLAIN,
        _probes(facts),
        _agreement(facts["agreement"]),
        _difficulty(facts["twin_auc"]),
        _safety(facts),
        _benign(facts["benign"]),
        WRITTEN,
        READ,
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _intents(facts: dict[str, Any]) -> str:
    rows: list[list[object]] = [[name, c["train"], c["validation"], c["test"]] for name, c in facts["hazards"].items()]
    total = [sum(c[split] for c in facts["hazards"].values()) for split in ("train", "validation", "test")]
    rows.append(["all", *total])
    return (
        f"## Intents\n\n{facts['intents']} harmful goals, each with a benign twin that shares its words, in English and "
        f"French; {facts['clusters']} clusters, none of which stands in two splits. Hazards are those of MLCommons "
        "AILuminate.\n\n" + _table(["hazard", "train", "validation", "test"], rows)
    )


def _probes(facts: dict[str, Any]) -> str:
    rows: list[list[object]] = []
    for language, found in facts["test_probes"].items():
        harmful = found["rows"] - found["twins"]
        expected = ", ".join(f"{name} {count}" for name, count in found["expected"].items())
        rows.append([language, harmful, found["twins"], expected, f"`{found['sha256'][:16]}`"])
    return (
        "## Test probes\n\nThe same intents in five forms, paired. With English requests half of the messages to be "
        "translated are French, also within clusters. Half of the probes have a template that no training row has.\n\n"
        + _table(["requests in", "harmful", "twins", "expected", "sha256"], rows)
    )


def _agreement(found: dict[str, dict[str, float]]) -> str:
    if not found:
        return "## Agreement\n\nNot read yet."
    rows: list[list[object]] = [
        [
            name.replace("_", " "),
            int(one["n"]),
            f"{one['agreed']:.3f}",
            f"{one['kappa']:.3f}",
            f"{one['refuse']:.3f}",
            f"{one['twin_answer']:.3f}",
        ]
        for name, one in found.items()
    ]
    head = ["form", "probes", "readers agree", "Cohen's kappa", "harmful: both refuse", "twins: both answer"]
    return "## Agreement of two independent reads\n\n" + _table(head, rows)


def _difficulty(found: dict[str, float]) -> str:
    rows: list[list[object]] = [[name.replace("_", " "), f"{found[name]:.3f}"] for name in ("all", *FORMS)]
    return (
        "## How hard the twins are\n\nA bag-of-words logistic regression, trained on the training intents in every English "
        "training template, tells harmful test probes from twins with this area under the ROC curve (0.5 is chance; above "
        "0.90 the twins would be too easy):\n\n" + _table(["form", "AUC"], rows)
    )


def _safety(facts: dict[str, Any]) -> str:
    found, yardstick = facts["safety_set"], facts["benign_gzip_ratio"]
    rows: list[list[object]] = [
        ["(probe, refusal) pairs", found["kinds"]["safety"]],
        ["(twin, helpful answer) pairs", found["kinds"]["twin"]],
        ["requests in English, French", f"{found['languages']['en']}, {found['languages']['fr']}"],
    ]
    for name in ("refusals", "answers"):
        one = found[name]
        rows.append([f"{name}: distinct", f"{one['distinct']} of {one['n']}"])
        rows.append(
            [f"{name}: most common five-word opening", f"{100 * one['most_common_opening_share']:.2f} % (limit 2 %)"]
        )
        rows.append(
            [
                f"{name}: gzip ratio against all bundled benign answers",
                f"{one['gzip_ratio']:.3f} against {yardstick:.3f} (at least {0.85 * yardstick:.3f})",
            ]
        )
    rows.append(["sha256 of the rows", f"`{found['sha256'][:16]}`"])
    return (
        "## The multitask safety set\n\nBuilt by `mtb data build safety --out FOLDER` from training intents and training "
        "templates only. In the authors' set 960 of 2,000 refusals begin with the same words.\n\n"
        + _table(["", ""], rows)
    )


def _benign(found: dict[str, int]) -> str:
    rows: list[list[object]] = [[name, count] for name, count in found.items()]
    return (
        "## Benign tasks\n\nEach with train, validation and test splits; every function passes its tests.\n\n"
        + _table(["task", "rows"], rows)
    )
