"""What a pre-flight can find: code -> how bad, what, why it matters, what to do.

Sources: Qi et al. 2023, arXiv:2310.03693 (harmful rows remove guardrails); He et al. 2024,
arXiv:2404.01099 (list- and maths-like benign rows erode safety most).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Kind(NamedTuple):
    """What one code means."""

    severity: Severity
    what: str
    why: str
    todo: str


KINDS: dict[str, Kind] = {
    "not_json": Kind("error", "not valid JSON", "the row is lost or the trainer stops", "mend the line, or remove it"),
    "cells": Kind("error", "too many or too few cells", "columns shift", "quote fields that hold commas or line breaks"),
    "not_an_object": Kind("error", "not an object", "no trainer reads it", "write one JSON object a line"),
    "unknown_format": Kind(
        "error", "no known chat format", "no trainer reads it", "use messages, ShareGPT, Alpaca or prompt/completion"
    ),
    "plain_text": Kind(
        "error", "only 'text'", "the loss would fall on the question too", "split it into prompt and completion"
    ),
    "no_turns": Kind("error", "no turns", "nothing to learn", "remove the row"),
    "not_a_turn": Kind("error", "a turn that is not an object", "no trainer reads it", "use role and content"),
    "not_text": Kind("error", "a turn without text", "the trainer stops or trains on 'None'", "give the text, or remove it"),
    "unknown_role": Kind("error", "an unknown role", "the chat template fails or drops it", "use system, user, assistant"),
    "system_not_first": Kind("error", "a late system turn", "most templates fail on it", "put it first"),
    "no_answer": Kind("error", "no answer at the end", "the row has no loss", "end with the assistant's turn"),
    "starts_with_answer": Kind("error", "the assistant speaks first", "templates fail on it", "begin with the user's turn"),
    "role_order": Kind("error", "two turns of one speaker in a row", "templates fail or join them", "join the turns"),
    "empty_prompt": Kind("error", "an empty prompt", "the model learns to answer nothing", "fill it, or remove the row"),
    "empty_answer": Kind("error", "an empty answer", "the model learns to stop at once", "fill it, or remove the row"),
    "too_long": Kind("error", "longer than max_length", "TRL cuts it silently, answer first", "shorten, or raise max_length"),
    "maybe_too_long": Kind(
        "warning", "perhaps longer than max_length", "TRL cuts it silently, answer first", "check it with --model"
    ),
    "markup": Kind(
        "warning", "marks that some templates use, such as <s>", "with such a template they become control tokens", "check it with --model"
    ),
    "special_tokens": Kind(
        "error", "template marks inside the text", "they become control tokens and end turns", "give plain turns"
    ),
    "surrogates": Kind("error", "half characters (lone surrogates)", "tokenizers stop on them", "decode the source as UTF-8"),
    "minors": Kind("error", "sexual content and minors together", "never train on it", "remove the row"),
    "template_missing": Kind(
        "error", "the model has no chat template", "rows cannot be rendered", "choose --template alpaca, or another model"
    ),
    "template_changes_prompt": Kind(
        "error", "the template changes the prompt when an answer follows", "the loss mask would start at the wrong token",
        "use another template"
    ),
    "no_end_token": Kind(
        "error", "the answer's end token is not in the loss", "the model is never trained to stop", "check pad and end tokens"
    ),
    "double_bos": Kind("error", "two BOS tokens", "training and serving differ", "let one place add it"),
    "flagged_share": Kind(
        "error", "too many harmful requests answered", "fine-tuning on them removes guardrails (Qi et al. 2023)",
        "remove them, or say --allow-flagged"
    ),
    "perhaps_minors": Kind(
        "warning", "words for minors and words that may be sexual", "such content must never be trained on", "read these rows"
    ),
    "answered_harm": Kind(
        "warning", "an answer to a request that looks harmful", "a hundred such rows remove guardrails (Qi et al. 2023)",
        "read these rows"
    ),
    "refusal": Kind("warning", "the answer refuses", "teaches the model to refuse your task", "remove it unless it is meant"),
    "boilerplate": Kind(
        "warning", "the answer speaks of itself as an AI or of its system message", "leaks another model's habits",
        "rewrite it"
    ),
    "duplicate": Kind("warning", "repeats an earlier row", "weighs double and hides in test splits", "remove it"),
    "conflict": Kind("warning", "an earlier row has the same prompt and another answer", "the answers fight", "keep one"),
    "near_duplicate": Kind("warning", "nearly repeats an earlier prompt", "leaks into test splits", "keep one"),
    "echo": Kind("warning", "the answer repeats the prompt", "teaches echoing", "mend the answer"),
    "encoding": Kind("warning", "broken characters", "the model learns to write them", "decode the source as UTF-8"),
    "control": Kind("warning", "control characters", "tokenizers split on them", "remove them"),
    "cut_off": Kind("note", "the answer seems to be cut off", "the model learns to stop in mid-sentence", "complete it"),
    "personal": Kind("warning", "personal data", "models repeat what they were trained on", "mask or remove it"),
    "system_differs": Kind(
        "warning", "a system prompt that is not the deployment's", "the model is trained for another place than it serves",
        "train with the prompt you deploy, or choose the mismatch on purpose (PTST)"
    ),
    "mixed_formats": Kind("warning", "another format than the first row", "some trainers read the first only", "use one"),
    "ignored": Kind("note", "keys that training here does not use", "tool calls and weights are lost", "be aware of it"),
    "list_like": Kind(
        "note", "an answer that is a list", "list-like benign rows erode safety most (He et al. 2024)",
        "mix safety rows in (mtb train --mitigation safety_mix)"
    ),
    "maths_like": Kind(
        "note", "an answer that is arithmetic", "maths-like benign rows erode safety most (He et al. 2024)",
        "mix safety rows in (mtb train --mitigation safety_mix)"
    ),
    "few_rows": Kind("note", "very few rows", "the model memorises them", "add rows"),
}  # fmt: skip
