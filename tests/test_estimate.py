"""Time and memory before anything runs: by hand, and against a public table of measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from multitask_bench.models.known import Shape, known
from multitask_bench.models.load import Local, Planned, Remote
from multitask_bench.schema import Conversation, Message
from multitask_bench.study import estimate
from multitask_bench.study.config import Arm, Study
from multitask_bench.study.estimate import (
    ACCELERATORS,
    DECODE_S_A_LAYER,
    START_S,
    STEP_S_A_LAYER,
    Answering,
    Size,
    Training,
    adapter_parameters,
    cpu_seconds,
    dry_run,
    gpu_hours,
    memory,
    memory_of,
    size_of,
    training_flops,
)
from multitask_bench.study.steps import AlignStep, AnswerStep, LogStep, Plan, Source, TrainStep
from multitask_bench.train.recipe import Recipe

A100 = ACCELERATORS["A100-80GB"]
SMALL = Size(inner=1000, total=1400, layers=4, hidden=10, query=12, kv=6, intermediate=30, vocab=20)
"""Round numbers, to be followed by hand."""


def size(name: str) -> Size:
    found = size_of(Planned(name, None, known(name)))
    assert found is not None
    return found


def qwen(vocab: int, hidden: int, layers: int, intermediate: int) -> Size:
    """A model of the first Qwen generation, as Qwen's table of measurements has them: all heads have keys."""
    from multitask_bench.models.known import inner_parameters, parameters

    shape = Shape(vocab, hidden, layers, 1, 1, intermediate, tied=False, qkv_bias=True)
    return Size(inner_parameters(shape), parameters(shape), layers, hidden, hidden, hidden, intermediate, vocab)


QWEN = {
    "1.8B": qwen(151936, 2048, 24, 5504),
    "7B": qwen(151936, 4096, 32, 11008),
    "14B": qwen(152064, 5120, 40, 13696),
}
MEASURED = [  # github.com/QwenLM/Qwen 03cd81f, README: LoRA of rank 64, one row a batch; GB, seconds for 8 batches
    ("1.8B", 256, 6.7, 1.0),
    ("1.8B", 512, 7.4, 1.0),
    ("1.8B", 1024, 8.4, 1.1),
    ("1.8B", 2048, 11.0, 1.7),
    ("1.8B", 4096, 16.2, 3.3),
    ("1.8B", 8192, 21.8, 6.8),
    ("7B", 256, 20.1, 1.2),
    ("7B", 512, 20.4, 1.5),
    ("7B", 1024, 21.5, 2.8),
    ("7B", 2048, 23.8, 5.2),
    ("7B", 4096, 29.7, 10.1),
    ("7B", 8192, 36.6, 21.3),
    ("14B", 256, 34.6, 1.6),
    ("14B", 512, 35.1, 2.4),
    ("14B", 1024, 35.3, 4.4),
    ("14B", 2048, 37.4, 8.4),
    ("14B", 4096, 42.5, 17.0),
    ("14B", 8192, 55.2, 36.0),
]
LORA_64 = Recipe(method="lora", lora_rank=64, dtype="bfloat16", checkpointing=True, batch_size=1, steps=8)


@pytest.mark.parametrize(("model", "row", "gigabytes", "seconds"), MEASURED)
def test_memory_is_within_15_percent_of_what_was_measured(
    model: str, row: int, gigabytes: float, seconds: float
) -> None:
    found = sum(memory(QWEN[model], LORA_64, batch_tokens=row)) / 1e9
    assert found == pytest.approx(gigabytes, rel=0.15)


@pytest.mark.parametrize(("model", "row", "gigabytes", "seconds"), MEASURED)
def test_time_is_within_35_percent_of_what_was_measured(model: str, row: int, gigabytes: float, seconds: float) -> None:
    work = Training(QWEN[model], LORA_64, tokens=8 * row, learnt=8 * row, batch_tokens=row, row_tokens=row)
    hours = gpu_hours(work, A100)
    assert hours is not None
    assert hours * 3600 - START_S == pytest.approx(seconds, rel=0.35)


@pytest.mark.parametrize(("model", "tokens_a_second"), [("1.8B", 54.09), ("7B", 40.93), ("14B", 32.22)])
def test_decoding_one_row_is_within_a_tenth_of_what_was_measured(model: str, tokens_a_second: float) -> None:
    work = Answering(QWEN[model], prompts=1, tokens=1, longest=1, limit=2048, batch=1, dtype="bfloat16")
    hours = gpu_hours(work, A100)
    assert hours is not None
    assert 2048 / (hours * 3600 - START_S) == pytest.approx(tokens_a_second, rel=0.1)


def test_flops_by_hand() -> None:
    lora, full = Recipe(), Recipe(method="full")
    assert training_flops(SMALL, lora, tokens=5) == 5 * 4 * 1000
    assert training_flops(SMALL, full, tokens=5) == 5 * 6 * 1000
    assert training_flops(SMALL, Recipe(method="qlora"), tokens=5) == 5 * 4 * 1000
    assert training_flops(SMALL, Recipe(lora_layers=1), tokens=5) == 5 * 2.5 * 1000
    assert training_flops(SMALL, Recipe(checkpointing=True), tokens=5) == 5 * 6 * 1000
    # Attention: 4 layers, 7 tokens a row, query width 12; output layer: 20 words of width 10.
    assert training_flops(SMALL, lora, tokens=5, row_tokens=7) == 5 * (4000 + 6 * 4 * 7 * 12)
    assert training_flops(SMALL, lora, tokens=5, learnt=3) == 5 * 4000 + 3 * 4 * 200
    assert training_flops(SMALL, full, tokens=5, learnt=3) == 5 * 6000 + 3 * 6 * 200


def test_memory_by_hand() -> None:
    # bfloat16: 2 (6 x 10 + 2 x 12 + 2 x 6 + 4 x 30) = 432 a token and layer, LoRA's copies 4 (50 + 12 + 30) = 368.
    adapter = 16 * 2 * 4 * (2 * 22 + 2 * 16 + 3 * 40)
    lora = Recipe(lora_rank=2, dtype="bfloat16")
    found = memory(SMALL, lora, batch_tokens=3)
    assert (found.weights, found.trained) == (2800, adapter)
    assert found.activations == 3 * 4 * (432 + 368)
    assert found.logits == 3 * 20 * 12
    assert memory(SMALL, lora, batch_tokens=3, learnt=1).logits == 240
    again = memory(SMALL, lora.model_copy(update={"checkpointing": True}), batch_tokens=3)
    assert again.activations == 3 * (2 * 10 * 4 + 800)
    full = memory(SMALL, Recipe(method="full"), batch_tokens=3)
    assert full.weights + full.trained == 16 * 1400
    assert full.activations == 3 * 4 * 864
    quantised = memory(SMALL, Recipe(method="qlora", lora_rank=2), batch_tokens=3)
    assert quantised.weights == pytest.approx(4.127 / 8 * 1000 + 4 * 400)


@pytest.mark.parametrize(
    ("name", "rank", "count"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", 16, 39_976_960),  # what PEFT prints for these
        ("meta-llama/Llama-3.1-8B-Instruct", 16, 41_943_040),
        ("Qwen/Qwen3-4B", 16, 33_030_144),
        ("Qwen/Qwen3-1.7B", 32, 34_865_152),
    ],
)
def test_an_adapter_is_as_large_as_pefts(name: str, rank: int, count: int) -> None:
    assert adapter_parameters(size(name), Recipe(lora_rank=rank)) == count


def test_a_size_on_disk_is_that_of_the_shape(tiny_model: Path) -> None:
    found = size_of(Local("tiny", tiny_model))
    assert found is not None
    layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64
    outer = found.total - found.inner
    assert (found.inner, found.layers, outer) == (2 * layer, 2, 2 * found.vocab * 32)
    assert (found.hidden, found.query, found.kv, found.intermediate) == (32, 32, 16, 64)


def test_a_step_is_never_faster_than_its_launches() -> None:
    work = Training(SMALL, Recipe(steps=100), tokens=5000, learnt=500, batch_tokens=50, row_tokens=50)
    assert gpu_hours(work, A100) == pytest.approx((START_S + 100 * 4 * STEP_S_A_LAYER) / 3600)
    asked = Answering(SMALL, prompts=10, tokens=100, longest=20, limit=30, batch=4, dtype="bfloat16")
    assert gpu_hours(asked, A100) == pytest.approx((START_S + 3 * 30 * 4 * DECODE_S_A_LAYER) / 3600, rel=1e-4)


def test_large_batches_are_bound_by_bandwidth_or_by_products() -> None:
    llama = size("meta-llama/Llama-3.1-8B-Instruct")
    work = Answering(llama, prompts=1, tokens=0, longest=0, limit=100, batch=1, dtype="bfloat16")
    l4 = ACCELERATORS["L4"]
    moved = 2 * (6_979_321_856 + 128256 * 4096) + 50 * 2 * 32 * 1024 * 2
    assert gpu_hours(work, l4) == pytest.approx((START_S + 100 * moved / (0.6 * 300e9)) / 3600)
    many = work._replace(prompts=1000, batch=1000)
    products = 1000 * 2 * (6_979_321_856 + 128256 * 4096) / (0.4 * 121e12)
    assert gpu_hours(many, l4) == pytest.approx((START_S + 100 * products) / 3600)


def test_float32_does_not_get_the_speed_of_bfloat16() -> None:
    llama = size("meta-llama/Llama-3.1-8B-Instruct")
    work = Training(llama, Recipe(dtype="bfloat16"), tokens=1e6, learnt=2e5, batch_tokens=2e3, row_tokens=250)
    slow = work._replace(recipe=Recipe(dtype="float32"))
    fast_hours, slow_hours = gpu_hours(work, A100), gpu_hours(slow, A100)
    assert fast_hours is not None
    assert slow_hours is not None
    assert slow_hours > 10 * fast_hours


def test_the_papers_model_fits_where_it_should() -> None:
    paper = Recipe(recipe="paper", dtype="bfloat16", checkpointing=True)
    work = Training(size("meta-llama/Llama-2-7b-chat-hf"), paper, 3e6, 1e6, batch_tokens=1000, row_tokens=250)
    needed = memory_of(work)
    assert needed is not None
    assert needed.fits(ACCELERATORS["T4"])
    full = memory_of(work._replace(recipe=Recipe(method="full")))
    assert full is not None
    assert not full.fits(A100)


def test_an_unknown_size_gives_no_figures() -> None:
    assert size_of(Planned("org/new", None, None)) is None
    assert size_of(Remote("openai/gpt-4o")) is None
    work = Training(None, Recipe(), tokens=100, learnt=10, batch_tokens=10, row_tokens=10)
    assert (gpu_hours(work, A100), memory_of(work)) == (None, None)
    assert cpu_seconds(work, 1e9) == START_S


def test_a_dry_run_of_a_model_that_is_not_here_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "meta-llama/Llama-3.1-8B-Instruct"
    plan = _plan(Planned(name, None, known(name)))
    monkeypatch.setattr(estimate, "make_plan", lambda _, **__: plan)
    found = dry_run(_study(), tmp_path, flops=1e11)
    assert [model.name for model in found.downloads] == [name]
    train, ask, judge = found.lines
    assert isinstance(train.work, Training)
    assert train.work.size == size(name)
    assert train.work.tokens == 2 * (14 + 3)
    assert train.work.learnt == 2 * 2
    assert train.work.batch_tokens == 2 * (14 + 3)
    assert train.seconds == pytest.approx(START_S + 4 * 6_979_321_856 * 34 / (1e11 * 0.35))
    assert isinstance(ask.work, Answering)
    assert (ask.work.prompts, ask.work.limit) == (1, 48)
    assert judge.work is None
    assert found.memory == pytest.approx(1.5 + 12 * 8_029_995_008 / 2**30, rel=1e-3)


def test_a_dry_run_of_an_unknown_model_lists_its_steps_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(estimate, "make_plan", lambda _, **__: _plan(Planned("org/new", "v1", None)))
    found = dry_run(_study(), tmp_path, flops=1e11)
    assert len(found.lines) == 3
    assert found.lines[0].work is not None
    assert found.lines[0].work.size is None
    assert found.memory == 1.5


def test_what_an_align_step_makes_has_the_size_of_its_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    plan = _plan(Planned(name, None, known(name)))
    source = Source(None, "align-1", None, "align-1")
    align = AlignStep("align-1", "align", plan.train[0].source.given, Recipe(), [])
    monkeypatch.setattr(
        estimate,
        "make_plan",
        lambda _, **__: plan._replace(align=[align], train=[plan.train[0]._replace(source=source)], logs=[]),
    )
    found = dry_run(_study(), tmp_path, flops=1e11)
    assert found.lines[1].work is not None
    assert found.lines[1].work.size == size(name)
    assert [model.name for model in found.downloads] == [name]


def _study() -> Study:
    return Study.model_validate({"arms": [{"name": "tuned", "stage": "tuned", "task": "translation"}]})


def _plan(model: Planned) -> Plan:
    """A plan as ``make_plan`` makes it, of one trained arm and one question."""
    source = Source(model, None, None, "identity")
    rows = [
        Conversation(
            id=str(i), messages=[Message(role="user", content="abcd"), Message(role="assistant", content="efghijkl")]
        )
        for i in range(2)
    ]
    arm = Arm.model_validate({"name": "tuned", "stage": "tuned", "task": "translation"})
    answers = AnswerStep("answers-1", "tuned, probes", arm, source, "native", "none", [(None, "How?")], 48)
    log = LogStep("log-1", "tuned, probes", arm, source, "native", "none", "probe", None, answers, [], 48)
    return Plan([], [TrainStep("train-1", "train tuned", source, Recipe(), rows, 0)], [answers], [log], [])
