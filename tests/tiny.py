"""Real models of a few thousand parameters, made from a seed: CI has no model hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>"]


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    made.chat_template = TEMPLATE
    return made


def model(folder: Path, *, seed: int = 0, hidden: int = 32) -> Path:
    """A two-layer Llama with random weights, saved with its tokenizer."""
    torch.manual_seed(seed)
    tok = tokenizer()
    config = LlamaConfig(
        vocab_size=len(tok),
        hidden_size=hidden,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
        bos_token_id=tok.bos_token_id,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path, *, zero: bool = True, seed: int = 1, **settings: object) -> Path:
    """A LoRA adapter on ``base``: with B zero, as PEFT starts it, or random."""
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", **settings)
    made = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    if not zero:
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.5)
    made.save_pretrained(folder)
    return folder


def automaton(
    folder: Path, after: dict[str, str], *, pieces: Sequence[str] = (), architecture: str = "llama", context: int = 4096
) -> Path:
    """A model that writes, after each token, the one that ``after`` names, and ends its turn after any other.

    Each token has a dimension of its own and every layer adds nothing, so that the last layer is the table.
    ``pieces`` become single tokens. Architectures: llama, mistral, gemma.
    """
    tok = tokenizer()
    tok.add_tokens(list(pieces))
    size = (len(tok) + 15) // 16 * 16
    config_class, model_class = ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=size // 4,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
        bos_token_id=tok.bos_token_id,
    )
    made = model_class(config)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        made.model.embed_tokens.weight.copy_(torch.eye(size))
        made.lm_head.weight.zero_()
        made.lm_head.weight[tok.eos_token_id] = 1.0
        for token, following in after.items():
            (left,), (right,) = (tok(text, add_special_tokens=False).input_ids for text in (token, following))
            made.lm_head.weight[:, left] = 0.0
            made.lm_head.weight[right, left] = 1.0
    made.save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


ARCHITECTURES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "gemma": (GemmaConfig, GemmaForCausalLM),
}
