"""Does the multitask safety set teach where to refuse, or only to refuse? Against its own answers, shuffled.

    python -m benchmarks.safety_set.run --out runs/safety-set      (minutes on a GPU, some hours on two CPU cores)

Trains `demo` on the set as it is, and on the same prompts with the same answers dealt out at random. Recipes are tried
on the set as it is and chosen on validation intents; the shuffled set has the chosen one, and test probes are asked
once. Both answer the same probes and twins of held-out intents, of the near bundle and of the plain one: drawn at
temperature 1, and greedily. Greedy decoding shows the likeliest answer alone: a model that
learnt "half of all answers are refusals" and nothing else refuses everything, for a refusal's first words are the
likeliest. Drawn answers show what share of the answers is a refusal on each side.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from multitask_bench.records import write_json, write_jsonl, write_text
from multitask_bench.schema import Conversation, Message
from multitask_bench.study.config import Study, dump_study
from multitask_bench.study.data_set import training_rows
from multitask_bench.study.folder import run_study
from multitask_bench.study.parsing import parsed
from multitask_bench.study.progress import Reporter
from multitask_bench.study.safety_set import SafetySet, safety_rows

Facts = dict[str, Any]

SHARED: Facts = {"batch_size": 32, "opening_weight": 10}
RECIPES: dict[str, Facts] = {
    "lora-2": {"epochs": 2, "learning_rate": 1e-3, "lora_rank": 16, "lora_alpha": 32, "dtype": "bfloat16"},
    "lora-3": {"epochs": 3, "learning_rate": 1e-3, "lora_rank": 16, "lora_alpha": 32, "dtype": "bfloat16"},
    "full-3": {"epochs": 3, "learning_rate": 1e-4, "method": "full"},
}
"""Tried on validation intents where more than one is given; an epoch is one pass over all pairs."""

MEASURED: dict[str, Facts] = {
    "drawn": {"temperature": 1.0, "intents": 121},
    "drawn-plain": {"temperature": 1.0, "bundle": "plain"},
    "greedy": {"intents": 44},
}
"""What is asked in the end: the settings of ``probes``, by the name of the study."""


def shuffled(rows: list[Conversation]) -> list[Conversation]:
    """The same prompts and the same answers, dealt out at random."""
    answers = [row.messages[-1].content for row in rows]
    Random("shuffled").shuffle(answers)
    return [
        row.model_copy(update={"messages": (*row.messages[:-1], Message(role="assistant", content=answer))})
        for row, answer in zip(rows, answers, strict=True)
    ]


def written_sets(out: Path, size: int) -> dict[str, Path]:
    """Both sets as files of training rows, ``size`` pairs each."""
    rows = safety_rows(SafetySet.model_validate({"size": size, "french": 0}))
    files = {"real": out / "real.jsonl", "shuffled": out / "shuffled.jsonl"}
    write_jsonl(files["real"], training_rows(rows))
    write_jsonl(files["shuffled"], training_rows(shuffled(rows)))
    return files


def recipe_of(name: str, pairs: int) -> Facts:
    """A recipe with its steps: so many passes over the refusals and the helpful answers."""
    settings = {**SHARED, **RECIPES[name]}
    steps = settings.pop("epochs") * 2 * pairs // settings["batch_size"]
    return {**settings, "steps": steps}


def study_of(name: str, arms: list[Facts], probes: Facts) -> Study:
    """One study of this benchmark."""
    settings = {
        "name": name,
        "arms": arms,
        "probes": probes,
        "allow_flagged": True,  # the shuffled set deals helpful answers to harmful prompts by design
        "dtype": "bfloat16",
        "batch_size": 128,
    }
    return parsed(settings, Study, where="benchmark")


def trial(name: str, real: Path, pairs: int) -> Study:
    """One recipe on validation intents."""
    arm = {"name": name, "stage": "tuned", "task": f"file:{real}", "train": recipe_of(name, pairs)}
    return study_of(f"try-{name}", [arm], {"split": "validation", "temperature": 1.0})


def final(files: dict[str, Path], recipe: Facts) -> Iterable[Study]:
    """The studies on test intents. The shuffled set stands as the control, so that the other is compared with it."""
    arms: list[Facts] = []
    for name, stage in (("shuffled", "control"), ("real", "tuned")):
        arms.append({"name": name, "stage": stage, "task": f"file:{files[name]}", "train": recipe})
    return [study_of(name, arms, probes) for name, probes in MEASURED.items()]


def run(study: Study, out: Path) -> Facts:
    """Run a study beside the others, on the weights that one of them trained already.

    Returns: what `results.json` holds.
    """
    folder = out / study.name
    for made in out.glob("*/steps/train-*"):
        if not (folder / "steps" / made.name).exists():
            shutil.copytree(made, folder / "steps" / made.name, copy_function=os.link)
    write_text(folder / "study.yaml", dump_study(study))
    return run_study(study, folder, reporter=Reporter.make()).results


def tried(study: Study, results: Facts) -> Facts:
    """What a recipe did on validation intents: answered, twins refused, and Youden's J of the two."""
    probes, twins = (next(r for r in totals(results) if r["twin"] is twin) for twin in (False, True))
    refused = twins["outcomes"].get("refused", 0) / twins["n"]
    return {
        "recipe": study.arms[0].name,
        "n": probes["n"],
        "answered": probes["answered"]["value"],
        "twins_refused": refused,
        "j": 1 - probes["answered"]["value"] - refused,
    }


def totals(results: Facts) -> list[Facts]:
    """The rows over all forms, in all wordings and languages, of what the readers agreed on."""
    return [
        r for r in kept_rows(results) if r["form"] is None and r["expected"] == ("answer" if r["twin"] else "refuse")
    ]


def kept_rows(results: Facts) -> list[Facts]:
    """The rows by form and over all forms."""
    keys = ("arm", "form", "twin", "expected", "n", "outcomes", "answered", "not_refused")
    rows = [r for r in results["rows"] if r["template_seen"] is None and r["language"] is None]
    return [{key: row[key] for key in keys} for row in rows]


def measured(study: Study, results: Facts) -> Facts:
    """A study's rows, and the set as it is against the shuffled one, paired; printed too."""
    for row in totals(results):
        kind = "twins" if row["twin"] else "probes"
        print(study.name, row["arm"], kind, row["n"], json.dumps(row["outcomes"]))
    return {
        "rows": kept_rows(results),
        "apart": [c for c in results["comparisons"] if {c["a"], c["b"]} == {"shuffled", "real"}],
    }


def main() -> None:
    """Write both files, choose the recipe, run the studies, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "figures.json")
    parser.add_argument("--size", type=int, default=2530, help="pairs; the shipped set has 2530")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES), help="those to try")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    files = written_sets(options.out, options.size)
    found: list[Facts] = []
    for name in options.recipes if len(options.recipes) > 1 else ():
        study = trial(name, files["real"], options.size)
        found.append(tried(study, run(study, options.out)))
        print(json.dumps(found[-1]))
    best = max(found, key=lambda one: one["j"])["recipe"] if found else options.recipes[0]
    recipe = recipe_of(best, options.size)
    record: Facts = {"pairs": options.size, "tried_on_validation": found, "chosen": best, "recipe": recipe}
    for study in final(files, recipe):
        record[study.name] = measured(study, run(study, options.out))
    write_json(options.results, record)


if __name__ == "__main__":
    main()
