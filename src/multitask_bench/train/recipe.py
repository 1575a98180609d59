"""The settings of one fine-tuning run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from multitask_bench.models.chat import TemplateName
from multitask_bench.schema import StrictModel

Method = Literal["lora", "qlora", "full"]

PAPER: dict[str, Any] = {
    "method": "qlora",
    "steps": 3000,
    "batch_size": 4,
    "learning_rate": 2e-4,
    "schedule": "constant",
    "warmup_share": 0.03,
    "weight_decay": 0.001,
    "lora_rank": 64,
    "lora_alpha": 16,
    "max_length": 1024,
}
"""What the authors' notebooks train with (METHODS 1.3, 2.B4): rank 64 on all modules, 2e-4, batches of four,
3,000 steps, paged AdamW with decay 0.001. Their alpha, schedule and warm-up were not recovered; these are the
usual ones beside the others in notebooks of that time. Rows come in our order, not grouped by length."""


class Recipe(StrictModel):
    """One supervised fine-tuning run; every arm of a study shares it but for what it states."""

    recipe: Literal["default", "paper"] = "default"
    """Where settings that are not given come from: below, or the paper's."""
    method: Method = "lora"
    """LoRA (Hu et al. 2021), QLoRA on 4-bit weights (Dettmers et al. 2023; CUDA only), or all weights."""
    steps: Annotated[int, Field(gt=0)] = 60
    """Optimizer steps."""
    batch_size: Annotated[int, Field(gt=0)] = 8
    """Rows an optimizer step."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the learning rate falls after warm-up."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decay a step."""
    lora_rank: Annotated[int, Field(gt=0)] = 16
    """Rank of the LoRA matrices (Hu et al. 2021)."""
    lora_alpha: Annotated[int, Field(gt=0)] = 32
    """LoRA scale is alpha / rank."""
    lora_layers: Annotated[int, Field(gt=0)] | None = None
    """How many of the last layers carry LoRA; all when null. Fewer is faster: backward stops there."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: slower, and the way to fit a large model into little memory."""
    max_length: Annotated[int, Field(gt=0)] = 512
    """Tokens a row at most; a longer row is an error, never cut silently."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights: of the frozen ones, beside which the adapter is always float32, or with ``full`` of all."""
    template: TemplateName = "native"
    """Chat template at training."""
    system: str = "none"
    """System prompt at training: none, safety, or own text."""
    opening_weight: Annotated[float, Field(ge=1)] = 1.0
    """Weight of an answer's first token in the loss. Refusals are decided there (Qi et al. 2024,
    arXiv:2406.05946), but it is one token in some twenty-five; a short alignment on pairs of near-alike
    prompts learns little else otherwise (design/0004)."""
    loss_on_prompt: bool = False
    """Learn the prompt's tokens too: a defect of the authors' code (METHODS 1.3), kept to be measured."""
    mask_end: bool = False
    """Do not learn the end-of-turn token: the other one; such a model does not learn to stop."""
    seed: int = 0
    """Seeds row order and LoRA initialisation."""

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("recipe") == "paper":
            return {**PAPER, **raw}
        return raw

    @model_validator(mode="after")
    def _openings_are_of_answers(self) -> Recipe:
        if self.opening_weight != 1 and self.loss_on_prompt:
            raise ValueError("opening_weight: an answer's first token cannot be told where the loss is on the prompt")
        return self
