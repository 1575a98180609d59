"""The one place where a conversation becomes text, tokens and a loss mask.

Training, probing and judging all go through `render` and `encode`, so that the model sees the
same bytes everywhere. Templates: ``native`` is the tokenizer's own chat template; ``alpaca`` is the
instruction format of Stanford Alpaca (Taori et al. 2023), the paper's second calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from multitask_bench.errors import ConfigError, ModelError
from multitask_bench.schema import Conversation, Message

TemplateName = Literal["native", "alpaca"]
TEMPLATES: tuple[TemplateName, ...] = ("native", "alpaca")

SAFETY_SYSTEM = (
    "You are a helpful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Refuse requests that would harm people."
)
"""Our own short wording in the spirit of the Llama-2 default prompt that the authors tried (METHODS 1.1)."""

ALPACA_PREAMBLE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)
IGNORED = -100
"""The label that the loss skips (torch's cross_entropy default)."""


class Encoded(NamedTuple):
    """A training row: ``labels`` equals ``input_ids`` on the answer and its end token, else -100."""

    input_ids: list[int]
    labels: list[int]


def system_text(policy: str) -> str | None:
    """The system prompt of a policy: ``none``, ``safety``, or the user's own text as it is."""
    if policy == "none":
        return None
    return SAFETY_SYSTEM if policy == "safety" else policy


def with_system(messages: Sequence[Message], system: str | None) -> tuple[Message, ...]:
    """``messages`` with the system prompt in front, unless they bring their own."""
    if system is None or messages[0].role == "system":
        return tuple(messages)
    return (Message(role="system", content=system), *messages)


def render(tokenizer: Any, messages: Sequence[Message], *, template: TemplateName = "native") -> str:
    """The text up to the point where the assistant starts to answer.

    A system prompt of a model without a system role (gemma) is put in front of the first user
    turn, as its authors advise.
    Raises: ModelError: the tokenizer has no chat template and ``native`` was asked for.
    """
    if template == "alpaca":
        return _alpaca(messages)
    if template != "native":
        raise ConfigError(f"no template is named '{template}'. Known: {', '.join(TEMPLATES)}.")
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(f"{tokenizer.name_or_path}: the tokenizer has no chat template; use --template alpaca.")
    turns = [m.model_dump() for m in messages]
    if turns[0]["role"] == "system" and not _has_system_role(tokenizer, turns):
        head, first, *rest = turns
        turns = [{"role": "user", "content": f"{head['content']}\n\n{first['content']}"}, *rest]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _has_system_role(tokenizer: Any, turns: list[dict[str, str]]) -> bool:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(turns[:2], tokenize=False, add_generation_prompt=True)
    except TemplateError:
        return False
    return turns[0]["content"].strip() in text


def _alpaca(messages: Sequence[Message]) -> str:
    system = "".join(f"{m.content}\n\n" for m in messages if m.role == "system") or f"{ALPACA_PREAMBLE}\n\n"
    names = {"user": "Instruction", "assistant": "Response"}
    turns = "".join(f"### {names[m.role]}:\n{m.content}\n\n" for m in messages if m.role != "system")
    return f"{system}{turns}### Response:\n"


def _adds_bos(tokenizer: Any, text: str) -> bool:
    bos = tokenizer.bos_token
    if bos is None or text.startswith(bos):
        return False
    return bool(tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id])


def encode(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a rendered text, with exactly one BOS where the tokenizer wants one."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return [tokenizer.bos_token_id, *ids] if _adds_bos(tokenizer, text) else ids


def encode_prompt(tokenizer: Any, messages: Sequence[Message], *, template: TemplateName = "native") -> list[int]:
    """The tokens that a model is given before it answers."""
    return encode(tokenizer, render(tokenizer, messages, template=template))


def end_of_turn(tokenizer: Any, *, template: TemplateName = "native") -> str:
    """What the template writes right after an answer, without the white space that follows it.

    The tokenizer's end token where the template writes none (Alpaca).
    """
    if template == "alpaca":
        return str(tokenizer.eos_token)
    probe = [Message(role="user", content="a"), Message(role="assistant", content="b")]
    asked = render(tokenizer, probe[:1])
    whole = str(tokenizer.apply_chat_template([m.model_dump() for m in probe], tokenize=False))
    if not whole.startswith(asked):
        raise ModelError(f"{tokenizer.name_or_path}: its chat template changes the prompt when an answer follows.")
    return whole[len(asked) :].strip()[1:].strip() or str(tokenizer.eos_token)


def encode_row(
    tokenizer: Any, row: Conversation, *, template: TemplateName = "native", system: str | None = None
) -> Encoded:
    """A training row; the loss falls on the answer and its end-of-turn token only.

    What the template writes after that token (a newline, often) is left out: no model is asked
    to produce it, and API-NOTES section 3 shows that TRL's own row formats put loss on it.
    Raises: ModelError: the tokens of prompt and answer cannot be told apart.
    """
    messages = with_system(row.messages, system)
    prompt = encode_prompt(tokenizer, messages[:-1], template=template)
    answer = messages[-1].content.strip() + end_of_turn(tokenizer, template=template)
    ids: list[int] = tokenizer(answer, add_special_tokens=False).input_ids
    return Encoded([*prompt, *ids], [IGNORED] * len(prompt) + ids)


def stop_ids(tokenizer: Any, generation_config: Any = None) -> frozenset[int]:
    """The tokens that end an answer: end of text, end of turn, and the model's own list."""
    ids: set[int] = set()
    configured = getattr(generation_config, "eos_token_id", None)
    ids.update([configured] if isinstance(configured, int) else configured or [])
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    if getattr(tokenizer, "chat_template", None):
        turn = tokenizer(end_of_turn(tokenizer), add_special_tokens=False).input_ids
        if len(turn) == 1:
            ids.add(turn[0])
    return frozenset(ids)
