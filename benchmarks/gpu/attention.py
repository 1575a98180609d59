"""On an accelerator, is one masked attention call a layer faster than one call a row?

    python -m benchmarks.gpu.attention [--out results/NAME.json]

A model of the demo model's shape (135 million random weights) with LoRA on every linear layer takes forward and
backward passes over packed rows of 60 to 140 tokens, by the two ways of `train/_attention.py` in turn. Medians, and
their ratio: compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import torch
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from multitask_bench.records import write_json
from multitask_bench.train import _attention
from multitask_bench.train.recipe import Recipe
from multitask_bench.train.sft import lora_config

WAYS: dict[str, Callable[..., torch.Tensor]] = {
    "row by row": _attention._row_by_row,
    "one masked call": _attention._all_at_once,
}
SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
REPEATS = 7


def batch(rows: int, device: str) -> dict[str, torch.Tensor]:
    """Packed rows of random tokens with a common start of 30, the last fifth of each to be learnt."""
    rng = Random(rows)
    data = []
    for _ in range(rows):
        ids = [7] * 30 + [rng.randrange(49152) for _ in range(rng.randint(30, 110))]
        learnt = len(ids) // 5
        data.append({"input_ids": ids, "labels": [_attention.IGNORED] * (len(ids) - learnt) + ids[-learnt:]})
    return {key: value.to(device) for key, value in _attention.concatenated(data).items()}


def step(model: Any, inputs: dict[str, torch.Tensor]) -> float:
    """Seconds of a forward and a backward pass."""
    given = {key: value for key, value in inputs.items() if key != "labels"}
    at = (inputs["labels"][0] != _attention.IGNORED).nonzero().squeeze(1)
    _wait()
    started = time.perf_counter()
    logits = model(**given, use_cache=False, logits_to_keep=at - 1).logits[0].float()
    torch.nn.functional.cross_entropy(logits, inputs["labels"][0, at]).backward()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Time both ways in turn, print and store medians and ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "attention.json")
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 32])
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "repeats": REPEATS}
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, num_key_value_heads=3, vocab_size=49152, attn_implementation=_attention.PER_ROW)
    plain = LlamaForCausalLM(config).to(torch.bfloat16)
    model = get_peft_model(plain, lora_config(plain, Recipe())).to(device)
    for rows in options.rows:
        inputs = batch(rows, device)
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for repeat in range(REPEATS + 2):
            for way, attend in WAYS.items():
                # `per_row` picks by the device; both names give the way that is being timed.
                with patch.object(_attention, "_row_by_row", attend), patch.object(_attention, "_all_at_once", attend):
                    took = step(model, inputs)
                if repeat >= 2:  # the first ones compile and allocate
                    seconds[way].append(took)
        middle = {way: statistics.median(values) for way, values in seconds.items()}
        slow, fast = middle.values()
        facts = {"tokens": inputs["input_ids"].shape[1], "seconds": middle, "ratio": round(slow / fast, 2)}
        found[f"{rows} rows"] = facts
        print(rows, json.dumps(facts), flush=True)
    write_json(options.out, found)


if __name__ == "__main__":
    main()
