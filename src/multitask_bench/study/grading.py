"""Asking a grading model through Inspect, live in an eval or over stored answers."""

from __future__ import annotations

from typing import Any

from multitask_bench.judges._verdict import Question
from multitask_bench.judges.rubric import Reply

MAX_TOKENS = 512
"""A sentence and a verdict; a model that reasons first needs room for it."""


async def graded(model: Any, question: Question) -> Reply:
    """What an Inspect model replies to one question, at temperature 0; whatever its provider raises comes through."""
    from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig

    asked: list[ChatMessage] = [ChatMessageSystem(content=question.system), ChatMessageUser(content=question.user)]
    output = await model.generate(asked, config=GenerateConfig(temperature=0.0, max_tokens=MAX_TOKENS))
    return Reply(output.completion, bool(output.choices) and output.stop_reason == "content_filter")
