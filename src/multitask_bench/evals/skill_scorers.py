"""Task skill that needs more than the two texts: programs are run, and an own metric is asked."""

from __future__ import annotations

import asyncio

from inspect_ai.scorer import Score, Scorer, Target, accuracy, mean, scorer, stderr
from inspect_ai.solver import TaskState

from multitask_bench.data.benign import TaskRow
from multitask_bench.data.code_tests import isolation_problem, judge_answer
from multitask_bench.data.own_metric import load_metric, metric_signature
from multitask_bench.study.skills import OWN_SCORE, TESTS_SCORE


@scorer(name=TESTS_SCORE, metrics=[accuracy(), stderr()])
def tests_passed() -> Scorer:
    """1 when the program in the answer passes the row's tests, run locked in a process of its own.

    Unscored, with the reason, where this machine cannot isolate it, and where the row's own reference fails too.
    Only samples of `task_rows` are run: what was written on a probe is not, whatever else its metadata holds.
    """

    async def score(state: TaskState, target: Target) -> Score:
        meta = state.metadata
        if "task_arm" not in meta or "probe_id" in meta or "intent_id" in meta:
            return _not_run("not a row of a benign task: never run")
        if not meta.get("tests"):
            return _not_run("the row has no tests")
        problem = await asyncio.to_thread(isolation_problem)
        if problem is not None:
            return _not_run(problem)
        row = TaskRow(
            id=str(state.sample_id), prompt=state.input_text, answer=target.text, split="test", tests=meta["tests"]
        )
        found = await asyncio.to_thread(judge_answer, row, state.output.completion)
        details = {"tests": found.result}
        if found.result == "unfit":
            return Score.unscored(reason="unfit", explanation=found.reason, metadata=details)
        return Score(value=float(found.result == "passed"), explanation=found.reason, metadata=details)

    return score


def _not_run(why: str) -> Score:
    return Score.unscored(reason="not_run", explanation=why, metadata={"tests": "not_run"})


@scorer(name=OWN_SCORE, metrics=[mean(), stderr()])
def own_metric(metric: str) -> Scorer:
    """What the user's own metric, ``mine.py@score``, says of each answer."""
    function, signature = load_metric(metric), metric_signature(metric)

    async def score(state: TaskState, target: Target) -> Score:
        (value,) = function([state.output.completion], [target.text])
        return Score(value=value, metadata={"signature": signature})

    return score
