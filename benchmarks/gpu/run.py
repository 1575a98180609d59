"""Does what runs on a CPU run on a GPU: LoRA, QLoRA, full; adapters that come off exactly; batches as one by one?

    python -m benchmarks.gpu.run --tokenizer FOLDER [--out results/NAME.json]

A random model of three layers learns 32 short rows for ten steps by each method, and answers 40 prompts: base, tuned,
base again, drawn twice at temperature 1 with one seed, one prompt at a time. It shows that the paths work, not how fast
they are. `FOLDER` holds a tokenizer with a chat template, such as the demo model's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from multitask_bench.models.chat import encode_prompt
from multitask_bench.models.engine.local import LocalModel
from multitask_bench.records import write_json
from multitask_bench.schema import Conversation, Message
from multitask_bench.train import sft
from multitask_bench.train.recipe import Recipe

NEW_TOKENS = 12


def row(i: int) -> Conversation:
    """A training row."""
    turns = (
        Message(role="user", content=f"What is {i} and {i}?"),
        Message(role="assistant", content=f"It is {2 * i}, I think."),
    )
    return Conversation(id=f"r{i}", kind="benign", messages=turns)


def answers(model: LocalModel, asked: list[list[int]], **how: Any) -> list[str]:
    """What the model says to each prompt."""
    return [a.text for a in model.answer(asked, max_new_tokens=NEW_TOKENS, **how)]


def main() -> None:
    """Train by each method in each type, ask, print and store what held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu.json")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    asked = [
        encode_prompt(tokenizer, [Message(role="user", content=f"What is {i} and {'very ' * i} {i}?")])
        for i in range(40)
    ]
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    found: dict[str, Any] = {"device": device, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        torch.manual_seed(0)
        shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4}
        LlamaForCausalLM(
            LlamaConfig(**shape, num_key_value_heads=2, vocab_size=len(tokenizer), max_position_embeddings=512)
        ).save_pretrained(base)
        tokenizer.save_pretrained(base)
        methods = ("lora", "qlora", "full") if torch.cuda.is_available() else ("lora", "full")
        for method in methods:
            for dtype in ("float32", "bfloat16"):
                started, made = time.perf_counter(), Path(scratch) / f"{method}-{dtype}"
                recipe = Recipe(method=method, dtype=dtype, steps=10, batch_size=4, learning_rate=1e-3)
                losses = sft.fine_tune(base, [row(i) for i in range(32)], recipe, out=made)
                facts: dict[str, Any] = {"loss": [round(losses[0], 2), round(losses[-1], 2)]}
                facts["seconds"] = round(time.perf_counter() - started, 1)
                if method != "full":
                    facts |= swapped(base, made, dtype, asked)
                found[f"{method} {dtype}"] = facts
                print(method, dtype, json.dumps(facts), flush=True)
    write_json(options.out, found)


def swapped(base: Path, adapter: Path, dtype: str, asked: list[list[int]]) -> dict[str, Any]:
    """What holds of answers with and without the adapter."""
    model = LocalModel(base, dtype=dtype)
    weights = {name: value.clone() for name, value in model.model.state_dict().items()}
    plain = answers(model, asked)
    model.use(adapter)
    tuned = answers(model, asked)
    model.use(None)
    one_by_one = [answers(model, [prompt])[0] for prompt in asked]
    drawn = [answers(model, asked, temperature=1.0, seed="a seed") for _ in range(2)]
    return {
        "weights_come_back_exactly": all(torch.equal(v, weights[k]) for k, v in model.model.state_dict().items()),
        "answers_come_back": answers(model, asked) == plain,
        "answers_changed_by_the_adapter": sum(a != b for a, b in zip(plain, tuned, strict=True)),
        "drawn_answers_repeat": drawn[0] == drawn[1],
        "same_one_by_one": sum(a == b for a, b in zip(plain, one_by_one, strict=True)),
        "prompts": len(asked),
    }


if __name__ == "__main__":
    main()
