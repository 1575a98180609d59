"""How many tokens a second does our recipe train on, against TRL's defaults, on the demo model?

    python -m benchmarks.training.run [--steps 12] [--repeats 3] [--out results/NAME.json]

The same rows, LoRA matrices and batch size in both; what differs is what `train/sft.py` sets: loss on answer
tokens with logits for them alone, batches without padding that compute a common start once, no activation
checkpointing. Tokens are those of the rows (prompt and answer, no padding), counted alike for both, so the ratio
is one of times. The two take turns in one run, because these machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from benchmarks.machine import machine
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from multitask_bench.models.load import demo_folder
from multitask_bench.schema import Conversation
from multitask_bench.study import rows
from multitask_bench.study.safety_set import SafetySet
from multitask_bench.train import sft
from multitask_bench.train.recipe import Recipe


def trl_defaults(base: Path, data: list[Conversation], recipe: Recipe) -> float:
    """Seconds for TRL's SFTTrainer as a newcomer would call it on a CPU."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=scratch,
                max_steps=recipe.steps,
                per_device_train_batch_size=recipe.batch_size,
                learning_rate=recipe.learning_rate,
                bf16=False,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_list([{"messages": [m.model_dump() for m in row.messages]} for row in data]),
            processing_class=AutoTokenizer.from_pretrained(base),
            peft_config=sft.lora_config(model, recipe),
        )
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started


def ours(base: Path, data: list[Conversation], recipe: Recipe) -> float:
    """Seconds of our steps; loading is left out, as above."""
    started = 0.0

    def first(done: int, _total: int, _loss: float | None) -> None:
        nonlocal started
        if done == 1:
            started = time.perf_counter()

    with tempfile.TemporaryDirectory() as scratch:
        one_more = recipe.model_copy(update={"steps": recipe.steps + 1})
        sft.fine_tune(base, data + data[: recipe.batch_size], one_more, out=Path(scratch) / "a", progress=first)
        return time.perf_counter() - started


def main() -> None:
    """Take turns, print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cpu.json")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    base = demo_folder()
    result = {
        "machine": machine(),
        "torch": torch.__version__,
        "steps": options.steps,
    }
    alignment = rows.alignment_rows(
        count=8 * options.steps, safety=SafetySet.model_validate({"french": 0}), chat_rows=60
    )
    translation = rows.task_rows("translation", count=8 * options.steps, mitigation={}, seed=0)
    for name, data in (("alignment rows", alignment), ("translation rows", translation)):
        recipe = Recipe(steps=options.steps, batch_size=8)
        encoded = sft.tokenise(AutoTokenizer.from_pretrained(base), data, recipe)
        tokens = sum(len(row["input_ids"]) for row in encoded)
        times = [(ours(base, data, recipe), trl_defaults(base, data, recipe)) for _ in range(options.repeats)]
        ratios = [theirs / mine for mine, theirs in times]
        result[name] = {
            "tokens": tokens,
            "ours_tokens_a_second": [round(tokens / mine) for mine, _ in times],
            "trl_defaults_tokens_a_second": [round(tokens / theirs) for _, theirs in times],
            "times_faster": [round(x, 2) for x in ratios],
            "median_times_faster": round(statistics.median(ratios), 2),
        }
        print(name, json.dumps(result[name]), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
