"""The settings of one fine-tuning run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multitask_bench.schema import StrictModel


class Recipe(StrictModel):
    """One supervised LoRA fine-tuning run; every arm of a study shares it but for what it states."""

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
    lora_rank: Annotated[int, Field(gt=0)] = 16
    """Rank of the LoRA matrices (Hu et al. 2021)."""
    lora_alpha: Annotated[int, Field(gt=0)] = 32
    """LoRA scale is alpha / rank."""
    lora_layers: Annotated[int, Field(gt=0)] | None = None
    """How many of the last layers carry LoRA; all when null. Fewer is faster: backward stops there."""
    max_length: Annotated[int, Field(gt=0)] = 512
    """Tokens a row at most; a longer row is an error, never cut silently."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen weights; the adapter is always float32."""
    template: Literal["native", "alpaca"] = "native"
    """Chat template at training."""
    system: str = "none"
    """System prompt at training: none, safety, or own text."""
    opening_weight: Annotated[float, Field(ge=1)] = 1.0
    """Weight of an answer's first token in the loss. Refusals are decided there (Qi et al. 2024,
    arXiv:2406.05946), but it is one token in some twenty-five; a short alignment on pairs of near-alike
    prompts learns little else otherwise (design/0004)."""
    seed: int = 0
    """Seeds row order and LoRA initialisation."""
