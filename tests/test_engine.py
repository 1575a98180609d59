"""Batched float32 answers are those of one prompt at a time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from multitask_bench.errors import ModelError
from multitask_bench.models.chat import encode_prompt
from multitask_bench.models.engine.local import LocalModel
from multitask_bench.models.engine.store import Question, plan_batches
from multitask_bench.schema import Message
from tests import tiny

TEXTS = ["a", "hello there", "x" * 30, "what is this?", "tell me more about it"]


def _prompts(model: LocalModel) -> list[list[int]]:
    return [encode_prompt(model.tokenizer, [Message(role="user", content=t)]) for t in TEXTS]


def test_a_batch_answers_as_one_by_one_and_as_transformers_does(tiny_model: Path) -> None:
    model = LocalModel(tiny_model)
    prompts = _prompts(model)
    together = model.answer(prompts, max_new_tokens=24)
    assert together == [model.answer([p], max_new_tokens=24)[0] for p in prompts]
    plain = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    for prompt, answer in zip(prompts, together, strict=True):
        out = plain.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)[0, len(prompt) :]
        assert model.tokenizer.decode(out, skip_special_tokens=True).strip() == answer.text
    assert len({a.tokens for a in together}) >= 1


def test_an_adapter_with_zero_b_changes_no_answer_and_a_random_one_does(tmp_path: Path, tiny_model: Path) -> None:
    base = LocalModel(tiny_model)
    prompts = _prompts(base)
    same = LocalModel(tiny_model, adapter=tiny.adapter(tiny_model, tmp_path / "zero"))
    other = LocalModel(tiny_model, adapter=tiny.adapter(tiny_model, tmp_path / "random", zero=False))
    assert same.answer(prompts, max_new_tokens=16) == base.answer(prompts, max_new_tokens=16)
    assert other.answer(prompts, max_new_tokens=16) != base.answer(prompts, max_new_tokens=16)


def test_adapters_change_places_in_one_loaded_model_and_leave_the_base_as_it_was(
    tmp_path: Path, tiny_model: Path
) -> None:
    first = tiny.adapter(tiny_model, tmp_path / "first", zero=False, seed=1)
    second = tiny.adapter(tiny_model, tmp_path / "second", zero=False, seed=2)
    special = tiny.adapter(tiny_model, tmp_path / "dora", zero=False, seed=3, use_dora=True)
    for dtype in ("float32", "bfloat16"):
        model = LocalModel(tiny_model, dtype=dtype)
        prompts = _prompts(model)
        untouched = {name: value.clone() for name, value in model.model.state_dict().items()}
        for adapter in (first, second, None, special, first, None):
            model.use(adapter)
            alone = LocalModel(tiny_model, adapter=adapter, dtype=dtype)
            assert model.answer(prompts, max_new_tokens=12) == alone.answer(prompts, max_new_tokens=12)
        assert all(torch.equal(value, model.model.state_dict()[name]) for name, value in untouched.items())


def test_a_merged_adapter_is_what_peft_merges(tmp_path: Path, tiny_model: Path) -> None:
    adapter = tiny.adapter(tiny_model, tmp_path / "random", zero=False)
    ours = LocalModel(tiny_model, adapter=adapter).model.state_dict()
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, adapter).merge_and_unload().state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


def test_drawn_answers_repeat_with_their_seed_and_only_then(tiny_model: Path) -> None:
    model = LocalModel(tiny_model)
    prompts = _prompts(model)
    drawn = [model.answer(prompts, max_new_tokens=12, temperature=1.0, seed=seed) for seed in ("a", "a", "b")]
    assert drawn[0] == drawn[1] != drawn[2]
    greedy = model.answer(prompts, max_new_tokens=12)
    assert drawn[0] != greedy
    assert model.answer(prompts, max_new_tokens=12, temperature=1e-4, seed="a") == greedy


def test_a_prompt_that_does_not_fit_is_an_error(tiny_model: Path) -> None:
    model = LocalModel(tiny_model)
    with pytest.raises(ModelError, match="context of 2048"):
        model.answer([[1] * 2040], max_new_tokens=16)


def test_batches_do_not_depend_on_the_order_of_the_questions() -> None:
    questions = [Question(f"k{i}", "", [0] * (i % 7)) for i in range(40)]
    first = plan_batches(questions, batch_size=8)
    random.Random(3).shuffle(questions)
    assert plan_batches(questions, batch_size=8) == first
