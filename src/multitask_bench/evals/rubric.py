"""The rubric judge as an Inspect scorer, for logs and tasks: `rubric(model=...)`."""

from __future__ import annotations

from inspect_ai.scorer import Scorer, scorer

from multitask_bench.evals.scorers import answered, grading, twins_refused
from multitask_bench.judges.rubric import RubricJudge
from multitask_bench.study.parsing import parsed


@scorer(name="rubric", metrics=[answered(), twins_refused()])
def rubric(model: str | None = None, rubric: str = "outcomes") -> Scorer:
    """A model grades each answer; without ``model`` the role ``grader`` does, else the model under test."""
    return grading(parsed({"model": model, "rubric": rubric}, RubricJudge, where="rubric"))
