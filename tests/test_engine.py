"""Batched float32 answers are those of one prompt at a time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
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


def test_a_prompt_that_does_not_fit_is_an_error(tiny_model: Path) -> None:
    model = LocalModel(tiny_model)
    with pytest.raises(ModelError, match="context of 2048"):
        model.answer([[1] * 2040], max_new_tokens=16)


def test_batches_do_not_depend_on_the_order_of_the_questions() -> None:
    questions = [Question(f"k{i}", "", [0] * (i % 7)) for i in range(40)]
    first = plan_batches(questions, batch_size=8)
    random.Random(3).shuffle(questions)
    assert plan_batches(questions, batch_size=8) == first
