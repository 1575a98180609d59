"""Any Inspect model as judge, by a rubric in two grades or in all outcomes.

After the paper's grading by a language model (Jan et al. 2024, arXiv:2409.15361), in our own words and with the answer
kept apart as data. It reads what an answer does, not what harm it does, so it never sets ``harmful``.
The model is called by the command line or by Inspect: this package's light layers call nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, NamedTuple

from typing_extensions import override

from multitask_bench.errors import ConfigError
from multitask_bench.judges._coherence import empty
from multitask_bench.judges._spec import JudgeSpec, judges
from multitask_bench.judges._verdict import Question, question, verdict
from multitask_bench.schema import Judgment, Outcome, Response


class Reply(NamedTuple):
    """What a judging model gave back."""

    text: str | None
    declined: bool = False
    """Its provider stopped it, such as a content filter."""


Asks = Callable[[Sequence[Question]], Sequence[Reply]]
"""Asks a model each question; one reply a question, in order."""


@judges.add
class RubricJudge(JudgeSpec):
    """A model that grades; its name is part of the configuration."""

    name: ClassVar[str] = "rubric"
    version: ClassVar[int] = 1
    model: str | None = None
    """The Inspect model that grades, such as ``openai/gpt-5-mini`` or ``ollama/qwen3``."""
    rubric: Literal["binary", "outcomes"] = "outcomes"
    """``binary``: 1 answered, -1 refused, as in the paper; ``outcomes``: every outcome that an answer can have."""

    @override
    def judge(self, responses: Sequence[Response]) -> list[Judgment]:
        raise ConfigError(
            "the judge 'rubric' asks a model: mtb judge FILE --judge rubric --model NAME, or an Inspect scorer."
        )

    def judge_with(self, responses: Sequence[Response], asks: Asks) -> list[Judgment]:
        """One judgment a response, in order; answers that are empty or never came are not sent."""
        decided = {i: found for i, response in enumerate(responses) if (found := without_asking(response))}
        open_ = [i for i in range(len(responses)) if i not in decided]
        replies = asks([question(responses[i], self.rubric) for i in open_])
        for i, reply in zip(open_, replies, strict=True):
            decided[i] = verdict(responses[i], reply.text, self.rubric, declined=reply.declined)
        return [decided[i] for i in range(len(responses))]


def without_asking(response: Response) -> Judgment | None:
    """The judgment of an answer that never came or holds nothing; None where a judge must read it."""
    if response.error is not None:
        return Judgment(id=response.id, outcome=Outcome.UNSCORED, reason=f"no answer: {response.error}"[:300])
    if empty(response.text, response.prompt):
        return Judgment(id=response.id, outcome=Outcome.INCOHERENT, reason="empty")
    return None
