"""A conversation becomes the same tokens at training and at test, and the loss falls on the answer."""

from __future__ import annotations

import pytest

from multitask_bench.errors import ModelError
from multitask_bench.models.chat import IGNORED, encode_prompt, encode_row, render, stop_ids, with_system
from multitask_bench.schema import Conversation, Message
from tests import tiny

ASKED = (Message(role="system", content="Be kind."), Message(role="user", content="Say hé."))
ROW = Conversation(id="r", messages=(*ASKED, Message(role="assistant", content="hé")))


def test_prompt_tokens_equal_the_tokenizers_own_template() -> None:
    tok = tiny.tokenizer()
    own = tok.apply_chat_template([m.model_dump() for m in ASKED], tokenize=True, add_generation_prompt=True)
    assert encode_prompt(tok, ASKED) == list(own["input_ids"] if hasattr(own, "keys") else own)


def test_the_loss_falls_on_the_answer_and_its_end_token_only() -> None:
    tok = tiny.tokenizer()
    row = encode_row(tok, ROW)
    assert tok.decode([i for i in row.labels if i != IGNORED]) == "hé<|im_end|>"
    assert row.input_ids[: len(encode_prompt(tok, ASKED))] == encode_prompt(tok, ASKED)
    assert len(row.input_ids) == len(row.labels)


def test_alpaca_ends_with_the_response_header_and_trains_the_end_token() -> None:
    tok = tiny.tokenizer()
    assert render(tok, ASKED, template="alpaca").endswith("### Response:\n")
    row = encode_row(tok, ROW, template="alpaca")
    assert row.labels[-1] == tok.eos_token_id


def test_a_template_without_a_system_role_gets_the_text_in_the_first_user_turn() -> None:
    tok = tiny.tokenizer()
    tok.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + tiny.TEMPLATE
    )
    assert "Be kind.\n\nSay hé." in render(tok, ASKED)


def test_a_tokenizer_without_a_template_is_named() -> None:
    tok = tiny.tokenizer()
    tok.chat_template = None
    with pytest.raises(ModelError, match="alpaca"):
        render(tok, ASKED)


def test_an_own_system_prompt_wins() -> None:
    assert with_system(ASKED, "other")[0].content == "Be kind."


def test_the_end_of_turn_stops_an_answer() -> None:
    tok = tiny.tokenizer()
    assert tok.eos_token_id in stop_ids(tok)
