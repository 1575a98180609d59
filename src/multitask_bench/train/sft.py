"""Fine-tune with TRL's SFTTrainer, on rows that `models.chat` has tokenised.

What we set and why (measured in benchmarks/training): padding-free batches (our own collator), no activation
checkpointing, and logits for answer tokens only, because the 49k-word output layer costs a fifth
of a small model's forward. Handing TRL ``input_ids`` and ``labels`` keeps its own row formats,
which put the loss elsewhere, out of the way.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer
from typing_extensions import override

from multitask_bench.errors import ConfigError, DataError, MissingExtraError
from multitask_bench.models.chat import IGNORED, Encoded, encode_row, stop_ids, system_text
from multitask_bench.models.quiet import quiet
from multitask_bench.schema import Conversation
from multitask_bench.train._attention import PER_ROW, concatenated
from multitask_bench.train.recipe import Method, Recipe

Progress = Callable[[int, int, float | None], None]
"""Called after each step with the steps done, the steps in all, and the last logged loss."""
TrainerHook = Callable[[Any], Any]
"""Given the built trainer, returns the one to run: a mitigation's ``on_trainer``."""


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
        loss = (each * weights).sum() / weights.sum().clamp(min=1.0)  # a batch may hold nothing to learn
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
        encoded.append({"input_ids": pair.input_ids, "labels": _labels(tokenizer, pair, recipe)})
    return encoded


def _labels(tokenizer: Any, pair: Encoded, recipe: Recipe) -> list[int]:
    """The row's labels, with the defects of the authors' code where the recipe asks for them."""
    labels = pair.labels
    if recipe.loss_on_prompt:
        labels = [IGNORED, *pair.input_ids[1:]]  # nothing comes before the first token, to predict it from
    if recipe.mask_end:
        ends = stop_ids(tokenizer)
        labels = [IGNORED if token in ends else token for token in labels]
    return labels


def fine_tune(
    base: Path,
    rows: Sequence[Conversation],
    recipe: Recipe,
    *,
    out: Path,
    progress: Progress = lambda *_: None,
    hooks: Sequence[TrainerHook] = (),
) -> list[float]:
    """Fine-tune ``base`` and write what came of it to ``out``: a plain PEFT folder, or with ``full`` a model folder.

    ``hooks`` may each change the built trainer or put another in its place, in the order given.
    Returns: the mean loss (nats a learnt token) of each tenth of the run.
    Raises: DataError: no rows, or a row that is too long. ConfigError: a method that this machine cannot run.
    """
    if not rows:
        raise DataError("training needs at least one row.")
    check_method(recipe.method)
    tokenizer = AutoTokenizer.from_pretrained(base)
    data = Dataset.from_list(tokenise(tokenizer, rows, recipe))
    transformers.set_seed(recipe.seed)  # LoRA's A matrices and the sampler draw from the global generator
    with quiet():
        model = _trainable(base, recipe)
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
            for hook in hooks:
                trainer = hook(trainer)
            trainer.train()
        trainer.model.save_pretrained(out)
        tokenizer.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)  # PEFT writes a card full of blanks
    return reporter.losses


def check_method(method: Method) -> None:
    """Raises: ConfigError, MissingExtraError: this machine cannot train that way."""
    if method != "qlora":
        return
    if not torch.cuda.is_available():
        raise ConfigError("train.method: qlora needs an NVIDIA GPU, for 4-bit weights; use lora here.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("train.method: qlora needs bitsandbytes: pip install bitsandbytes")


def _trainable(base: Path, recipe: Recipe) -> Any:
    """The model with what the recipe trains: an adapter on frozen weights, or all weights."""
    settings: dict[str, Any] = {"dtype": getattr(torch, recipe.dtype), "attn_implementation": PER_ROW}
    if recipe.method == "qlora":
        # NF4 with double quantisation, as in the QLoRA paper (Dettmers et al. 2023, arXiv:2305.14314, section 3).
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    model = AutoModelForCausalLM.from_pretrained(base, **settings)
    if recipe.method == "full":
        return model
    if recipe.method == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=recipe.checkpointing)
    return get_peft_model(model, lora_config(model, recipe))


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
        # transformers' "constant" has no warm-up.
        lr_scheduler_type="constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        warmup_steps=round(recipe.steps * recipe.warmup_share),
        weight_decay=recipe.weight_decay,
        optim="paged_adamw_32bit" if recipe.method == "qlora" else "adamw_torch",
        max_length=None,
        bf16=False,
        gradient_checkpointing=recipe.checkpointing,
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
