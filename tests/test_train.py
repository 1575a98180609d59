"""Training moves the model towards its rows, on the reference alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from multitask_bench.errors import ConfigError, DataError
from multitask_bench.mitigations import mitigations
from multitask_bench.models.chat import IGNORED, encode_row
from multitask_bench.models.engine.local import LocalModel
from multitask_bench.records import file_digest
from multitask_bench.schema import Conversation, Message
from multitask_bench.study import rows
from multitask_bench.study.safety_set import SafetySet, safety_rows
from multitask_bench.train.recipe import Recipe
from multitask_bench.train.sft import fine_tune, merge_adapter

RECIPE = Recipe(steps=12, batch_size=4, learning_rate=2e-2, lora_rank=8, warmup_share=0)


def _says(answer: str, n: int = 8) -> list[Conversation]:
    turns = [
        (Message(role="user", content=f"question {i}"), Message(role="assistant", content=answer)) for i in range(n)
    ]
    return [Conversation(id=str(i), messages=t) for i, t in enumerate(turns)]


def _log_probability(folder: Path, row: Conversation) -> float:
    pair = encode_row(AutoTokenizer.from_pretrained(folder), row)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(torch.tensor([pair.input_ids])).logits[0].log_softmax(-1)
    at = [i for i, label in enumerate(pair.labels) if label != IGNORED]
    return sum(float(logits[i - 1, pair.labels[i]]) for i in at)


def test_training_raises_the_probability_of_the_trained_answer_and_leaves_the_base(
    tiny_model: Path, tmp_path: Path
) -> None:
    before = file_digest(tiny_model / "model.safetensors")
    fine_tune(tiny_model, _says("no"), RECIPE, out=tmp_path / "a")
    merge_adapter(tiny_model, tmp_path / "a", out=tmp_path / "m")
    row = _says("no")[0]
    assert _log_probability(tmp_path / "m", row) > _log_probability(tiny_model, row) + 1
    assert file_digest(tiny_model / "model.safetensors") == before


@pytest.mark.parametrize("way", ["_row_by_row", "_all_at_once"])
@pytest.mark.parametrize("alike", [True, False])
def test_a_batch_has_the_loss_and_gradient_of_separate_rows(
    tiny_model: Path, way: str, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multitask_bench.train import _attention
    from multitask_bench.train._attention import PER_ROW, concatenated

    monkeypatch.setattr(_attention, "_row_by_row", getattr(_attention, way))  # on a CPU either may be asked

    tok = AutoTokenizer.from_pretrained(tiny_model)
    pairs = [encode_row(tok, row) for row in [*_says("no", 3), *_says("a longer answer", 2)]]
    if not alike:
        pairs = [
            pairs[0],
            *(p._replace(input_ids=p.input_ids[i:], labels=p.labels[i:]) for i, p in enumerate(pairs, 1)),
        ]
    batch = concatenated([p._asdict() for p in pairs])
    assert (batch["cu_seq_lens_q"][1] > 5) == alike  # whether the rows share a start
    assert (batch["input_ids"].numel() < sum(len(p.input_ids) for p in pairs)) == alike

    def loss_and_gradient(*, joined: bool) -> tuple[float, torch.Tensor]:
        model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation=PER_ROW if joined else "sdpa")
        inputs = (
            [{k: v for k, v in batch.items() if k != "labels"}]
            if joined
            else [{"input_ids": torch.tensor([p.input_ids])} for p in pairs]
        )
        labels = [batch["labels"][0]] if joined else [torch.tensor(p.labels) for p in pairs]
        total = torch.zeros(())
        for one, label in zip(inputs, labels, strict=True):
            at = (label != IGNORED).nonzero().squeeze(1)
            logits = model(**one, use_cache=False).logits[0, at - 1]
            total = total + torch.nn.functional.cross_entropy(logits, label[at], reduction="sum")
        total.backward()
        return float(total.detach()), model.model.layers[0].self_attn.k_proj.weight.grad

    joined, separate = loss_and_gradient(joined=True), loss_and_gradient(joined=False)
    assert joined[0] == pytest.approx(separate[0], rel=1e-5)
    assert torch.allclose(joined[1], separate[1], atol=1e-4)


def test_the_loss_is_the_mean_over_answer_tokens_with_the_opening_weighted(tiny_model: Path, tmp_path: Path) -> None:
    row = _says("a longer answer", 1)[0]
    pair = encode_row(AutoTokenizer.from_pretrained(tiny_model), row)
    logits = AutoModelForCausalLM.from_pretrained(tiny_model)(torch.tensor([pair.input_ids])).logits[0].log_softmax(-1)
    each = [-float(logits[i - 1, label].detach()) for i, label in enumerate(pair.labels) if label != IGNORED]
    for weight in (1.0, 10.0):
        recipe = RECIPE.model_copy(update={"steps": 1, "batch_size": 1, "opening_weight": weight})
        (found,) = fine_tune(tiny_model, [row], recipe, out=tmp_path / str(weight))
        wanted = (weight * each[0] + sum(each[1:])) / (weight + len(each) - 1)
        assert found == pytest.approx(wanted, rel=1e-4)


def test_the_same_seed_gives_the_same_adapter_to_the_last_bit(tiny_model: Path, tmp_path: Path) -> None:
    for name in "ab":
        fine_tune(tiny_model, _says("no"), RECIPE, out=tmp_path / name)
    first, second = (file_digest(tmp_path / n / "adapter_model.safetensors") for n in "ab")
    assert first == second


def test_a_tuned_model_without_its_adapter_answers_as_aligned_and_not_as_the_base(
    tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    fine_tune(tiny_model, _says("no"), RECIPE.model_copy(update={"steps": 40}), out=tmp_path / "align")
    merge_adapter(tiny_model, tmp_path / "align", out=tmp_path / "aligned")
    fine_tune(tmp_path / "aligned", _says("yes"), RECIPE, out=tmp_path / "tuned")
    aligned = AutoModelForCausalLM.from_pretrained(tmp_path / "aligned").eval()
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "aligned"), tmp_path / "tuned")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad(), tuned.disable_adapter():
        off = tuned.eval()(ids).logits
    with torch.no_grad():
        assert torch.equal(off, aligned(ids).logits)
        assert not torch.allclose(off, AutoModelForCausalLM.from_pretrained(tiny_model)(ids).logits)
    assert LocalModel(tmp_path / "aligned", adapter=tmp_path / "tuned") is not None


def test_a_row_that_is_too_long_is_an_error_and_never_cut(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="max_length is 20"):
        fine_tune(tiny_model, _says("no"), RECIPE.model_copy(update={"max_length": 20}), out=tmp_path / "a")


def test_the_safety_mix_keeps_the_number_of_rows_and_pairs_each_refusal_with_its_twin() -> None:
    rows_ = rows.task_rows("translation", count=80, mitigation={"safety_mix": {"share": 0.1}}, seed=0)
    kinds = [r.kind for r in rows_]
    assert (len(rows_), kinds.count("safety"), kinds.count("twin")) == (80, 8, 8)
    twins = {r.id for r in rows_ if r.kind == "twin"}
    assert twins == {r.id.replace(".harm.", ".twin.") for r in rows_ if r.kind == "safety"}


def test_too_large_a_share_is_an_error() -> None:
    mix = mitigations.make("safety_mix", {"share": 0.6})
    import random

    with pytest.raises(ConfigError, match="Lower the share"):
        mix.on_data(_says("a", 20), safety_rows(SafetySet.model_validate({})), rng=random.Random(0))
