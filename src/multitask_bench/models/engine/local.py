"""A local model that answers batches of token prompts greedily.

float32 is the reference: there a batch gives the same greedy tokens as one prompt at a time.
The loop is ours, not ``generate``'s, for two reasons measured in benchmarks/probing: rows that
have ended leave the batch instead of being padded to the longest answer, and the tokens that all
prompts share (the chat template's system prompt) are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from multitask_bench.errors import ModelError
from multitask_bench.models.chat import stop_ids
from multitask_bench.models.quiet import quiet


class Answer(NamedTuple):
    """What a model said; ``truncated`` when it was cut before its end-of-turn token."""

    text: str
    tokens: int
    truncated: bool


class LocalModel:
    """A causal language model in memory, with at most one adapter merged into its weights."""

    def __init__(self, folder: Path, *, adapter: Path | None = None, dtype: str = "float32") -> None:
        with quiet():
            self.tokenizer = load_tokenizer(folder)
            # Merging in float32 and casting after loses less than merging in bfloat16.
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            if adapter is not None:
                model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model: Any = model.to(device=device, dtype=getattr(torch, dtype)).eval()
        self.device = device
        self.stops = stop_ids(self.tokenizer, self.model.generation_config)
        self.context: int = self.model.config.max_position_embeddings

    def check_length(self, tokens: int, *, max_new_tokens: int) -> None:
        """Raises: ModelError: prompt and answer do not fit into the context."""
        if tokens + max_new_tokens > self.context:
            raise ModelError(
                f"the prompt has {tokens} tokens; with {max_new_tokens} new ones it exceeds the context "
                f"of {self.context}."
            )

    def answer(self, prompts: Sequence[Sequence[int]], *, max_new_tokens: int) -> list[Answer]:
        """Greedy answers, one a prompt, in order.

        Raises: ModelError: a prompt that does not fit into the context.
        """
        for prompt in prompts:
            self.check_length(len(prompt), max_new_tokens=max_new_tokens)
        with torch.inference_mode():
            tokens = self._greedy(prompts, max_new_tokens)
        answers = []
        for ids in tokens:
            ended = bool(ids) and ids[-1] in self.stops
            text = self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True)
            answers.append(Answer(text.strip(), len(ids), not ended))
        return answers

    def _greedy(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[list[int]]:
        shared = _shared_prefix(prompts)
        cache = DynamicCache(config=self.model.config)
        if shared:
            prefix = torch.tensor([prompts[0][:shared]], device=self.device)
            self.model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(prompts))
        ids, mask = _left_padded([prompt[shared:] for prompt in prompts], pad=min(self.stops), device=self.device)
        position = shared + (mask.cumsum(-1) - 1).clamp(min=0)
        mask = torch.cat([mask.new_ones(len(prompts), shared), mask], dim=1)
        out: list[list[int]] = [[] for _ in prompts]
        alive = list(range(len(prompts)))
        for _ in range(max_new_tokens):
            step = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            chosen = step.logits[:, -1].argmax(-1)
            for row, token in zip(alive, chosen.tolist(), strict=True):
                out[row].append(token)
            keep = [i for i, token in enumerate(chosen.tolist()) if token not in self.stops]
            if not keep:
                break
            if len(keep) < len(alive):
                index = torch.tensor(keep, device=self.device)
                cache.batch_select_indices(index)
                chosen, mask, position = chosen[index], mask[index], position[index]
                alive = [alive[i] for i in keep]
            ids, position = chosen[:, None], position[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        return out


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder."""
    return AutoTokenizer.from_pretrained(folder)


def _shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all prompts share, leaving at least one token to each."""
    limit = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    for i in range(limit):
        if any(prompt[i] != first[i] for prompt in prompts):
            return i
    return max(limit, 0)


def _left_padded(rows: Sequence[Sequence[int]], *, pad: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, device=device)
    mask = torch.zeros((len(rows), width), dtype=torch.long, device=device)
    for i, row in enumerate(rows):
        # Left padding: with right padding a decoder-only model continues from a pad token.
        ids[i, width - len(row) :] = torch.tensor(row, device=device)
        mask[i, width - len(row) :] = 1
    return ids, mask
