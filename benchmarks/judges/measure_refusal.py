"""Measure the offline refusal judge against human labels and write its card.

    python -m benchmarks.judges.measure_refusal --labels DIR     (DIR holds xstest/ and harmbench-val/)
    python -m benchmarks.judges.measure_refusal --labels DIR --errors xstest      ids of wrong rows, development half

The answers of `own_outputs.jsonl` whose text is withheld count with ``--answers RUN``, the run folders that hold them.

Rules are written while looking at errors of the development half only: an even sha256 of the prompt's id
(XSTest, the same for every model) or of the behavior (HarmBench). Both halves are reported; their distance is
what the rules owe to the rows that were looked at. HarmBench asks another question, whether the harm is there,
so that a refusal judge can only rule harm out: its rows show what `answered` is worth as a stand-in for harm.
The gate is measured twice: how often it fires on these answers, which should be never, and on answers broken on
purpose (loops, echoes, random letters, shuffled words, another language than asked), which should be always.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.judges import own_outputs

import multitask_bench.judges
from multitask_bench.cli.judges import card_of, cut
from multitask_bench.data.labels import Labelled, read_labels
from multitask_bench.judges import judges
from multitask_bench.records import write_json
from multitask_bench.schema import ANSWERED, Judgment, Outcome, Response

CUT_WORDS = 36
"""About 48 tokens, the answer length of the studies."""
OWN = Path(__file__).with_name("own_cases.jsonl")
HARMBENCH = "text_behaviors_val_set.json"
BROKEN = (Outcome.INCOHERENT, Outcome.OFF_TASK)
BENIGN = Path(multitask_bench.__file__).parent / "data" / "bundled" / "benign"


def in_development(row_id: str) -> bool:
    """Whether a row may be looked at; ids are ``model/prompt id`` (XSTest) or ``behavior/number`` (HarmBench)."""
    first, _, last = row_id.rpartition("/")
    key = first if last.isdigit() else last
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 2 == 0


def judged(labelled: Labelled, *, words: int | None) -> list[Judgment]:
    """The judge's word on each row, answers cut to ``words``."""
    return judges.make("refusal").judge([cut(row, words) for row in labelled.rows])


def card_for(labelled: Labelled, *, words: int | None) -> dict[str, Any]:
    """The card of the refusal judge on ``labelled``, answers cut to ``words``."""
    spec = judges.make("refusal")
    return card_of(labelled, judged(labelled, words=words), judge=(spec.name, spec.config_hash), words=words)


def halves(labelled: Labelled, half_of: Callable[[str], str], *, words: int | None) -> list[dict[str, Any]]:
    """The measured rows of each half of a set."""
    out = []
    for name in sorted({half_of(row.id) for row in labelled.rows}):
        part = labelled._replace(rows=[row for row in labelled.rows if half_of(row.id) == name])
        out += [{"half": name, **row} for row in card_for(part, words=words)["measured"]]
    return out


def errors(labelled: Labelled) -> list[str]:
    """Ids of wrong rows of the development half, with label and verdict; no text."""
    part = labelled._replace(rows=[row for row in labelled.rows if in_development(row.id)])
    wrong = []
    for row, said in zip(part.rows, judged(part, words=None), strict=True):
        both = (row.outcome is Outcome.REFUSED, said.outcome is Outcome.REFUSED)
        if row.outcome is None:
            both = (row.answered, said.outcome in ANSWERED)
        if both[0] != both[1]:
            wrong.append(f"{row.id}  label {row.outcome or row.answered}  judged {said.outcome}: {said.reason}")
    return wrong


def gate_on_people(sets: Iterable[Labelled]) -> list[dict[str, Any]]:
    """How often the gate calls an answer that people labelled incoherent or off task, by their label."""
    out = []
    for labelled in sets:
        counts: dict[str, Counter[str]] = {}
        for row, said in zip(labelled.rows, judged(labelled, words=None), strict=True):
            label = row.outcome.value if row.outcome else ("harm there" if row.answered else "harm not there")
            counts.setdefault(label, Counter())[said.outcome.value] += 1
        out += [
            {
                "set": labelled.name,
                "label": label,
                "n": sum(found.values()),
                **{kind.value: found[kind.value] for kind in BROKEN},
            }
            for label, found in sorted(counts.items())
        ]
    return out


def benign(name: str) -> list[dict[str, str]]:
    """Bundled benign rows of one task."""
    rows = [json.loads(line) for line in (BENIGN / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return [row for row in rows if "answer" in row]


def broken_answers() -> dict[str, list[Response]]:
    """Answers broken on purpose, made from the bundled benign rows with a fixed seed: kind -> responses."""
    rng = random.Random("gate")
    chat, translation = benign("chat"), benign("translation")

    def each(made: Callable[[dict[str, str]], str]) -> list[Response]:
        return [Response(id=row["id"], prompt=row["prompt"], text=made(row), form="text_generation") for row in chat]

    def first(row: dict[str, str], words: int) -> list[str]:
        return row["answer"].split()[:words]

    def shuffled(row: dict[str, str]) -> str:
        found = row["answer"].split()
        return " ".join(rng.sample(found, len(found)))

    def letters(row: dict[str, str]) -> str:
        return " ".join("".join(rng.choices("bcdfghjklmnpqrstvwxz", k=len(word) + 2)) for word in first(row, 30))

    return {
        "loop of a phrase": each(lambda row: " ".join(first(row, 4) * 12)),
        "loop after ten words": each(lambda row: " ".join(first(row, 10) + first(row, 5) * 14)),
        "loop of a line": each(lambda row: "\n".join([" ".join(first(row, 8))] * 8)),
        "one word": each(lambda row: " ".join(first(row, 1) * 30)),
        "echo of the prompt": each(lambda row: row["prompt"]),
        "random letters": each(letters),
        "shuffled words": [found for found in each(shuffled) if len(found.text.split()) >= 12],
        "translation in the wrong language": [
            Response(
                id=row["id"],
                prompt=row["prompt"],
                text=row["prompt"].partition(": ")[2],
                form="translation",
                target_language="fr",
            )
            for row in translation
            if row["prompt"].startswith("Translate into French: ")
        ],
    }


def gate_on_broken() -> list[dict[str, Any]]:
    """How often the gate fires on answers broken on purpose, and on the same benign rows left whole."""
    kinds = broken_answers()
    for name, form in (("chat", "text_generation"), ("summarization", "summarization"), ("code", "code_generation")):
        kinds[f"whole: {name}"] = [
            Response(id=row["id"], prompt=row["prompt"], text=row["answer"], form=form) for row in benign(name)
        ]
    out = []
    for kind, responses in kinds.items():
        found = Counter(said.outcome.value for said in judges.make("refusal").judge(responses))
        fired = sum(found[outcome.value] for outcome in BROKEN)
        out.append({"set": "made from benign rows", "kind": kind, "n": len(responses), "fired": fired})
    return out


def own_half(row_id: str) -> str:
    """Which half a case of our own is in."""
    rows = (json.loads(line) for line in OWN.read_text("utf-8").splitlines())
    return {row["id"]: row["half"] for row in rows if "id" in row}[row_id]


def main() -> None:
    """Read the labelled sets, print each figure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--answers", type=Path, action="append", default=[], help="a run folder, again for more")
    parser.add_argument("--errors", choices=("xstest", "harmbench-val"))
    asked = parser.parse_args()
    files = {"xstest": asked.labels / "xstest", "harmbench-val": asked.labels / "harmbench-val" / HARMBENCH}
    sets = {name: read_labels(name, file) for name, file in files.items()}
    if asked.errors:
        print("\n".join(errors(sets[asked.errors])))
        return
    own_set = read_labels(str(OWN))
    cards = [card_for(found, words=words) for found in sets.values() for words in (None, CUT_WORDS)]
    own = card_for(own_set, words=None)
    outputs_set = own_outputs.own_outputs(asked.answers)
    outputs = card_for(outputs_set, words=None)

    def half(row_id: str) -> str:
        return "development" if in_development(row_id) else "held out"

    split = [
        row
        for name, words in (("xstest", None), ("xstest", CUT_WORDS), ("harmbench-val", None))
        for row in halves(sets[name], half, words=words)
        if name == "xstest" or row["model"] == "all"
    ]
    split += halves(own_set, own_half, words=None)
    split += halves(outputs_set, own_outputs.half, words=None)
    # Twenty-odd models of HarmBench with a handful of rows each would bury the rest: their total stands for them.
    measured = [
        r for c in [*cards, outputs, own] for r in c["measured"] if r["set"] != "harmbench-val" or r["model"] == "all"
    ]
    gate = [*gate_on_people([*sets.values(), outputs_set]), *gate_on_broken()]
    _show([*measured, *split], gate, sets["xstest"])
    card = {
        "judge": "refusal",
        "config_hash": judges.make("refusal").config_hash,
        "measured": measured,
        "halves": split,
        "gate": gate,
        "slices": [r for c in [cards[0], outputs, own] for r in c["slices"]],
        "labelled_by": "XSTest's human annotators (Roettger et al. 2023): plain questions, in English; positive is a "
        "full refusal. HarmBench's annotators (Mazeika et al. 2024): is the harm there; positive is an answer. "
        f"{own_outputs.BY} "
        "own_cases: cases written with the rules and labelled by the written policy, by no person; most have been "
        "mended since, so they are no evidence of how often the rules hold.",
        "not_measured": [
            "code generation, translation, classification, summarization against labels of people",
            "answers in French against labels of people",
            "answers of fine-tuned models but one of 135M parameters",
        ],
        "withheld": outputs_set.dropped.get("text withheld", 0),
        "how": "python -m benchmarks.judges.measure_refusal --labels DIR --answers RUN",
    }
    write_json(Path(multitask_bench.judges.__file__).parent / "cards" / "refusal.json", card)


def _show(measured: list[dict[str, Any]], gate: list[dict[str, Any]], timed: Labelled) -> None:
    for row in measured:
        rates = (
            f"{k} {row[k].value:.3f}" for k in ("accuracy", "sensitivity", "specificity") if row[k].value is not None
        )
        print(row["set"], row["model"], row["truncated_words"], row.get("half", ""), f"n={row['n']}", *rates)
    for row in gate:
        print("gate", *(f"{key}={value}" for key, value in row.items()))
    before = time.process_time()
    judged(timed, words=None)
    print(f"{1000 * (time.process_time() - before) / len(timed.rows):.1f} ms of CPU an answer (not in the card)")


if __name__ == "__main__":
    main()
