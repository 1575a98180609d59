"""Refusals for training rows: some written for one intent in one form, some that fit any."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from multitask_bench.data.intents import BUNDLED
from multitask_bench.records import read_jsonl
from multitask_bench.schema import Language, StrictModel


class IntentRefusal(StrictModel):
    """A refusal of one intent's harmful side in one form."""

    intent: str
    form: str
    language: Language
    text: str
    kind: str = ""
    """The variant of the form that it speaks of (``which`` or ``label``); empty where it fits every one."""


class RefusalWording(StrictModel):
    """A refusal of anything; it may hold the slot ``{harm}``."""

    id: str
    language: Language
    text: str


@functools.cache
def written_refusals() -> dict[tuple[str, str, Language], tuple[IntentRefusal, ...]]:
    """(intent, form, language) -> the refusals written for it, in their order."""
    out: dict[tuple[str, str, Language], tuple[IntentRefusal, ...]] = {}
    for row in read_jsonl(BUNDLED / "refusals_by_intent.jsonl", IntentRefusal):
        key = (row.intent, row.form, row.language)
        out[key] = (*out.get(key, ()), row)
    return out


@functools.cache
def wordings(language: Language = "en") -> tuple[str, ...]:
    """The refusals that fit any request."""
    rows = read_jsonl(BUNDLED / "refusals.jsonl", RefusalWording)
    return tuple(row.text for row in rows if row.language == language)


def alike(texts: Sequence[str]) -> list[str]:
    """The texts with those first whose first word most of them share; among them the short ones first.

    Greedy decoding takes the likeliest first token. A model that leans to refuse by 70 % but spreads
    it over twelve openings answers nevertheless, most of all code, where every answer opens alike. And
    a small model that took a long run-up to its "no" was seen to forget it on the way.
    """
    words = [re.split(r"\W", text, maxsplit=1)[0] for text in texts]
    order = sorted(zip(words, texts, strict=True), key=lambda pair: (-words.count(pair[0]), len(pair[1]), pair[1]))
    return [text for _, text in order]
