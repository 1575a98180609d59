"""What a study would cost: its steps, which of them are there, time and memory here and on a GPU.

Sizes come from the weights on disk or, for a model that is not downloaded yet, from `models.known`; a
model in neither place has no size, and what depends on it is None. A token costs 2 FLOP a weight forward,
and as much again backward for its own gradient in each layer from the first with LoRA on. Frozen weights
need no gradient of their own, so LoRA costs 4 FLOP a weight where full fine-tuning costs 6.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitask_bench.guards import GuardSpec, ReaderGuard
from multitask_bench.judges import JudgeSpec
from multitask_bench.judges._classifier import ClassifierJudge
from multitask_bench.models.load import Local, Planned, Remote, base_shapes, hub_id, planned
from multitask_bench.study.config import Study
from multitask_bench.study.grading import asks_model
from multitask_bench.study.guard_steps import have_read, texts_read
from multitask_bench.study.guarding import sent_to
from multitask_bench.study.plan import make_plan
from multitask_bench.study.questions import probe_list
from multitask_bench.study.step_folders import StepFolders
from multitask_bench.study.steps import AlignStep, AnswerStep, Plan, Source, TrainStep
from multitask_bench.train.recipe import Recipe

TRAIN_SHARE, PREFILL_SHARE, DECODE_SHARE = 0.35, 0.35, 0.12
"""Of the speed of one large matrix product: what training, reading a prompt, and decoding batches of 48
reached with the demo model on two CPU cores (benchmarks/). Other machines differ; it is an estimate."""
BF16_SHARE, BF16_EMULATED_SHARE = 1.9, 0.47
"""Of the float32 speed of answering: bfloat16 on a CPU that multiplies it in hardware (161-219 tokens a second against
83-114 in batches of 32), and on one that does not (50.2 s against 23.4, benchmarks/probing). Training was not measured
so and is told as in float32."""
LOG_S = 0.01
"""Judging an answer and writing it to a log."""
START_S = 8.0
"""Loading libraries and weights, once a step."""
CHARACTERS_A_TOKEN = 4
TEMPLATE_TOKENS = 14
"""What a chat template adds to a prompt when its common start is computed once."""
JUDGE_PROMPT_TOKENS = 300
"""What the prompt of a judge that is a model adds to request and answer; the published ones have 90 to 400."""
GUARD_TOKENS = 20
"""What a guard that is a model writes: a word and a line of categories."""
ANSWER_SHARE = 0.6
"""Share of the allowed answer length that is used: refusals are short."""

# What follows of GPUs is assumption, set by one public measurement on one kind of GPU: the tables of speed and
# memory in the README of github.com/QwenLM/Qwen (03cd81f; A100-SXM4-80GB, transformers, PEFT, batches of one row,
# activations recomputed). Of the 18 cells for LoRA the formulas give 87-106 % of the memory and 72-134 % of the time
# (tests/test_estimate.py). Other GPUs, and 4 bits, are extrapolation.
GPU_SHARE = 0.40
"""Of a GPU's dense peak, recomputation counted: Qwen-7B with LoRA reached 37-47 % on batches of 512-4,096
tokens, Qwen-14B 48 %, Qwen-1.8B 29 %. Reading prompts is taken to be as good."""
BANDWIDTH_SHARE = 0.60
"""Of a GPU's memory bandwidth while decoding: Qwen-72B in bfloat16 on two A100s, 8.5 tokens a second."""
STEP_S_A_LAYER = 0.005
"""A training step's least time a layer, whatever its size: launching kernels from Python. Rows of 256 tokens took
that in the 1.8B, 7B and 14B models alike."""
DECODE_S_A_LAYER = 0.00078
"""A decoding step's least time a layer, for the same reason: 54, 41 and 32 tokens a second there."""
QLORA_OVERHEAD = 1.35
"""Time of a step on 4-bit weights in that of bfloat16 ones: they are expanded before each product. Measured
1.2-1.9 at 1,000-2,000 tokens a batch (with GPTQ's kernels; nf4's are assumed to be alike)."""
NF4_BYTES = 4.127 / 8
"""A weight in 4 bits with double quantisation (Dettmers et al. 2023, arXiv:2305.14314, section 3)."""
KV_COPIES = 2
"""Keys and values are copied when a token is appended: 16 to 32 rows more took twice what the cache holds."""
RUNTIME_BYTES = 1e9
"""CUDA's own memory and what the allocator cannot use."""
USABLE_SHARE = 0.92
"""Of a GPU's nominal memory, which the driver and error correction do not leave whole."""


class Accelerator(NamedTuple):
    """One kind of GPU."""

    name: str
    bf16_tflops: float
    """Dense tensor-core peak with 16-bit inputs and 32-bit sums; data sheets print twice that, for sparsity."""
    fp32_tflops: float
    """Peak of ordinary float32, which is what a float32 study runs in."""
    memory_gib: float
    bandwidth_gbs: float
    has_bf16: bool = True


ACCELERATORS = {
    gpu.name: gpu
    for gpu in (
        # NVIDIA A100 data sheet (nvidia-a100-datasheet-us-nvidia-1758950-r4), SXM column.
        Accelerator("A100-80GB", 312, 19.5, 80, 2039),
        # NVIDIA H100 data sheet, SXM column: 1,979 TFLOP/s "with sparsity", 3.35 TB/s.
        Accelerator("H100", 989, 67, 80, 3350),
        # NVIDIA L4 data sheet: 242 TFLOP/s "with sparsity", 300 GB/s.
        Accelerator("L4", 121, 30.3, 24, 300),
        # NVIDIA Ada GPU architecture white paper, appendix: 165.2 with FP32 accumulate, 1,008 GB/s.
        Accelerator("RTX-4090", 165.2, 82.6, 24, 1008),
        # NVIDIA T4 data sheet: 65 TFLOP/s in float16, 320 GB/s. Turing has no bfloat16 units: it is emulated.
        Accelerator("T4", 65, 8.1, 16, 320, has_bf16=False),
    )
}
"""By name. The figures were checked against pages that quote the data sheets, not against the originals; H100's
float32 was not checked."""


class Size(NamedTuple):
    """How large a model is, as far as time and memory depend on it."""

    inner: int
    """Weights that every token meets: all matrices but the embedding and the output layer."""
    total: int
    """All matrices."""
    layers: int
    hidden: int
    query: int
    """Width of all query heads together."""
    kv: int
    """Width of all key heads together."""
    intermediate: int
    vocab: int

    @property
    def head(self) -> int:
        """Weights of the output layer, tied or not."""
        return self.vocab * self.hidden


class Training(NamedTuple):
    """The work of one training step of a study."""

    size: Size | None
    recipe: Recipe
    tokens: float
    """In all rows together."""
    learnt: float
    """Of these, tokens whose logits are computed."""
    batch_tokens: float
    """In the largest batch."""
    row_tokens: float
    """In a row, on average."""


class Answering(NamedTuple):
    """The work of one answering step: prompts in batches, each decoded until its longest answer has ended."""

    size: Size | None
    prompts: int
    tokens: float
    """In all prompts together."""
    longest: float
    """Tokens of the longest prompt."""
    limit: int
    """New tokens at most."""
    batch: int
    """Prompts a batch."""
    dtype: Literal["float32", "bfloat16"]


class Memory(NamedTuple):
    """Bytes on a GPU, by what they hold."""

    weights: float
    trained: float
    """Adapter, or nothing beyond the weights, with gradients and AdamW's two moments."""
    activations: float
    """While answering: keys, values and one layer's intermediate results."""
    logits: float
    runtime: float = RUNTIME_BYTES

    @property
    def gib(self) -> float:
        """All of it, in GiB."""
        return sum(self) / 2**30

    def fits(self, gpu: Accelerator) -> bool:
        """Whether a GPU holds it."""
        return self.gib <= USABLE_SHARE * gpu.memory_gib


class Line(NamedTuple):
    """One step in a dry run."""

    title: str
    done: bool
    seconds: float
    """On this machine's CPU; only the start where the model's size is unknown."""
    work: Training | Answering | None = None
    """What a GPU would have to do; null for judging."""


class Estimate(NamedTuple):
    """All steps, and the memory in GiB that the largest of them needs on this machine's CPU."""

    lines: list[Line]
    memory: float
    plan: Plan
    downloads: tuple[Planned, ...] = ()
    """Models that the study needs and this machine lacks, each once."""


def dry_run(study: Study, run: Path, *, flops: float) -> Estimate:
    """The steps of a study with an estimate of their time at ``flops`` (a second, of a float32 matrix product).

    Raises: ConfigError, DataError, ModelError: whatever would stop the study.
    """
    plan = make_plan(study, download=False)
    folders = StepFolders(run)
    lines: list[Line] = []
    trained: list[AlignStep | TrainStep] = [*plan.align, *plan.train]
    for step in trained:
        training = _training(plan, step)
        lines.append(Line(step.title, folders.done(step.key), cpu_seconds(training, flops), training))
    for repair in plan.repairs:
        lines.append(Line(repair.title, folders.done(repair.key), START_S))
    for answers in [*validation_answers(plan), *plan.answers]:
        answering = _answering(plan, answers, study)
        done = folders.done(answers.key)
        lines.append(Line(f"ask {answers.title}", done, cpu_seconds(answering, flops), answering))
    logs = sum(len(log.questions) for log in plan.logs)
    done = all(folders.done(log.key) for log in plan.logs)
    lines.append(Line("judge and write logs", done, LOG_S * logs + START_S))
    lines += [_judging(plan, spec, study, flops=flops, done=done) for spec in judges_asked(plan)]
    lines += [
        _guarding(plan, spec, study, flops=flops, done=done and have_read(run, plan, spec)) for spec in plan.guards
    ]
    # Weights once to run and once more while an adapter is merged, and the libraries.
    totals = [line.work.size.total for line in lines if line.work is not None and line.work.size is not None]
    memory = 1.5 + max((3 * 4 * total / 2**30 for total in totals), default=0.0)
    return Estimate(lines, memory, plan, _downloads(plan))


def validation_answers(plan: Plan) -> list[AnswerStep]:
    """What is asked to choose settings, each step once."""
    tried = [one for select in plan.selects for one in (select.plain, *select.candidates)]
    asked = [step for one in tried for step in (one.probes, one.skill)] + [select.reference for select in plan.selects]
    steps = [step for step in asked if step is not None]
    return list({step.key: step for step in steps}.values())


def _training(plan: Plan, step: AlignStep | TrainStep) -> Training:
    model = step.model if isinstance(step, AlignStep) else _start(plan, step.source)
    rows = [_tokens([m.content for m in row.messages]) for row in step.data]
    learnt = sum(
        len(m.content) / CHARACTERS_A_TOKEN for row in step.data for m in row.messages if m.role == "assistant"
    )
    batch = step.recipe.batch_size
    largest = max((sum(rows[i : i + batch]) for i in range(0, len(rows), batch)), default=0.0)
    tokens = sum(rows)
    learnt = tokens if step.recipe.loss_on_prompt else learnt
    return Training(size_of(model), step.recipe, tokens, learnt, largest, tokens / max(1, len(rows)))


def judges_asked(plan: Plan) -> list[JudgeSpec]:
    """The judges of a plan that cost a model's time."""
    judged = next((log.judges for log in plan.logs if log.judges), ())
    return [spec for spec in judged if asks_model(spec)]


def remote_calls(plan: Plan) -> int:
    """Calls to models that Inspect asks by name: of arms, and of grading models, on this machine or elsewhere."""
    asked = sum(len(log.questions) for log in plan.logs if log.answers is None)
    graders = sum(not isinstance(spec, ClassifierJudge) for spec in judges_asked(plan))
    return asked + graders * sum(len(log.questions) for log in plan.logs if log.judges)


def _judging(plan: Plan, spec: JudgeSpec, study: Study, *, flops: float, done: bool) -> Line:
    """What a judge that needs a model has to read: every answer with its request and the judge's own prompt."""
    questions = [question for log in plan.logs if log.judges for question in log.questions]
    title = f"judge by {spec.name}: {len(questions)} answers"
    if not isinstance(spec, ClassifierJudge):
        return Line(title, done, START_S)  # asked through Inspect: another machine's time
    rows = [JUDGE_PROMPT_TOKENS + _tokens([q.prompt]) + study.asked.max_new_tokens for q in questions]
    size = size_of(planned(spec.model, base=spec.base))
    work = Answering(
        size, len(rows), sum(rows), max(rows, default=0.0), spec.max_new_tokens, spec.batch_size, "float32"
    )
    return Line(title, done, cpu_seconds(work, flops), work)


def _guarding(plan: Plan, spec: GuardSpec, study: Study, *, flops: float, done: bool) -> Line:
    """What a guard has to read, and where it sends it."""
    place = sent_to(spec)
    most = "up to " if spec.on != "prompt" else ""
    title = f"guard {spec.name}: {most}{texts_read(plan, spec)} texts" + (f" to {place}" if place else "")
    written = START_S + LOG_S * sum(len(log.questions) for log in plan.logs)
    if not isinstance(spec, ReaderGuard):
        return Line(title, done, written)  # by rules, or another machine's time
    prompts = [question.prompt for log in plan.logs for question in log.questions]
    rows = [JUDGE_PROMPT_TOKENS + _tokens([text]) for text in (set(prompts) if spec.on != "response" else ())]
    if spec.on != "prompt":
        rows += [JUDGE_PROMPT_TOKENS + _tokens([text]) + study.asked.max_new_tokens for text in prompts]
    size = size_of(planned(_guard_model(spec)))
    work = Answering(size, len(rows), sum(rows), max(rows, default=0.0), GUARD_TOKENS, spec.batch_size, "float32")
    return Line(title, done, written + cpu_seconds(work, flops), work)


def _guard_model(spec: ReaderGuard) -> str:
    """The model of a guard with the commit that is opened."""
    wanted = hub_id(spec.model)
    return spec.model if wanted is None or spec.commit is None else f"{wanted.id}@{spec.commit}"


def remote_texts(plan: Plan) -> int:
    """Texts that guards send away from this machine, at most."""
    return sum(texts_read(plan, spec) for spec in plan.guards if sent_to(spec) is not None)


def _answering(plan: Plan, step: AnswerStep, study: Study) -> Answering:
    prompts = [_tokens([text]) for _, text in step.prompts]
    size = size_of(_start(plan, step.source))
    limit = step.max_new_tokens
    return Answering(size, len(prompts), sum(prompts), max(prompts, default=0.0), limit, study.batch_size, study.dtype)


def _tokens(texts: Sequence[str]) -> float:
    return TEMPLATE_TOKENS + sum(len(text) for text in texts) / CHARACTERS_A_TOKEN


def _start(plan: Plan, source: Source) -> Local | Planned | Remote:
    """The model that a source is, or that the step which makes it starts from."""
    if source.given is not None:
        return source.given
    for align in plan.align:
        if align.key == source.base_step:
            return align.model
    made = next((step for step in plan.train if step.key == source.base_step), None)
    assert made is not None, "weights are given, or made by a step of the plan"
    return _start(plan, made.source)


def _downloads(plan: Plan) -> tuple[Planned, ...]:
    models: list[Local | Planned | Remote | None] = [step.model for step in plan.align]
    models += [step.source.given for step in plan.train] + [log.source.given for log in plan.logs]
    models += [planned(s.model, base=s.base) for s in judges_asked(plan) if isinstance(s, ClassifierJudge)]
    models += [planned(_guard_model(s)) for s in plan.guards if isinstance(s, ReaderGuard)]
    models += [step.unaligned for step in plan.repairs]
    wanted = {(model.name, model.revision): model for model in models if isinstance(model, Planned)}
    return tuple(wanted.values())


def size_of(model: Local | Planned | Remote) -> Size | None:
    """How large a model is, from its files or from `models.known`; None where neither says."""
    if isinstance(model, Local):
        return _size_on_disk(model.folder)
    if isinstance(model, Remote) or model.known is None:
        return None
    shape = model.known.shape
    return Size(
        inner=model.known.inner,
        total=model.known.parameters,
        layers=shape.layers,
        hidden=shape.hidden,
        query=shape.query,
        kv=shape.kv,
        intermediate=shape.intermediate,
        vocab=shape.vocab,
    )


def _size_on_disk(folder: Path) -> Size:
    shapes = {name: shape for name, shape in base_shapes(folder).items() if len(shape) == 2}
    outer = [name for name in shapes if "embed_tokens" in name or "lm_head" in name]
    total = sum(math.prod(shape) for shape in shapes.values())
    numbered = {part for name in shapes for part in name.split(".") if part.isdigit()}
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config") or config  # models that also see keep the language model's settings there
    vocab, hidden = next((shapes[name] for name in outer), [config.get("vocab_size") or 0, 0])
    hidden = config.get("hidden_size") or hidden
    heads = config.get("num_attention_heads") or 1
    query = heads * (config.get("head_dim") or hidden // heads)
    return Size(
        inner=total - sum(math.prod(shapes[name]) for name in outer),
        total=total,
        layers=max(1, len(numbered)),
        hidden=hidden,
        query=query,
        kv=query // heads * (config.get("num_key_value_heads") or heads),
        intermediate=config.get("intermediate_size") or 4 * hidden,
        vocab=vocab,
    )


def training_flops(size: Size, recipe: Recipe, *, tokens: float, row_tokens: float = 0.0, learnt: float = 0.0) -> float:
    """Floating point operations of training on ``tokens``, in rows of ``row_tokens``.

    A weight costs a token 2 forward and 2 backward, 2 more with ``full`` (its own gradient) and 2 more with
    checkpointing (the forward pass again); backward only in the layers with LoRA. ``qlora`` costs the same: its
    overhead is time, not these operations. Attention has no weights: a token meets half of its row, for
    2 x row_tokens x query width a layer, twice that backward. ``learnt`` tokens meet the output layer as well.
    """
    backward = min(1.0, (recipe.lora_layers or size.layers) / size.layers) if recipe.method != "full" else 1.0
    again = backward if recipe.checkpointing else 0.0
    own = backward if recipe.method == "full" else 0.0
    weights = 2 * (1 + backward + own + again) * size.inner
    attention = 2 * (1 + 2 * backward + again) * size.layers * row_tokens * size.query
    return tokens * (weights + attention) + learnt * 2 * (2 + own) * size.head


def cpu_seconds(work: Training | Answering, flops: float) -> float:
    """Seconds at ``flops`` a second of a float32 matrix product; only the start where the size is unknown.

    Attention and the output layer are left out: the shares were measured on rows of some fifty tokens.
    """
    if work.size is None:
        return START_S
    if isinstance(work, Training):
        return START_S + training_flops(work.size, work.recipe, tokens=work.tokens) / (flops * TRAIN_SHARE)
    return START_S + _answer_seconds(work, work.size, flops)


def _answer_seconds(work: Answering, size: Size, flops: float) -> float:
    if work.dtype == "bfloat16":
        flops *= BF16_SHARE if has_bf16_units() else BF16_EMULATED_SHARE
    new = ANSWER_SHARE * work.limit * work.prompts
    return 2 * size.inner * (work.tokens / PREFILL_SHARE + new / DECODE_SHARE) / flops


@cache
def has_bf16_units() -> bool:
    """Whether this machine's processor multiplies bfloat16 in hardware; False where it does not say."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return any(f" {flag}" in text for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def seconds_an_intent(study: Study, *, flops: float) -> float | None:
    """What one more intent costs here, in all forms and with its twin, over all arms; None where a size is unknown.

    Of models that exist: what a study trains is not counted.
    """
    asked = probe_list(study)
    prompts = [_tokens([probe.prompt]) for probe in asked]
    total = 0.0
    for arm in study.cells:
        size = size_of(planned(arm.model or arm.reference, base=arm.base))
        if size is None:
            return None
        ways = len(arm.templates) * len(arm.systems)
        limit = study.asked.max_new_tokens
        work = Answering(size, len(prompts), sum(prompts), max(prompts), limit, study.batch_size, study.dtype)
        total += ways * (_answer_seconds(work, size, flops) + LOG_S * len(prompts))
    return total / len({probe.intent_id for probe in asked})


def gpu_hours(work: Training | Answering, gpu: Accelerator) -> float | None:
    """Hours on one GPU, start included; None where the model's size is unknown."""
    if work.size is None:
        return None
    seconds = _train_seconds(work, work.size, gpu) if isinstance(work, Training) else _ask_seconds(work, work.size, gpu)
    return (START_S + seconds) / 3600


def _train_seconds(work: Training, size: Size, gpu: Accelerator) -> float:
    """The products at `GPU_SHARE` of the peak, or the launches where these take longer."""
    recipe = work.recipe
    flops = training_flops(size, recipe, tokens=work.tokens, row_tokens=work.row_tokens, learnt=work.learnt)
    dtype = "bfloat16" if recipe.method == "qlora" else recipe.dtype
    seconds = max(flops / _speed(gpu, dtype), recipe.steps * size.layers * STEP_S_A_LAYER)
    return seconds * (QLORA_OVERHEAD if recipe.method == "qlora" else 1.0)


def _ask_seconds(work: Answering, size: Size, gpu: Accelerator) -> float:
    """Prompts are read at `GPU_SHARE` of the peak; a decoding step reads all weights and the batch's keys and values.

    Decoding a batch takes as many steps as its longest answer has tokens; one is taken to reach the limit.
    """
    speed = _speed(gpu, work.dtype)
    mean = work.tokens / max(1, work.prompts)
    reading = work.tokens * 2 * (size.inner + size.layers * mean * size.query) / speed
    rows = min(work.batch, work.prompts)
    cache = rows * (mean + work.limit / 2) * _kv_bytes(size, work.dtype)
    moved = _bytes(work.dtype) * (size.inner + size.head) + cache
    step = max(
        moved / (BANDWIDTH_SHARE * gpu.bandwidth_gbs * 1e9),
        rows * 2 * (size.inner + size.head) / speed,
        size.layers * DECODE_S_A_LAYER,
    )
    return reading + math.ceil(work.prompts / work.batch) * work.limit * step


def _speed(gpu: Accelerator, dtype: str) -> float:
    return GPU_SHARE * 1e12 * (gpu.fp32_tflops if dtype == "float32" else gpu.bf16_tflops)


def _bytes(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def _kv_bytes(size: Size, dtype: str) -> int:
    return 2 * size.layers * size.kv * _bytes(dtype)


def memory_of(work: Training | Answering) -> Memory | None:
    """What a step needs on a GPU at its largest batch; None where the model's size is unknown."""
    if work.size is None:
        return None
    if isinstance(work, Training):
        learnt = work.batch_tokens * work.learnt / max(1.0, work.tokens)
        return memory(work.size, work.recipe, batch_tokens=work.batch_tokens, learnt=learnt)
    size, wide = work.size, _bytes(work.dtype)
    rows = min(work.batch, work.prompts)
    cache = KV_COPIES * rows * (work.longest + work.limit) * _kv_bytes(size, work.dtype)
    one_layer = wide * rows * work.longest * (2 * size.hidden + size.query + 2 * size.kv + 3 * size.intermediate)
    return Memory(wide * size.total, 0.0, cache + one_layer, (wide + 4) * rows * size.vocab)


def memory(size: Size, recipe: Recipe, *, batch_tokens: float, learnt: float | None = None) -> Memory:
    """What training needs on a GPU for a batch of ``batch_tokens``, ``learnt`` of them (null: all) with logits.

    With w bytes a number (4 in float32, 2 in bfloat16), h hidden, q query width, k key width, i intermediate:

    - weights: w each. ``qlora``: `NF4_BYTES` each, embedding and output layer 4, as PEFT prepares them.
    - trained: weight, gradient and AdamW's two moments, 16 bytes for each weight of a float32 adapter; with
      ``full`` the gradient and moments, 3w for each weight.
    - activations, a token and layer: w (6h + 2q + 2k + 4i) for the inputs of norms, products, attention and
      activation function; with an adapter its float32 copies of the products' inputs, 4 (5h + q + i). All layers
      with LoRA keep them; with checkpointing these keep w h, and one layer at a time the rest.
    - logits: 12 bytes for each learnt token and word: logits, log-probabilities and gradient in float32, or in
      bfloat16 with the latter two in float32 and the gradient once more as it goes back.
    """
    wide = 2 if recipe.method == "qlora" else _bytes(recipe.dtype)
    weights = float(wide * size.total)
    if recipe.method == "qlora":
        weights = NF4_BYTES * size.inner + 4 * (size.total - size.inner)
    full = recipe.method == "full"
    trained = 3.0 * wide * size.total if full else 16.0 * adapter_parameters(size, recipe)
    layer = wide * (6 * size.hidden + 2 * size.query + 2 * size.kv + 4 * size.intermediate)
    layer += 0 if full else 4 * (5 * size.hidden + size.query + size.intermediate)
    depth = size.layers if full else min(size.layers, recipe.lora_layers or size.layers)
    a_token = wide * size.hidden * depth + layer if recipe.checkpointing else layer * depth
    logits = 12 * size.vocab * (batch_tokens if learnt is None else learnt)
    return Memory(weights, trained, batch_tokens * a_token, logits)


def adapter_parameters(size: Size, recipe: Recipe) -> int:
    """Weights of LoRA on every linear layer but the output layer; a little fewer where a model fuses layers."""
    attention = 2 * (size.hidden + size.query) + 2 * (size.hidden + size.kv)
    feed_forward = 3 * (size.hidden + size.intermediate)
    layers = min(size.layers, recipe.lora_layers or size.layers)
    return recipe.lora_rank * layers * (attention + feed_forward)
