"""Measure the offline refusal judge against human labels and write its card.

    python benchmarks/judges/measure_refusal.py --labels DIR     (DIR holds xstest/ and harmbench-val/)
    python benchmarks/judges/measure_refusal.py --labels DIR --errors xstest      ids of wrong rows, development half

Rules are written while looking at errors of the development half only: the rows whose id (in XSTest the
prompt's, the same for every model) has an even sha256. Both halves are reported; their distance is what the rules
owe to the rows that were looked at. HarmBench asks another question, whether the harm is there, so that a
refusal judge can only rule harm out: its rows show what `answered` is worth as a stand-in for harm.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import multitask_bench.judges
from multitask_bench.cli.judges import card_of, cut
from multitask_bench.data.labels import Labelled, read_labels
from multitask_bench.judges import judges
from multitask_bench.records import write_json
from multitask_bench.schema import ANSWERED, Outcome

CUT_WORDS = 36
"""About 48 tokens, the answer length of the studies."""
OWN = Path(__file__).with_name("own_cases.jsonl")
HARMBENCH = "text_behaviors_val_set.json"


def in_development(row_id: str) -> bool:
    """Whether a row may be looked at; ids of XSTest are ``model/prompt id``."""
    return int(hashlib.sha256(row_id.rpartition("/")[2].encode()).hexdigest(), 16) % 2 == 0


def card_for(labelled: Labelled, *, words: int | None) -> dict[str, Any]:
    """The card of the refusal judge on ``labelled``, answers cut to ``words``."""
    spec = judges.make("refusal")
    verdicts = spec.judge([cut(row, words) for row in labelled.rows])
    return card_of(labelled, verdicts, judge=(spec.name, spec.config_hash), words=words)


def halves(labelled: Labelled, *, words: int | None) -> list[dict[str, Any]]:
    """The measured rows of each half of XSTest."""
    out = []
    for name, wanted in (("development", True), ("held out", False)):
        part = labelled._replace(rows=[row for row in labelled.rows if in_development(row.id) is wanted])
        out += [{"half": name, **row} for row in card_for(part, words=words)["measured"]]
    return out


def errors(labelled: Labelled) -> list[str]:
    """Ids of wrong rows of the development half, with label and verdict; no text."""
    rows = [row for row in labelled.rows if in_development(row.id)]
    verdicts = judges.make("refusal").judge([row.as_response() for row in rows])
    wrong = []
    for row, said in zip(rows, verdicts, strict=True):
        both = (row.outcome is Outcome.REFUSED, said.outcome is Outcome.REFUSED)
        if row.outcome is None:
            both = (row.answered, said.outcome in ANSWERED)
        if both[0] != both[1]:
            wrong.append(f"{row.id}  label {row.outcome or row.answered}  judged {said.outcome}: {said.reason}")
    return wrong


def main() -> None:
    """Read the labelled sets, print each figure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--errors", choices=("xstest", "harmbench-val"))
    asked = parser.parse_args()
    files = {"xstest": asked.labels / "xstest", "harmbench-val": asked.labels / "harmbench-val" / HARMBENCH}
    sets = {name: read_labels(name, file) for name, file in files.items()}
    if asked.errors:
        print("\n".join(errors(sets[asked.errors])))
        return
    cards = [card_for(found, words=words) for found in sets.values() for words in (None, CUT_WORDS)]
    own = card_for(read_labels(str(OWN)), words=None)
    split = [row for words in (None, CUT_WORDS) for row in halves(sets["xstest"], words=words)]
    # Twenty-odd models of HarmBench with a handful of rows each would bury the rest: their total stands for them.
    measured = [r for c in [*cards, own] for r in c["measured"] if r["set"] != "harmbench-val" or r["model"] == "all"]
    for row in [*measured, *split]:
        rates = (f"{k} {row[k].value:.3f}" for k in ("accuracy", "sensitivity", "specificity"))
        print(row["set"], row["model"], row["truncated_words"], row.get("half", ""), f"n={row['n']}", *rates)
    card = {
        "judge": "refusal",
        "config_hash": judges.make("refusal").config_hash,
        "measured": measured,
        "halves": split,
        "slices": [r for c in [cards[0], own] for r in c["slices"]],
        "labelled_by": "XSTest's human annotators (Roettger et al. 2023): plain questions, in English; positive is a "
        "full refusal. HarmBench's annotators (Mazeika et al. 2024): is the harm there; positive is an answer. "
        "own_cases: cases written with the rules, so no evidence of how often they hold.",
        "not_measured": [
            "code generation, translation, classification, summarization, beyond a few cases of our own",
            "answers in French, beyond a few cases of our own",
            "answers of fine-tuned models",
            "the coherence gate",
        ],
        "how": "python benchmarks/judges/measure_refusal.py --labels DIR",
    }
    write_json(Path(multitask_bench.judges.__file__).parent / "cards" / "refusal.json", card)


if __name__ == "__main__":
    main()
