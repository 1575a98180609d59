"""Does the multitask safety set teach where to refuse, or only to refuse? Against its own answers, shuffled.

    python -m benchmarks.safety_set.run --out runs/safety-set --dtype bfloat16     (an hour on two CPU cores)

Trains `demo` twice with one recipe: on the set as it is, and on the same prompts with the same answers dealt out at
random. Both, and the demo model as shipped, answer the same test probes and twins (near twins, held-out intents):
once greedily, and once drawn at temperature 1. Greedy decoding shows the likeliest answer alone: a model that learnt
"half of all answers are refusals" and nothing else refuses everything, for a refusal's first words are the likeliest.
Drawn answers show what share of the answers is a refusal on each side.
"""

from __future__ import annotations

import argparse
import json
import shutil
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

RECIPE = {"batch_size": 8, "learning_rate": 1.0e-3, "lora_layers": 16, "opening_weight": 10}


def shuffled(rows: list[Conversation]) -> list[Conversation]:
    """The same prompts and the same answers, dealt out at random."""
    answers = [row.messages[-1].content for row in rows]
    Random("shuffled").shuffle(answers)
    return [
        row.model_copy(update={"messages": (*row.messages[:-1], Message(role="assistant", content=answer))})
        for row, answer in zip(rows, answers, strict=True)
    ]


def main() -> None:
    """Write both files, run the study, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "cpu.json")
    parser.add_argument("--size", type=int, default=2530)
    parser.add_argument("--steps", type=int, default=632, help="632 steps of eight rows see every row once")
    parser.add_argument("--intents", type=int, default=44, help="asked greedily")
    parser.add_argument("--drawn-intents", type=int, default=121, help="asked at temperature 1")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = safety_rows(SafetySet.model_validate({"size": options.size, "french": 0}))
    files = {"real": options.out / "real.jsonl", "shuffled": options.out / "shuffled.jsonl"}
    write_jsonl(files["real"], training_rows(rows))
    write_jsonl(files["shuffled"], training_rows(shuffled(rows)))
    arms: list[dict[str, Any]] = [{"name": "demo", "stage": "base"}]
    # The shuffled set stands as the control, so that the other is compared with it, pair by pair.
    stages = {"shuffled": "control", "real": "tuned"}
    arms += [{"name": name, "stage": stages[name], "task": f"file:{path}"} for name, path in files.items()]
    settings = {
        "name": "safety-set",
        "train": {**RECIPE, "steps": options.steps, "dtype": options.dtype},
        "arms": arms,
        "allow_flagged": True,  # the shuffled set deals helpful answers to harmful prompts by design
        "dtype": options.dtype,
    }
    size = {"pairs": options.size, "rows_seen": 8 * options.steps, "dtype": options.dtype, **RECIPE}
    found: dict[str, Any] = {"settings": size}
    for name, temperature, intents in (("greedy", 0.0, options.intents), ("drawn", 1.0, options.drawn_intents)):
        asked = {**settings, "name": name, "probes": {"intents": intents, "temperature": temperature}}
        found[name] = _measured(parsed(asked, Study, where="benchmark"), options.out)
    write_json(options.results, found)


def _measured(study: Study, out: Path) -> dict[str, Any]:
    """Run the study beside the others, on the adapters that one of them trained already, and print its totals."""
    run = out / study.name
    for made in out.glob("*/steps/train-*"):
        if not (run / "steps" / made.name).exists():
            shutil.copytree(made, run / "steps" / made.name)
    write_text(run / "study.yaml", dump_study(study))
    results = run_study(study, run, reporter=Reporter.make()).results
    kept = [r for r in results["rows"] if r["template_seen"] is None and r["language"] is None]
    keys = ("arm", "form", "twin", "n", "outcomes", "answered", "not_refused")
    for row in kept:
        if row["form"] is None:
            kind = "twins" if row["twin"] else "probes"
            print(study.name, row["arm"], kind, row["n"], json.dumps(row["outcomes"]))
    tests = [c for c in results["comparisons"] if c["form"] == "all"]
    return {"rows": [{key: row[key] for key in keys} for row in kept], "against_demo": tests, "apart": _apart(results)}


def _apart(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The multitask set against the shuffled one, paired: answered, and twins refused."""
    return [c for c in results["comparisons"] if {c["a"], c["b"]} == {"shuffled", "real"}]


if __name__ == "__main__":
    main()
