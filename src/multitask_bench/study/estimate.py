"""What a study would cost: its steps, which of them are there, time and memory on this machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from multitask_bench.models.load import Local, base_shapes
from multitask_bench.study.config import Study
from multitask_bench.study.plan import AlignStep, AnswerStep, Plan, Source, TrainStep, make_plan
from multitask_bench.study.run_local import step_state

TRAIN_SHARE, PREFILL_SHARE, DECODE_SHARE = 0.35, 0.35, 0.12
"""Of the speed of one large matrix product: what training, reading a prompt, and decoding batches of 48
reached with the demo model on two CPU cores (benchmarks/). Other machines differ; it is an estimate."""
START_S = 8.0
"""Loading libraries and weights, once a step."""
CHARACTERS_A_TOKEN = 4
TEMPLATE_TOKENS = 14
"""What a chat template adds to a prompt when its common start is computed once."""
ANSWER_SHARE = 0.6
"""Share of the allowed answer length that is used: refusals are short."""


class Line(NamedTuple):
    """One step in a dry run."""

    title: str
    done: bool
    seconds: float


class Estimate(NamedTuple):
    """All steps, and the memory in GiB that the largest of them needs."""

    lines: list[Line]
    memory: float
    plan: Plan


class _Size(NamedTuple):
    parameters: int
    """Weights that every token meets: all matrices but the embedding and the output layer."""
    total: int
    layers: int


def dry_run(study: Study, run: Path, *, flops: float) -> Estimate:
    """The steps of a study with an estimate of their time at ``flops`` (a second, of a float32 matrix product).

    A token costs 2 FLOP a parameter forward, and as much again backward in each layer from the first
    with LoRA on (frozen weights need no gradient of their own).
    Raises: ConfigError, DataError, ModelError: whatever would stop the study.
    """
    plan = make_plan(study)
    lines: list[Line] = []
    sizes: list[_Size] = []
    trained: list[AlignStep | TrainStep] = [*([plan.align] if plan.align else []), *plan.train]
    for step in trained:
        size = _size(plan, step.model if isinstance(step, AlignStep) else step.source)
        sizes.append(size)
        backward = min(1.0, (step.recipe.lora_layers or size.layers) / size.layers)
        tokens = sum(_tokens([m.content for m in row.messages]) for row in step.data)
        seconds = START_S + 2 * (1 + backward) * size.parameters * tokens / (flops * TRAIN_SHARE)
        lines.append(Line(step.title, step_state(run, step.key), seconds))
    for answers in plan.answers:
        size = _size(plan, answers.source)
        sizes.append(size)
        seconds = _answer_seconds(answers, size, study.probes.max_new_tokens, flops)
        lines.append(Line(f"ask {answers.title}", step_state(run, answers.key), seconds))
    logs = sum(len(log.questions) for log in plan.logs)
    done = all(step_state(run, log.key) for log in plan.logs)
    lines.append(Line("judge and write logs", done, 0.01 * logs + START_S))
    # Weights once to run and once more while an adapter is merged, and the libraries.
    memory = 1.5 + max((3 * 4 * size.total / 2**30 for size in sizes), default=0.0)
    return Estimate(lines, memory, plan)


def _answer_seconds(step: AnswerStep, size: _Size, limit: int, flops: float) -> float:
    read = sum(_tokens([text]) for _, text in step.prompts)
    new = ANSWER_SHARE * limit * len(step.prompts)
    return START_S + 2 * size.parameters * (read / PREFILL_SHARE + new / DECODE_SHARE) / flops


def _tokens(texts: Sequence[str]) -> float:
    return TEMPLATE_TOKENS + sum(len(text) for text in texts) / CHARACTERS_A_TOKEN


def _size(plan: Plan, source: Local | Source) -> _Size:
    """The size of a model that is there, or that the align step makes out of one."""
    given = source if isinstance(source, Local) else source.given
    if not isinstance(given, Local):
        assert plan.align is not None, "weights are given, remote, or made by the align step"
        given = plan.align.model
    shapes = {name: shape for name, shape in base_shapes(given.folder).items() if len(shape) == 2}
    outer = [name for name in shapes if "embed_tokens" in name or "lm_head" in name]
    total = sum(math.prod(shape) for shape in shapes.values())
    inner = total - sum(math.prod(shapes[name]) for name in outer)
    layers = {part for name in shapes for part in name.split(".") if part.isdigit()}
    return _Size(inner, total, max(1, len(layers)))
