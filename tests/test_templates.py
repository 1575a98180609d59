"""Our tokens are those of the tokenizer's own chat template, and the loss falls on the answer and its end token.

The golden files under tests/templates were rendered by the families' real templates (each .jinja file
says where it was read), the .jinja files are ours: text and template check each other.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError

from multitask_bench.errors import ModelError
from multitask_bench.models import chat
from multitask_bench.models.chat import IGNORED, SAFETY_SYSTEM, encode, encode_prompt, encode_row, end_of_turn, stop_ids
from multitask_bench.records import cache_folder
from multitask_bench.schema import Conversation, Message
from tests import families
from tests.families import CONVERSATIONS, FAMILIES, TEMPLATES, build

NO_SYSTEM_ROLE = {"gemma", "phi3_first"}
REAL = {"llama3": "llama3_1", "gemma": "gemma", "phi3": "phi3", "qwen2": "qwen2_5"}
"""The real templates that TRL carries."""
ANSWERS = {
    "plain": "The capital is Paris.",
    "one letter": "b",
    "white space around it": "\n  Paris, of course. \n\n",
    "several lines": "First:\n\n  1. Paris\n\tParis\n",
    "other scripts": "été — 巴黎 🚉 e\u0301",
    "starts with a sign": ") and [then]",
    "empty": "",
}

every_family = pytest.mark.parametrize("name", FAMILIES)


def _messages(turns: list[dict[str, str]]) -> tuple[Message, ...]:
    return tuple(Message.model_validate(turn) for turn in turns)


def _row(*turns: dict[str, str]) -> Conversation:
    return Conversation(id="r", messages=_messages(list(turns)))


def _asked(answer: str, *, system: str | None = None, question: str = "Hello, which city?") -> list[dict[str, str]]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


def _own(tok: Any, turns: list[dict[str, str]], **settings: bool) -> list[int]:
    """The ids of the tokenizer's own path; a system prompt that it refuses or drops stands in the first user turn."""
    if turns[0]["role"] == "system" and "IFSYSTEM" not in _text(
        tok, [{"role": "system", "content": "IFSYSTEM"}, turns[1]]
    ):
        joined = f"{turns[0]['content']}\n\n{turns[1]['content']}" if turns[0]["content"] else turns[1]["content"]
        turns = [{"role": "user", "content": joined}, *turns[2:]]
    asks = turns[-1]["role"] != "assistant"
    made = tok.apply_chat_template(turns, tokenize=True, add_generation_prompt=asks, return_dict=True, **settings)
    return list(made["input_ids"])


def _text(tok: Any, turns: list[dict[str, str]]) -> str:
    try:
        return str(
            tok.apply_chat_template(turns, tokenize=False, add_generation_prompt=turns[-1]["role"] != "assistant")
        )
    except TemplateError:
        return ""


def _learnt(tok: Any, labels: list[int]) -> str:
    return str(tok.decode([i for i in labels if i != IGNORED], skip_special_tokens=False))


def test_every_template_has_its_golden_file_and_its_family() -> None:
    used = {f.template for f in FAMILIES.values()}
    assert used == {p.stem for p in TEMPLATES.glob("*.jinja")} == {p.stem for p in TEMPLATES.glob("*.json")}
    assert len(used) >= 6


@every_family
def test_the_template_writes_the_golden_text(name: str) -> None:
    golden = json.loads((TEMPLATES / f"{FAMILIES[name].template}.json").read_text(encoding="utf-8"))
    assert list(golden) == list(CONVERSATIONS)
    tok = build(name)
    assert {key: _text(tok, turns) or None for key, turns in CONVERSATIONS.items()} == golden


@pytest.mark.parametrize("name", REAL)
def test_the_real_template_writes_the_golden_text(name: str) -> None:
    """TRL carries the real templates of four families."""
    trl = importlib.util.find_spec("trl")
    assert trl is not None
    assert trl.origin is not None
    path = Path(trl.origin).parent / "chat_templates" / f"{REAL[name]}.jinja"
    if not path.is_file():
        pytest.skip("this TRL carries no such template")
    tok = build(name)
    tok.chat_template = path.read_text(encoding="utf-8")
    golden = json.loads((TEMPLATES / f"{FAMILIES[name].template}.json").read_text(encoding="utf-8"))
    assert {key: _text(tok, turns) or None for key, turns in CONVERSATIONS.items()} == golden


@every_family
@pytest.mark.parametrize("conversation", [k for k, v in CONVERSATIONS.items() if v[-1]["role"] == "user"])
def test_a_prompt_has_the_tokens_of_the_tokenizers_own_template(name: str, conversation: str) -> None:
    tok, turns = build(name), CONVERSATIONS[conversation]
    golden = json.loads((TEMPLATES / f"{FAMILIES[name].template}.json").read_text(encoding="utf-8"))
    if golden[conversation] is None and turns[0]["role"] != "system":
        with pytest.raises(ModelError, match="refuses a conversation"):
            encode_prompt(tok, _messages(turns))
        return
    assert encode_prompt(tok, _messages(turns)) == _own(tok, turns)


@every_family
@pytest.mark.parametrize("system", [None, "Be kind.", SAFETY_SYSTEM, ""])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
def test_a_row_has_the_tokens_of_the_tokenizers_own_template(name: str, system: str | None, answer: str) -> None:
    tok, family = build(name), FAMILIES[name]
    turns = _asked(answer, system=system)
    row = encode_row(tok, _row(*turns))
    # White space around an answer is dropped, whether or not the template drops it.
    own = _own(tok, _asked(answer.strip(), system=system))
    assert row.input_ids == own[: len(row.input_ids)]
    end = tok.convert_tokens_to_ids(family.end)
    assert row.input_ids[-1] == end
    assert end not in own[len(row.input_ids) :]  # it is the end of the last turn, not of an earlier one


@every_family
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
def test_the_loss_covers_exactly_the_answer_and_its_end_token(name: str, answer: str) -> None:
    tok, turns = build(name), _asked(answer, system="Be kind.")
    row = encode_row(tok, _row(*turns))
    prompt = encode_prompt(tok, _messages(turns[:-1]))
    assert row.input_ids[: len(prompt)] == prompt
    assert row.labels == [IGNORED] * len(prompt) + row.input_ids[len(prompt) :]
    expected = answer.strip() + (" " if name == "llama2" else "") + FAMILIES[name].end
    if name == "qwen2":
        expected = expected.replace("e\u0301", "é")  # its normalizer composes characters
    assert _learnt(tok, row.labels).removeprefix(" ") == expected.removeprefix(" ")


@every_family
def test_a_conversation_begins_with_one_bos_where_the_family_has_one(name: str) -> None:
    tok, bos = build(name), FAMILIES[name].bos
    for system in (None, "Be kind."):
        ids = encode_row(tok, _row(*_asked("Yes.", system=system))).input_ids
        if bos is None:
            assert tok.decode(ids[:1]) not in ("<s>", "<|endoftext|>")
            assert name == "smollm2" or tok.bos_token_id is None or tok.bos_token_id not in ids
        else:
            assert ids.count(tok.convert_tokens_to_ids(bos)) == 1
            assert ids[0] == tok.convert_tokens_to_ids(bos)


@pytest.mark.parametrize("name", [n for n, f in FAMILIES.items() if f.bos])
def test_a_bos_that_the_template_writes_is_not_doubled_by_the_tokenizer(name: str) -> None:
    tok, turns = build(name), _messages([{"role": "user", "content": "Hello"}])
    text = chat.render(tok, turns)
    assert tok(text).input_ids[:2] == [tok.bos_token_id] * 2  # the trap: template and tokenizer both write one
    assert encode(tok, text)[:2].count(tok.bos_token_id) == 1


@pytest.mark.parametrize("name", [n for n, f in FAMILIES.items() if f.bos])
def test_a_bos_that_only_the_tokenizer_writes_is_kept(name: str) -> None:
    tok = build(name)
    tok.chat_template = "{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ '\n' }}{% endfor %}"
    ids = encode_prompt(tok, _messages([{"role": "user", "content": "Hello"}]))
    assert ids == tok("user: Hello\n").input_ids
    assert ids.count(tok.bos_token_id) == 1


@every_family
@pytest.mark.parametrize("system", [None, "Be kind.", ""])
def test_an_alpaca_row_has_one_bos_and_ends_with_the_end_token(name: str, system: str | None) -> None:
    tok, family = build(name), FAMILIES[name]
    turns = _asked(" Paris. ", system=system)
    row = encode_row(tok, _row(*turns), template="alpaca")
    text = chat.render(tok, _messages(turns[:-1]), template="alpaca")
    assert text.startswith("Be kind.\n\n###" if system else "Below is an instruction")
    # With its special tokens, as a user of the plain tokenizer would encode the text.
    assert row.input_ids == tok(text + "Paris." + family.eos).input_ids
    assert _learnt(tok, row.labels).removeprefix(" ") == "Paris." + family.eos
    assert row.labels[-1] == tok.eos_token_id
    if family.bos:
        assert row.input_ids[0] == tok.bos_token_id
        assert row.input_ids.count(tok.bos_token_id) == 1


@every_family
def test_only_the_last_answer_of_many_turns_carries_loss(name: str) -> None:
    tok = build(name)
    turns = [*_asked("No.", system="Answer in one word."), *_asked("Yes.", question="Sure?")]
    row = encode_row(tok, _row(*turns))
    assert row.input_ids == _own(tok, turns)[: len(row.input_ids)]
    assert tok.decode(row.input_ids).count(FAMILIES[name].end) >= 2
    assert _learnt(tok, row.labels).split() == f"Yes.{' ' if name == 'llama2' else ''}{FAMILIES[name].end}".split()


@every_family
def test_the_safety_prompt_is_in_the_prompt_that_is_trained_on_and_probed_with(name: str) -> None:
    tok, turns = build(name), _asked("No.")
    trained = encode_row(tok, _row(*turns), system=chat.system_text("safety"))
    asked = encode_prompt(tok, chat.with_system(_messages(turns[:-1]), chat.system_text("safety")))
    assert trained.input_ids[: len(asked)] == asked
    assert SAFETY_SYSTEM in tok.decode(asked)
    assert trained.input_ids == encode_row(tok, _row(*_asked("No.", system=SAFETY_SYSTEM))).input_ids


@pytest.mark.parametrize("name", sorted(NO_SYSTEM_ROLE))
def test_a_system_prompt_without_a_role_stands_before_the_first_question(name: str) -> None:
    tok = build(name)
    text = chat.render(tok, _messages(_asked("", system="Hello")[:-1]))
    # Also where the question holds the prompt's words, and an empty prompt leaves no trace.
    assert "Hello\n\nHello, which city?" in text
    plain = chat.render(tok, _messages(_asked("")[:-1]))
    assert chat.render(tok, _messages(_asked("", system=" ")[:-1])) == plain


@every_family
def test_a_control_token_in_an_answer_is_characters_and_in_a_prompt_a_token(name: str) -> None:
    """The loss must not teach the model to stop in mid-answer; a prompt is encoded as at test."""
    tok, end = build(name), FAMILIES[name].end
    answer = f"Write {end} to end a turn, or{end}."
    row = encode_row(tok, _row(*_asked(answer)))
    learnt = [i for i in row.labels if i != IGNORED]
    assert [i for i in learnt if i in tok.all_special_ids or i == tok.convert_tokens_to_ids(end)] == learnt[-1:]
    assert tok.decode(learnt).replace(" ", "") == (answer + end).replace(" ", "")
    # Newer versions of transformers have a setting for it, with the same tokens.
    if "sanitize_control_tokens" in inspect.signature(tok.apply_chat_template).parameters:
        own = _own(tok, _asked(answer), sanitize_control_tokens=True)
        assert row.input_ids == own[: len(row.input_ids)]
    turns = _asked("Yes.", question=f"What is {end}?")
    prompt = encode_prompt(tok, _messages(turns[:-1]))
    assert prompt == _own(tok, turns[:-1])
    assert prompt.count(tok.convert_tokens_to_ids(end)) == _own(tok, _asked("")[:-1]).count(row.input_ids[-1]) + 1
    assert encode_row(tok, _row(*turns)).input_ids[: len(prompt)] == prompt


@every_family
def test_generation_stops_at_the_end_of_turn_and_at_the_end_token(name: str) -> None:
    tok, family = build(name), FAMILIES[name]
    assert end_of_turn(tok) == family.end
    assert stop_ids(tok) == {tok.convert_tokens_to_ids(family.end), tok.convert_tokens_to_ids(family.eos)}


def test_an_answer_that_would_melt_into_the_prompt_keeps_the_prompts_tokens() -> None:
    """A template without a space behind [/INST], and a vocabulary with the piece "]."."""
    tok = families.llama2([*families.CORPUS, *["[/INST]. [/INST]."] * 20])
    tok.chat_template = "{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else m.content + '</s>' }}{% endfor %}"
    turns = _asked(". Yes.")
    prompt = encode_prompt(tok, _messages(turns[:-1]))
    assert tok(chat.render(tok, _messages(turns[:-1])) + ".").input_ids[: len(prompt)] != prompt  # the trap
    row = encode_row(tok, _row(*turns))
    assert row.input_ids[: len(prompt)] == prompt
    assert tok.convert_ids_to_tokens(row.input_ids)[len(prompt)] == "."
    assert _learnt(tok, row.labels) == ". Yes.</s>"


def test_a_template_that_writes_before_the_answer_puts_it_in_the_loss() -> None:
    tok = build("qwen2")
    tok.chat_template = (
        (TEMPLATES / "qwen2.jinja")
        .read_text()
        .replace(
            "turn.role ~ '\\n' ~",
            "turn.role ~ '\\n' ~ ('<think>\\n\\n</think>\\n\\n' if turn.role == 'assistant' else '') ~",
        )
    )
    row = encode_row(tok, _row(*_asked("Yes.")))
    assert _learnt(tok, row.labels) == "<think>\n\n</think>\n\nYes.<|im_end|>"
    assert end_of_turn(tok) == "<|im_end|>"


def test_a_template_that_ends_no_turn_gets_the_end_token() -> None:
    tok = build("qwen2")
    tok.chat_template = "{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ '\n' }}{% endfor %}{{ 'assistant:' if add_generation_prompt }}"
    row = encode_row(tok, _row(*_asked("Yes.")))
    assert _learnt(tok, row.labels) == " Yes.<|im_end|>"


def test_a_template_that_changes_the_prompt_is_refused() -> None:
    tok = build("qwen2")
    tok.chat_template = "{{ messages | length }}: {% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(ModelError, match="changes the prompt"):
        encode_row(tok, _row(*_asked("Yes.")))


def test_a_template_that_does_not_end_every_answer_is_refused() -> None:
    tok = build("qwen2")
    tok.chat_template = "{% for m in messages %}{{ m.content }}{{ '<|im_end|>' if m.content != 'Yes.' }}{% endfor %}"
    with pytest.raises(ModelError, match="does not end this answer"):
        encode_row(tok, _row(*_asked("Yes.")))


@every_family
def test_a_raw_row_has_one_bos_at_most_and_ends_with_the_end_token(name: str) -> None:
    tok, family = build(name), FAMILIES[name]
    row = encode_row(tok, _row(*_asked("Paris.")), template="raw")
    prompt = tok("Hello, which city?").input_ids
    assert row.input_ids[: len(prompt)] == prompt
    assert _learnt(tok, row.labels).removeprefix(" ") == "Paris." + family.eos
    assert row.input_ids.count(tok.bos_token_id) == (1 if family.bos else 0)


def test_a_tokenizer_without_an_end_token_trains_no_alpaca_row() -> None:
    tok = build("qwen2")
    tok.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        encode_row(tok, _row(*_asked("Yes.")), template="alpaca")


def test_a_llama_prompt_is_the_same_on_any_day() -> None:
    tok = build("llama3")
    tok.chat_template = tok.chat_template.replace("'26 Jul 2024'", "strftime_now('%d %b %Y')")
    assert "Today Date: 26 Jul 2024\n" in chat.render(tok, _messages(_asked("")[:-1]))


# Looked up at import: every test has a cache folder of its own.
DEMO = next(iter(sorted(cache_folder().glob("models/SmolLM2-*/tokenizer.json"))), None)


@pytest.mark.skipif(DEMO is None, reason="the demo model has not been converted on this machine")
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
def test_the_demo_models_real_tokenizer_and_template_agree_with_ours(answer: str) -> None:
    from multitask_bench.models.engine.local import load_tokenizer

    assert DEMO is not None
    tok = load_tokenizer(DEMO.parent)
    golden = json.loads((TEMPLATES / "smollm2.json").read_text(encoding="utf-8"))
    assert {key: _text(tok, turns) or None for key, turns in CONVERSATIONS.items()} == golden
    for system in (None, "Be kind.", ""):
        row = encode_row(tok, _row(*_asked(answer, system=system)))
        assert row.input_ids == _own(tok, _asked(answer.strip(), system=system))[:-1]  # all but the last newline
        assert _learnt(tok, row.labels) == answer.strip() + "<|im_end|>"
