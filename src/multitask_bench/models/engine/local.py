"""A local model that answers batches of token prompts.

float32 is the reference: there a batch gives the same greedy tokens as one prompt at a time.
The loop is ours, not ``generate``'s, for two reasons measured in benchmarks/probing: rows that
have ended leave the batch instead of being padded to the longest answer, and the tokens that all
prompts share (the chat template's system prompt) are computed once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from multitask_bench.errors import ModelError
from multitask_bench.models.chat import IGNORED, Encoded, stop_ids
from multitask_bench.models.load import ADAPTER_WEIGHTS, WEIGHTS, adapter_config, tensor_shapes
from multitask_bench.models.quiet import quiet
from multitask_bench.records import digest

Chooser = Callable[[torch.Tensor], torch.Tensor]


class Answer(NamedTuple):
    """What a model said; ``truncated`` when it was cut before its end-of-turn token."""

    text: str
    tokens: int
    truncated: bool


class Loss(NamedTuple):
    """What a row's labelled tokens cost: their summed negative log-probability in nats, and how many they are."""

    nats: float
    tokens: int


class LocalModel:
    """A causal language model in memory, with at most one adapter merged into its weights.

    `use` changes the adapter without loading the base again: the adapters of a study are probed one after
    the other in one loaded model. Merged, because an adapter that is computed beside its base costs every
    token a tenth (API-NOTES section 4).
    """

    def __init__(self, folder: Path, *, adapter: Path | None = None, dtype: str = "float32") -> None:
        self.folder, self.dtype = folder, getattr(torch, dtype)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._replaced: dict[torch.nn.Module, torch.Tensor] = {}
        with quiet():
            self.tokenizer = load_tokenizer(folder)
        self.adapter: Path | None = None
        self.model: Any = self._loaded(None)
        self.use(adapter)
        self.stops = stop_ids(self.tokenizer, self.model.generation_config)
        self.context: int = self.model.config.max_position_embeddings

    def use(self, adapter: Path | None) -> None:
        """Answer with ``adapter`` from now on, or with the base alone; the base's own weights come back exactly."""
        if adapter == self.adapter:
            return
        comes_off = adapter is None or is_plain_lora(adapter)
        if not comes_off or (self.adapter is not None and not is_plain_lora(self.adapter)):
            self.model = self._loaded(None if comes_off else adapter)
        for module, weight in self._replaced.items():
            module.weight.data = weight.to(self.device)
        self._replaced = self._merged(adapter) if comes_off and adapter is not None else {}
        self.adapter = adapter

    def _loaded(self, adapter: Path | None) -> Any:
        self._replaced = {}
        with quiet():
            # Merging in float32 and casting after loses less than merging in bfloat16.
            dtype = torch.float32 if adapter else self.dtype
            model = AutoModelForCausalLM.from_pretrained(self.folder, dtype=dtype)
            if adapter is not None:
                model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        return model.to(device=self.device, dtype=self.dtype).eval()

    def _merged(self, adapter: Path) -> dict[torch.nn.Module, torch.Tensor]:
        """Add a plain LoRA adapter to the weights.

        Returns: the modules that changed, each with the weight it had before.
        """
        with quiet(), torch.no_grad():
            peft = PeftModel.from_pretrained(self.model, adapter)
            before: dict[torch.nn.Module, torch.Tensor] = {}
            stored = _Stored(self.folder) if self.dtype is not torch.float32 else None
            for name, layer in peft.base_model.model.named_modules():
                if not isinstance(layer, LoraLayer):
                    continue
                linear = layer.get_base_layer()
                exact = stored.weight(f"{name}.weight") if stored else None
                exact = linear.weight.data if exact is None else exact.to(self.device)
                before[linear] = linear.weight.data.cpu()  # beside a GPU, whose memory is needed
                delta = layer.get_delta_weight(layer.active_adapters[0]).float()
                linear.weight.data = (exact.float() + delta).to(self.dtype)
            self.model = peft.unload()
        return before

    def check_length(self, tokens: int, *, max_new_tokens: int) -> None:
        """Raises: ModelError: prompt and answer do not fit into the context."""
        if tokens + max_new_tokens > self.context:
            raise ModelError(
                f"the prompt has {tokens} tokens; with {max_new_tokens} new ones it exceeds the context "
                f"of {self.context}."
            )

    def answer(
        self, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, temperature: float = 0.0, seed: str = ""
    ) -> list[Answer]:
        """Answers, one a prompt, in order: greedy, or at a temperature drawn with ``seed``.

        Raises: ModelError: a prompt that does not fit into the context.
        """
        for prompt in prompts:
            self.check_length(len(prompt), max_new_tokens=max_new_tokens)
        with torch.inference_mode():
            tokens = self._decoded(prompts, max_new_tokens, _chooser(temperature, seed, self.device))
        answers = []
        for ids in tokens:
            ended = bool(ids) and ids[-1] in self.stops
            text = self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True)
            answers.append(Answer(text.strip(), len(ids), not ended))
        return answers

    def loss_of(self, rows: Sequence[Encoded], *, batch_size: int = 16) -> list[Loss]:
        """The loss of each row on its labels (`models.chat.encode_row`), in order.

        Raises: ModelError: a row that does not fit into the context.
        """
        for row in rows:
            self.check_length(len(row.input_ids), max_new_tokens=0)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i].input_ids))
        found: dict[int, Loss] = {}
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                found |= zip(batch, self._losses([rows[i] for i in batch]), strict=True)
        return [found[i] for i in range(len(rows))]

    def _losses(self, rows: Sequence[Encoded]) -> list[Loss]:
        width = max(len(row.input_ids) for row in rows)
        # Right padding: nothing is generated, and what stands before a pad does not see it.
        ids = torch.full((len(rows), width), min(self.stops), device=self.device)
        labels = torch.full((len(rows), width), IGNORED, device=self.device)
        for i, row in enumerate(rows):
            ids[i, : len(row.input_ids)] = torch.tensor(row.input_ids, device=self.device)
            labels[i, : len(row.labels)] = torch.tensor(row.labels, device=self.device)
        mask = torch.tensor([[j < len(row.input_ids) for j in range(width)] for row in rows], device=self.device)
        logits = self.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[:, :-1]
        nats = torch.nn.functional.cross_entropy(
            logits.float().transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
        )
        counts = (labels[:, 1:] != IGNORED).sum(-1)
        return [Loss(*pair) for pair in zip(nats.sum(-1).tolist(), counts.tolist(), strict=True)]

    def _decoded(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, choose: Chooser) -> list[list[int]]:
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
            chosen = choose(step.logits[:, -1])
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


def _chooser(temperature: float, seed: str, device: str) -> Chooser:
    """Logits of shape (rows, vocabulary) -> the next token of each row."""
    if temperature == 0.0:
        return lambda logits: logits.argmax(-1)
    generator = torch.Generator(device).manual_seed(int(digest(seed)[:15], 16))

    def drawn(logits: torch.Tensor) -> torch.Tensor:
        shares = torch.softmax(logits.float() / temperature, dim=-1)
        return torch.multinomial(shares, 1, generator=generator).squeeze(1)

    return drawn


class _Stored:
    """The weights of a model folder as they lie on disk, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / WEIGHTS[1]
        self.files: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"] if index.is_file() else {}

    def weight(self, name: str) -> torch.Tensor | None:
        """The tensor of that name, on the CPU; None where the file knows it by another name."""
        path = self.folder / self.files.get(name, WEIGHTS[0])
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118  not a mapping


def is_plain_lora(adapter: Path) -> bool:
    """Whether an adapter is nothing but low-rank matrices beside linear layers, so that it comes off exactly."""
    settings = adapter_config(adapter)
    # Each of these makes the layer compute more than x(W + scale BA), or reaches weights that are tied to others.
    special = ["use_dora", "modules_to_save", "trainable_token_indices", "target_parameters", "lora_bias"]
    special += ["alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config"]
    names = tensor_shapes(adapter / ADAPTER_WEIGHTS)
    return (
        settings.get("peft_type") == "LORA"
        and settings.get("bias", "none") == "none"
        and not any(settings.get(key) for key in special)
        and all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names)
        and not any(outer in name for name in names for outer in ("lm_head", "embed_tokens"))
    )


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
