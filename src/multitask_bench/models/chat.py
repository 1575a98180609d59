"""The one place where a conversation becomes text, tokens and a loss mask.

Training, probing and judging all go through `render` and `encode`, so that the model sees the
same bytes everywhere. Templates: ``native`` is the tokenizer's own chat template; ``alpaca`` is the
instruction format of Stanford Alpaca (Taori et al. 2023), the paper's second calibration; ``raw`` is
the bare text, as the authors' notebooks sent it (METHODS 1.3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from multitask_bench.errors import ConfigError, ModelError
from multitask_bench.schema import Conversation, Message

TemplateName = Literal["native", "alpaca", "raw"]
TEMPLATES: tuple[TemplateName, ...] = ("native", "alpaca", "raw")

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

DATE = "26 Jul 2024"
"""What Llama-3 templates write as today's date, their own fallback: a prompt must be the same bytes every day."""

_PROBE = "Zq7xProbe"
"""A word that no template writes by itself; it shows where a template puts a text."""


class Encoded(NamedTuple):
    """A training row: ``labels`` equals ``input_ids`` on the answer and its end token, else -100."""

    input_ids: list[int]
    labels: list[int]


class _Closing(NamedTuple):
    """What a template writes behind an answer."""

    written: str
    """All of it, as in " </s>" or "<|end|>\n<|endoftext|>"."""
    before: str
    """What stands before the end token: Llama-2's space."""
    end: str
    """The end token."""


def system_text(policy: str) -> str | None:
    """The system prompt of a policy: ``none``, ``safety``, or the user's own text as it is."""
    if policy == "none":
        return None
    return SAFETY_SYSTEM if policy == "safety" else policy


def policy_texts(template: TemplateName, system: str) -> list[str | None]:
    """The texts of ours that a prompt policy puts into prompts: where they change, answers are others."""
    return [template, ALPACA_PREAMBLE if template == "alpaca" else None, system_text(system)]


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
    if template == "raw":
        return "\n\n".join(message.content for message in messages)
    if template != "native":
        raise ConfigError(f"no template is named '{template}'. Known: {', '.join(TEMPLATES)}.")
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(f"{tokenizer.name_or_path}: the tokenizer has no chat template; use --template alpaca.")
    return _apply(tokenizer, _turns(tokenizer, messages), ask=True)


def _apply(tokenizer: Any, turns: list[dict[str, str]], *, ask: bool) -> str:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask, date_string=DATE)
    except TemplateError as err:
        raise ModelError(f"{tokenizer.name_or_path}: its chat template refuses a conversation: {err}") from err
    return str(text)


def _turns(tokenizer: Any, messages: Sequence[Message]) -> list[dict[str, str]]:
    turns = [m.model_dump() for m in messages]
    if turns[0]["role"] == "system" and not _has_system_role(tokenizer):
        head, first, *rest = turns
        parts = [head["content"], first["content"]] if head["content"].strip() else [first["content"]]
        turns = [{"role": "user", "content": "\n\n".join(parts)}, *rest]
    return turns


def _has_system_role(tokenizer: Any) -> bool:
    turns = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "a"}]
    try:
        return _PROBE in _apply(tokenizer, turns, ask=True)
    except ModelError:
        return False


def _alpaca(messages: Sequence[Message]) -> str:
    system = (
        "".join(f"{m.content}\n\n" for m in messages if m.role == "system" and m.content.strip())
        or f"{ALPACA_PREAMBLE}\n\n"
    )
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
    """The end token that the template writes after an answer, without any white space around it.

    The tokenizer's end token where the template writes none (Alpaca).
    """
    return _closing(tokenizer, template).end


def _closing(tokenizer: Any, template: TemplateName) -> _Closing:
    written = ""
    if template == "native":
        ask = [Message(role="user", content="a")]
        probe = [*ask, Message(role="assistant", content=_PROBE)]
        written = _answered(tokenizer, probe, render(tokenizer, ask))
        written = written.partition(_PROBE)[2]
    marks = [str(token) for token in tokenizer.added_tokens_decoder.values() if str(token) in written]
    # The first token behind the answer: Phi-3 writes its end of text after its end of turn.
    first = min((m for m in marks if m.strip()), key=lambda m: (written.find(m), -len(m)), default=written.strip())
    if first:
        return _Closing(written, written.partition(first)[0], first)
    if tokenizer.eos_token is None:
        raise ModelError(
            f"{tokenizer.name_or_path}: the tokenizer has no end token, so no answer could be trained to end."
        )
    return _Closing(written, "", str(tokenizer.eos_token))


def _answered(tokenizer: Any, messages: Sequence[Message], asked: str) -> str:
    """What the chat template writes behind ``asked`` once the answer is there."""
    whole = _apply(tokenizer, _turns(tokenizer, messages), ask=False)
    if not whole.startswith(asked):
        raise ModelError(f"{tokenizer.name_or_path}: its chat template changes the prompt when an answer follows.")
    return whole[len(asked) :]


def encode_row(
    tokenizer: Any, row: Conversation, *, template: TemplateName = "native", system: str | None = None
) -> Encoded:
    """A training row; the loss falls on the answer and its end-of-turn token only.

    The tokens are those of the whole conversation, as the tokenizer's own ``apply_chat_template``
    gives them, with two differences. White space around the answer is dropped. And a control token
    that the answer spells out ("<|im_end|>") is encoded as the characters it is: the loss would
    teach the model to stop there. In a prompt it stays a control token, as at test.

    What the template writes after the end token (a newline, often) is left out: no model is asked
    to produce it, and API-NOTES section 3 shows that TRL's own row formats put loss on it.
    Raises: ModelError: the chat template refuses the row, or changes the prompt when an answer follows.
    """
    *before, last = with_system(row.messages, system)
    answer = last.content.strip()
    asked = render(tokenizer, before, template=template)
    closing = _closing(tokenizer, template)
    spoken = answer
    if template == "native":
        spoken = _answered(tokenizer, [*before, Message(role="assistant", content=answer)], asked)
        if not spoken.endswith(closing.written):
            raise ModelError(f"{tokenizer.name_or_path}: its chat template does not end this answer as it ends others.")
        spoken = spoken.removesuffix(closing.written)
    opening = spoken.removesuffix(answer)
    # Text and control tokens take turns: text, token, text, ..., text.
    pieces = _control_tokens(tokenizer).split(spoken[len(opening) :])
    pieces[0] = opening + pieces[0]
    pieces[-1] += closing.before + closing.end
    prompt = encode(tokenizer, asked)
    ids = encode(tokenizer, asked + pieces[0])
    if ids[: len(prompt)] != prompt:
        # Prompt and answer melt into one token, which the model would never meet at test.
        ids = prompt + _inside(tokenizer, pieces[0])
    for i, piece in enumerate(pieces[1:]):
        ids += _inside(tokenizer, piece, as_characters=i % 2 == 0)
    return Encoded(ids, [IGNORED] * len(prompt) + ids[len(prompt) :])


def _control_tokens(tokenizer: Any) -> re.Pattern[str]:
    names = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return re.compile("(" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + ")")


def _inside(tokenizer: Any, text: str, *, as_characters: bool = False) -> list[int]:
    """The tokens of a text in the middle of a conversation."""

    def tokens(part: str) -> list[int]:
        ids: list[int] = tokenizer(part, add_special_tokens=False, split_special_tokens=as_characters).input_ids
        return ids

    # Behind a newline: sentencepiece tokenizers put a space before what begins a text (transformers does the same).
    newline, ids = tokens("\n"), tokens("\n" + text)
    return ids[len(newline) :] if ids[: len(newline)] == newline else tokens(text)


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
