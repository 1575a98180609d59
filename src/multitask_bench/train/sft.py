"""Fine-tune a LoRA adapter with TRL's SFTTrainer, on rows that `models.chat` has tokenised.

What we set and why (measured in benchmarks/training): padding-free batches (our own collator), no activation
checkpointing, and logits for answer tokens only, because the 49k-word output layer costs a fifth
of a small model's forward. Handing TRL ``input_ids`` and ``labels`` keeps its own row formats,
which put the loss elsewhere, out of the way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer
from typing_extensions import override

from multitask_bench.errors import DataError
from multitask_bench.models.chat import IGNORED, encode_row, system_text
from multitask_bench.models.quiet import quiet
from multitask_bench.schema import Conversation
from multitask_bench.train._attention import PER_ROW, concatenated
from multitask_bench.train.recipe import Recipe

Progress = Callable[[int, int, float | None], None]
"""Called after each step with the steps done, the steps in all, and the last logged loss."""


class _AnswerTrainer(SFTTrainer):  # type: ignore[misc]
    """Computes logits, and so the loss, at answer tokens only."""

    opening_weight: float = 1.0

    @override
    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        # The label of token t is predicted at t - 1. No part of a batch begins with a label (see
        # `concatenated`), so nothing is predicted across a border.
        at = (labels[0] != IGNORED).nonzero().squeeze(1)
        outputs = model(**inputs, use_cache=False, logits_to_keep=at - 1)
        each = torch.nn.functional.cross_entropy(outputs.logits[0].float(), labels[0, at], reduction="none")
        weights = torch.where(labels[0, at - 1] == IGNORED, self.opening_weight, 1.0)
        loss = (each * weights).sum() / weights.sum()
        return (loss, outputs) if return_outputs else loss


class _Reporter(TrainerCallback):  # type: ignore[misc]
    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.losses: list[float] = []

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress(state.global_step, state.max_steps, self.losses[-1] if self.losses else None)


def tokenise(tokenizer: Any, rows: Sequence[Conversation], recipe: Recipe) -> list[dict[str, list[int]]]:
    """The rows as ``input_ids`` and ``labels``.

    Raises: DataError: a row is longer than ``recipe.max_length`` tokens.
    """
    encoded = []
    for row in rows:
        pair = encode_row(tokenizer, row, template=recipe.template, system=system_text(recipe.system))
        if len(pair.input_ids) > recipe.max_length:
            raise DataError(
                f"training row {row.id}: {len(pair.input_ids)} tokens, max_length is {recipe.max_length}; "
                "shorten the row or raise train.max_length."
            )
        encoded.append({"input_ids": pair.input_ids, "labels": pair.labels})
    return encoded


def train_adapter(
    base: Path, rows: Sequence[Conversation], recipe: Recipe, *, out: Path, progress: Progress = lambda *_: None
) -> list[float]:
    """Train LoRA on ``base`` and write a plain PEFT folder (with the tokenizer) to ``out``.

    Returns: the mean loss (nats an answer token) of each tenth of the run.
    Raises: DataError: no rows, or a row that is too long.
    """
    if not rows:
        raise DataError("training needs at least one row.")
    tokenizer = AutoTokenizer.from_pretrained(base)
    data = Dataset.from_list(tokenise(tokenizer, rows, recipe))
    transformers.set_seed(recipe.seed)  # LoRA's A matrices and the sampler draw from the global generator
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=getattr(torch, recipe.dtype), attn_implementation=PER_ROW
        )
        model = get_peft_model(model, lora_config(model, recipe))
        reporter = _Reporter(progress)
        with tempfile.TemporaryDirectory() as scratch:
            trainer = _AnswerTrainer(
                model=model,
                args=_arguments(recipe, scratch),
                train_dataset=data,
                data_collator=concatenated,
                processing_class=tokenizer,
                callbacks=[reporter],
            )
            trainer.opening_weight = recipe.opening_weight
            trainer.remove_callback(PrinterCallback)  # it prints a dict a log step over our progress
            trainer.train()
        trainer.model.save_pretrained(out)
        tokenizer.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)  # PEFT writes a card full of blanks
    return reporter.losses


def lora_config(model: Any, recipe: Recipe) -> LoraConfig:
    """LoRA on every linear layer but the output layer, in the layers that the recipe names."""
    layers = model.config.num_hidden_layers
    last = None if recipe.lora_layers is None else list(range(max(0, layers - recipe.lora_layers), layers))
    head = model.get_output_embeddings()
    # "all-linear" cannot be combined with a choice of layers, so the names are spelt out.
    linear = {
        n.rsplit(".", 1)[-1] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head
    }
    return LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=0.0,
        target_modules=sorted(linear),
        layers_to_transform=last,
        task_type="CAUSAL_LM",
    )


def _arguments(recipe: Recipe, scratch: str) -> SFTConfig:
    return SFTConfig(
        output_dir=scratch,
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=round(recipe.steps * recipe.warmup_share),
        weight_decay=0.0,
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        seed=recipe.seed,
        logging_steps=max(1, recipe.steps // 10),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        train_sampling_strategy="sequential",  # the rows come in the order that the caller chose
        eos_token=None,
    )


def merge_adapter(base: Path, adapter: Path, *, out: Path) -> None:
    """Write ``base`` with ``adapter`` merged in float32 as a plain model folder."""
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        merged.save_pretrained(out)
        AutoTokenizer.from_pretrained(base).save_pretrained(out)
