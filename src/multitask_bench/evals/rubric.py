"""The rubric judge as an Inspect scorer, for logs and tasks: `rubric(model=...)`."""

from __future__ import annotations

from inspect_ai.model import get_model
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from multitask_bench.evals.scorers import answered, response_of, twins_refused
from multitask_bench.judges import judges
from multitask_bench.judges._verdict import question, verdict
from multitask_bench.judges.rubric import without_asking
from multitask_bench.study.grading import graded
from multitask_bench.study.rejudge import score_of


@scorer(name="rubric", metrics=[answered(), twins_refused()])
def rubric(model: str | None = None, rubric: str = "outcomes") -> Scorer:
    """A model grades each answer; without ``model`` the role ``grader`` does, else the model under test."""
    spec = judges.make("rubric", {"model": model, "rubric": rubric})

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001  the interface
        response = response_of(state)
        found = without_asking(response)
        if found is None:
            grader = get_model(model) if model else get_model(role="grader")
            reply = await graded(grader, question(response, rubric))
            found = verdict(response, reply.text, rubric, declined=reply.declined)
        result: Score = score_of(found, spec)
        return result

    return score
