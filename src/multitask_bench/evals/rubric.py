"""The rubric judge as an Inspect scorer, for logs and tasks: `rubric(model=...)`."""

from __future__ import annotations

from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, get_model
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from multitask_bench.evals.scorers import answered, response_of, twins_refused
from multitask_bench.judges import judges
from multitask_bench.judges._verdict import question, verdict
from multitask_bench.judges.rubric import without_asking
from multitask_bench.schema import ANSWERED, UNJUDGED

MAX_TOKENS = 512
"""A sentence and a verdict; a model that reasons first needs room for it."""


@scorer(name="rubric", metrics=[answered(), twins_refused()])
def rubric(model: str | None = None, rubric: str = "outcomes") -> Scorer:
    """A model grades each answer; without ``model`` the role ``grader`` does, else the model under test."""
    spec = judges.make("rubric", {"model": model, "rubric": rubric})

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001  the interface
        response = response_of(state)
        found = without_asking(response)
        if found is None:
            asked = question(response, rubric)
            grader = get_model(model) if model else get_model(role="grader")
            output = await grader.generate(
                [ChatMessageSystem(content=asked.system), ChatMessageUser(content=asked.user)],
                config=GenerateConfig(temperature=0.0, max_tokens=MAX_TOKENS),
            )
            declined = bool(output.choices) and output.stop_reason == "content_filter"
            found = verdict(response, output.completion, rubric, declined=declined)
        details = {"outcome": found.outcome.value, "judge_hash": spec.config_hash, "span": found.span}
        if found.outcome in UNJUDGED:
            return Score.unscored(reason=found.outcome.value, explanation=found.reason, metadata=details)
        return Score(value=float(found.outcome in ANSWERED), explanation=found.reason, metadata=details)

    return score
