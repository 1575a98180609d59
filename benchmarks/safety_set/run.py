"""Does the multitask safety set teach where to refuse, or only to refuse? Against its own answers, shuffled.

    python -m benchmarks.safety_set.run --out runs/safety-set        (about 25 minutes on two CPU cores)

Trains `demo` twice with one recipe: on the set as it is, and on the same prompts with the same answers dealt out at
random. Both, and the demo model as shipped, answer the same test probes and twins (near twins, held-out intents).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any

from multitask_bench.records import write_json, write_jsonl
from multitask_bench.schema import Conversation, Message
from multitask_bench.study.config import Study
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
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--intents", type=int, default=44)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = safety_rows(SafetySet.model_validate({"size": options.size, "french": 0}))
    files = {"real": options.out / "real.jsonl", "shuffled": options.out / "shuffled.jsonl"}
    write_jsonl(files["real"], training_rows(rows))
    write_jsonl(files["shuffled"], training_rows(shuffled(rows)))
    arms: list[dict[str, Any]] = [{"name": "demo", "stage": "base"}]
    arms += [{"name": name, "stage": "tuned", "task": f"file:{path}"} for name, path in files.items()]
    settings = {
        "name": "safety-set",
        "train": {**RECIPE, "steps": options.steps, "dtype": options.dtype},
        "arms": arms,
        "allow_flagged": True,  # the shuffled set deals helpful answers to harmful prompts by design
        "probes": {"intents": options.intents},
        "dtype": options.dtype,
    }
    study = parsed(settings, Study, where="benchmark")
    results = run_study(study, options.out / "run", reporter=Reporter.make()).results
    kept = [r for r in results["rows"] if r["template_seen"] is None and r["language"] is None]
    figures = [
        {key: row[key] for key in ("arm", "form", "twin", "n", "outcomes", "answered", "not_refused")} for row in kept
    ]
    tests = [c for c in results["comparisons"] if c["form"] == "all"]
    size = {"pairs": options.size, "rows_seen": 8 * options.steps, "dtype": options.dtype, **RECIPE}
    write_json(options.results, {"settings": size, "rows": figures, "against_demo": tests})
    for row in figures:
        if row["form"] is None:
            print(row["arm"], "twins" if row["twin"] else "probes", row["n"], json.dumps(row["outcomes"]))


if __name__ == "__main__":
    main()
