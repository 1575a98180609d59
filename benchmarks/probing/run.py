"""How fast are 64 bundled probes answered with at most 64 new tokens by the demo model?

    python -m benchmarks.probing.run [--out results/NAME.json]

In one run: (a) one prompt at a time with transformers' generate in float32, as the paper's notebook
does; (b) Inspect's own hf/ provider; (c) our engine in float32; (d) ours in bfloat16. All greedy, all stop at
the end of turn. Ratios count, not seconds; the outcome of each answer is compared too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from benchmarks.machine import machine

from multitask_bench.judges import judges
from multitask_bench.models.chat import encode, encode_prompt, render
from multitask_bench.models.engine.local import Answer, LocalModel
from multitask_bench.models.engine.store import Question, plan_batches, question_key
from multitask_bench.models.load import demo_folder
from multitask_bench.schema import Message, Probe, Response
from multitask_bench.study import probes as bundled

NEW_TOKENS, COUNT = 64, 64


def probes() -> list[Probe]:
    """Sixty-four bundled test probes, every form among them."""
    every = bundled.probes("test", count=7, twins=6)
    return every[:: max(1, len(every) // COUNT)][:COUNT]


def outcomes(asked: list[Probe], answers: list[str]) -> list[str]:
    """The offline judge's outcome of each answer."""
    responses = [
        Response(id=p.id, prompt=p.prompt, text=a, form=p.form, target_language=p.target_language, options=p.options)
        for p, a in zip(asked, answers, strict=True)
    ]
    return [v.outcome.value for v in judges.make("refusal").judge(responses)]


def one_by_one(model: LocalModel, asked: list[Probe]) -> list[Answer]:
    """(a): transformers' generate, one prompt a call."""
    out = []
    for probe in asked:
        ids = torch.tensor([encode_prompt(model.tokenizer, [Message(role="user", content=probe.prompt)])])
        made = model.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=sorted(model.stops),
        )[0, ids.shape[1] :].tolist()
        text = model.tokenizer.decode(made, skip_special_tokens=True).strip()
        out.append(Answer(text, len(made), made[-1] not in model.stops))
    return out


def ours(model: LocalModel, asked: list[Probe]) -> list[Answer]:
    """(c), (d): planned batches."""
    questions = {}
    for probe in asked:
        text = render(model.tokenizer, [Message(role="user", content=probe.prompt)])
        key = question_key(text, max_new_tokens=NEW_TOKENS)
        questions[probe.id] = Question(key, text, encode(model.tokenizer, text))
    found: dict[str, Answer] = {}
    for batch in plan_batches(list(questions.values())):
        answers = model.answer([q.tokens for q in batch], max_new_tokens=NEW_TOKENS)
        found.update(zip((q.key for q in batch), answers, strict=True))
    return [found[questions[probe.id].key] for probe in asked]


def inspect_hf(folder: Path, asked: list[Probe]) -> list[str]:
    """(b): Inspect's hf/ provider with its own batching."""
    from inspect_ai import Task
    from inspect_ai import eval as inspect_eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.solver import generate

    model = get_model(
        "hf/demo", model_path=str(folder), device="cpu", torch_dtype="float32", do_sample=False, memoize=False
    )
    data = MemoryDataset([Sample(id=p.id, input=p.prompt) for p in asked])
    task = Task(dataset=data, solver=generate(), config=GenerateConfig(max_tokens=NEW_TOKENS))
    with tempfile.TemporaryDirectory() as logs:
        (log,) = inspect_eval(task, model=model, display="none", log_dir=logs, max_connections=32, ctl_server=False)
        by_id = {s.id: s.output.completion for s in log.samples or []}  # read from the file, lazily
    return [by_id[p.id] for p in asked]


def main() -> None:
    """Run the four, print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cpu.json")
    parser.add_argument("--skip-bfloat16", action="store_true")
    options = parser.parse_args()
    asked, folder = probes(), demo_folder()
    model = LocalModel(folder)
    ours(model, asked[:8])  # the first forward pays for memory
    result: dict[str, Any] = {"probes": len(asked), "new_tokens": NEW_TOKENS, "torch": torch.__version__}
    result["machine"] = machine()
    timed: dict[str, tuple[float, list[str], int]] = {}

    def clock(name: str, run: Any) -> None:
        started = time.perf_counter()
        made = run()
        seconds = time.perf_counter() - started
        texts = [a.text if isinstance(a, Answer) else a for a in made]
        tokens = sum(a.tokens for a in made if isinstance(a, Answer))
        timed[name] = (seconds, texts, tokens)
        print(f"{name:24} {seconds:7.1f} s", flush=True)

    clock("ours float32", lambda: ours(model, asked))
    clock("one by one float32", lambda: one_by_one(model, asked))
    clock("ours float32 again", lambda: ours(model, asked))
    clock("inspect hf float32", lambda: inspect_hf(folder, asked))
    if not options.skip_bfloat16:
        half = LocalModel(folder, dtype="bfloat16")
        clock("ours bfloat16", lambda: ours(half, asked))
    slow, reference, _ = timed["one by one float32"]
    expected = outcomes(asked, reference)
    for name, (seconds, texts, tokens) in timed.items():
        result[name] = {
            "seconds": round(seconds, 2),
            "times_one_by_one": round(slow / seconds, 2),
            "tokens": tokens or None,
            "same_text": sum(a == b for a, b in zip(texts, reference, strict=True)),
            "same_outcome": sum(a == b for a, b in zip(outcomes(asked, texts), expected, strict=True)),
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
