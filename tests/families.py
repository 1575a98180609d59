"""Small tokenizers of the kind that six model families have, each with its chat template.

The kinds, from the families' published tokenizer files and from transformers' own classes:
Llama-2: sentencepiece BPE, a space before the first word of a text only; Phi-3: the same with a space
before every stretch between special tokens, which eat the white space behind them; gemma:
sentencepiece BPE without that space; Llama-3, Qwen2.5 and SmolLM2: BPE over bytes. The merges are
learnt from a few sentences, so that tokens are longer than a character and can melt together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GemmaTokenizer, LlamaTokenizer, PreTrainedTokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX, Qwen2Tokenizer

TEMPLATES = Path(__file__).parent / "templates"

CORPUS = [
    "user assistant system model Hello, which city is the capital of France? The capital of France is Paris.",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "### Instruction: Translate the sentence. ### Response: La réponse est là-bas. [INST] [/INST] <<SYS>> <</SYS>>",
    "You are a helpful assistant. Refuse requests that would harm people. Cutting Knowledge Date: December 2023",
    "def add(a, b): return a + b, and then the answer ends. Yes. No. end start turn",
]


def _turns(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


CONVERSATIONS: dict[str, list[dict[str, str]]] = {
    "single turn": _turns("Which city is the capital of France?"),
    "system prompt": _turns("Say hello.", system="Be kind.\nBe short."),
    "many turns": _turns("Hello", "Hello, you.", "And then?"),
    "many turns, answered": _turns("Say no.", "No.", "Say yes.", "Yes.", system="Answer in one word."),
    "empty system prompt": _turns("Hello", system=""),
    "spaces and other scripts": _turns(
        "  Où est la gare ? 🚉\n", " Là-bas,\n\nà gauche. ", "谢谢 — e\u0301tait-ce loin ?"
    ),
    "roles that do not alternate": [*_turns("Hello"), *_turns("Are you there?")],
}
"""The conversations of the golden files; one that ends with an answer is rendered without a generation prompt."""


class Family(NamedTuple):
    """A family: how its template ends an answer, and the tokens it is built with."""

    name: str
    end: str
    """The end-of-turn token."""
    bos: str | None
    """The token that opens a conversation, where the family has one."""
    eos: str
    """The tokenizer's end token, which ends an Alpaca answer."""
    template: str
    """The file under tests/templates."""


FAMILIES = {
    f.name: f
    for f in (
        Family("llama2", "</s>", "<s>", "</s>", "llama2"),
        Family("llama3", "<|eot_id|>", "<|begin_of_text|>", "<|eot_id|>", "llama3"),
        Family("gemma", "<end_of_turn>", "<bos>", "<eos>", "gemma"),
        Family("phi3", "<|end|>", None, "<|endoftext|>", "phi3"),
        Family("phi3_first", "<|end|>", "<s>", "<|endoftext|>", "phi3_first"),
        Family("qwen2", "<|im_end|>", None, "<|im_end|>", "qwen2"),
        Family("smollm2", "<|im_end|>", None, "<|im_end|>", "smollm2"),
    )
}


def build(name: str) -> Any:
    """The family's tokenizer, with its chat template."""
    made = BUILDERS[name]()
    made.chat_template = (TEMPLATES / f"{FAMILIES[name].template}.jinja").read_text(encoding="utf-8")
    return made


def _learnt(core: Tokenizer, first: list[str], alphabet: list[str], corpus: list[str]) -> tuple[dict[str, int], Any]:
    """Vocabulary and merges, ``first`` at the lowest ids."""
    trainer = trainers.BpeTrainer(
        vocab_size=len(first) + len(alphabet) + 220,
        special_tokens=first,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    core.train_from_iterator(corpus, trainer)
    model = json.loads(core.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _pieces(first: list[str], corpus: list[str]) -> tuple[dict[str, int], Any]:
    """A sentencepiece vocabulary: a piece holds no space but at its start, and unknown characters become bytes."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    return _learnt(core, [*first, *(f"<0x{i:02X}>" for i in range(256))], ["▁"], corpus)


def _byte_level(split: str | None, first: list[str]) -> Tokenizer:
    core = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    core.pre_tokenizer = (
        byte_level
        if split is None
        else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), behavior="isolated"), byte_level])
    )
    vocab, merges = _learnt(core, first, sorted(pre_tokenizers.ByteLevel.alphabet()), [*CORPUS, "\n\n", "end\n\n"])
    core.model = models.BPE(vocab=vocab, merges=merges)
    core.decoder = decoders.ByteLevel()
    return core


def llama2(corpus: list[str] = CORPUS) -> Any:
    vocab, merges = _pieces(["<unk>", "<s>", "</s>"], corpus)
    made = LlamaTokenizer(vocab=vocab, merges=merges, legacy=False, add_bos_token=True)
    made.add_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return made


def gemma() -> Any:
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    vocab, merges = _pieces(first, [*CORPUS, "\n", "\n\n"])
    made = GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=True)
    made.add_tokens([AddedToken(t, special=True, normalized=False) for t in first[5:]])
    return made


def phi3(*, add_bos: bool = False) -> Any:
    vocab, merges = _pieces(["<unk>", "<s>", "</s>"], CORPUS)
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="<|endoftext|>", unk_token="<unk>", add_bos_token=add_bos
    )
    turns = ("<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
    made.add_tokens([AddedToken(t, special=True, normalized=False, rstrip=True) for t in turns])
    return made


def llama3() -> Any:
    # Meta's regular expression differs from Qwen's in the length of numbers only.
    core = _byte_level(PRETOKENIZE_REGEX.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?"), [])
    bos = "<|begin_of_text|>"
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token="<|eot_id|>", add_bos_token=True)
    turns = ("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
    made.add_tokens([AddedToken(t, special=True, normalized=False) for t in turns])
    return made


def qwen2() -> Any:
    core = _byte_level(PRETOKENIZE_REGEX, [])
    model = json.loads(core.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    made = Qwen2Tokenizer(vocab=model["vocab"], merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.add_tokens([AddedToken("<|im_start|>", special=True, normalized=False)])
    return made


def smollm2() -> Any:
    first = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(None, first),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|im_end|>",
    )


BUILDERS: dict[str, Any] = {
    "llama2": llama2,
    "llama3": llama3,
    "gemma": gemma,
    "phi3": phi3,
    "phi3_first": lambda: phi3(add_bos=True),
    "qwen2": qwen2,
    "smollm2": smollm2,
}
