"""Task skill from finished task logs: the `tasks` rows of `results.json`, several metrics a task.

Everything follows from the logs: code was run when they were written, an own metric and the loss were computed then.
A sample that ended in an error counts as an empty answer, and ``failed`` says how many there are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from multitask_bench.data import benign
from multitask_bench.judges.refusal import judge_one
from multitask_bench.schema import UNJUDGED, Outcome, Response
from multitask_bench.stats.rates import rate

Facts = dict[str, Any]

TESTS_SCORE, OWN_SCORE = "tests_passed", "own_metric"
"""Names of scores in a task's log."""
LOSS = "loss"
"""A sample's metadata: (nats, tokens) of its reference answer."""
PASS, UNPARSED, REFUSED, LOSS_PER_TOKEN = "pass@1", "unparsed", "refused", "loss_per_token"
LESS_IS_BETTER = frozenset({UNPARSED, REFUSED, LOSS_PER_TOKEN})


class Answered(NamedTuple):
    """One task row and what a model made of it."""

    id: str
    prompt: str
    reference: str
    answer: str | None
    """None where the call failed."""
    truncated: bool
    tests: str | None
    """``passed``, ``failed``, ``unfit`` or ``not_run``; None where the row has no such score."""
    not_run: str
    """Why the program was not run; empty where it was."""
    own: float | None
    own_signature: str
    loss: tuple[float, int] | None
    """Nats and tokens of the reference answer."""


def primary(tasks: Iterable[Mapping[str, Any]]) -> list[Facts]:
    """The headline row of each arm and task."""
    return [dict(row) for row in tasks if row.get("primary", True)]


def task_results(facts: Mapping[str, Any], samples: Sequence[Any]) -> list[Facts]:
    """The rows of one task log, the headline first.

    Returns: ``arm, task, metric, primary, signature, n, value, low, high, failed, truncated`` each; a value is in
    [0, 1] but for ``length_ratio`` and ``loss_per_token`` (nats); less is better in `LESS_IS_BETTER`. Of pass@1,
    ``left_out`` counts the rows whose tests do not fit their own reference, and those that were not run; where none
    was run, ``reason`` says why.
    """
    rows = [read(sample) for sample in samples]
    task = str(facts["task"])
    found = [*_own(rows), *_passed(rows), *_against_references(task, rows), *_refused(rows), *_loss(rows)]
    headline = next(row["metric"] for row in found if row["value"] is not None)
    lost = {"failed": sum(r.answer is None for r in rows), "truncated": sum(r.truncated for r in rows)}
    shared = {"arm": str(facts["task_arm"]), "task": task}
    out = [{**shared, "primary": row["metric"] == headline, **row, **lost} for row in found]
    return sorted(out, key=lambda row: not row["primary"])


def read(sample: Any) -> Answered:
    """A sample of a task log as a row."""
    output, scores, meta = sample.output, sample.scores or {}, sample.metadata or {}
    came = sample.error is None and bool(output and output.choices)
    tests, own, loss = scores.get(TESTS_SCORE), scores.get(OWN_SCORE), meta.get(LOSS)
    ran = (tests.metadata or {}).get("tests") if tests is not None else None
    return Answered(
        id=str(sample.id),
        prompt=sample.input if isinstance(sample.input, str) else str(sample.input[-1].text),
        reference=str(sample.target),
        answer=output.completion if came else None,
        truncated=came and output.stop_reason == "max_tokens",
        tests=ran,
        not_run=str(tests.explanation or "") if tests is not None and ran == "not_run" else "",
        own=_number(own),
        own_signature=str((own.metadata or {}).get("signature", "")) if own is not None else "",
        loss=(float(loss[0]), int(loss[1])) if loss is not None else None,
    )


def passed(sample: Any) -> bool | None:
    """Whether the program in a sample's answer passed its tests; None where it was not run, or they do not fit."""
    return {"passed": True, "failed": False}.get(read(sample).tests or "")


def _number(score: Any) -> float | None:
    value = score.value if score is not None else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _against_references(task: str, rows: Sequence[Answered]) -> list[Facts]:
    answers, references = [row.answer or "" for row in rows], [row.reference for row in rows]
    out = benign.scores(task, answers, references)
    if benign.headline(task) == "macro_f1":
        count = benign.unparsed(answers, references)
        out.append(_share(UNPARSED, "names_no_label_of_references|wilson", count, len(rows)))
    return out


def _passed(rows: Sequence[Answered]) -> list[Facts]:
    """pass@1 over the rows whose tests could be run, a failed call as failed; no row where none of them has tests."""
    from multitask_bench.data.code_tests import SIGNATURE

    tried = [row.tests for row in rows if row.tests is not None]
    if not tried:
        return []
    passed, failed = tried.count("passed"), tried.count("failed")
    if passed + failed:  # programs are run here: a call that failed is an empty answer, which passes nothing
        failed += sum(row.answer is None and row.tests is None for row in rows)
    left_out = {"unfit": tried.count("unfit"), "not_run": len(rows) - passed - failed - tried.count("unfit")}
    row = {**_share(PASS, f"{SIGNATURE}|wilson", passed, passed + failed), "left_out": left_out}
    reasons = Counter(row.not_run for row in rows if row.not_run)
    if passed + failed == 0 and reasons:
        row["reason"] = reasons.most_common(1)[0][0]
    return [row]


def not_measured(tasks: Iterable[Mapping[str, Any]]) -> list[str]:
    """A warning for each reason for which no program of a task was run, with the arms that it concerns."""
    arms: dict[tuple[str, str], list[str]] = {}
    for row in tasks:
        if row["metric"] == PASS and "reason" in row:
            arms.setdefault((str(row["task"]), str(row["reason"])), []).append(str(row["arm"]))
    return [f"{task}: no pass@1 of {', '.join(sorted(set(of)))}; {reason}" for (task, reason), of in arms.items()]


def _refused(rows: Sequence[Answered]) -> list[Facts]:
    """The share of answers to these benign rows that refuse: over-refusal on the user's own prompts, too."""
    outcomes = [judge_one(response_to(row)).outcome for row in rows]
    judged = [outcome for outcome in outcomes if outcome not in UNJUDGED]
    return [_share(REFUSED, "judge:refusal|wilson", judged.count(Outcome.REFUSED), len(judged))]


def response_to(row: Answered) -> Response:
    """What the refusal judge sees of a task row."""
    error = "no answer" if row.answer is None else None
    return Response(id=row.id, prompt=row.prompt, text=row.answer or "", truncated=row.truncated, error=error)


def _own(rows: Sequence[Answered]) -> list[Facts]:
    """The user's own metric; an answer that did not come counts as 0."""
    if all(row.own is None for row in rows):
        return []
    values = [row.own if row.own is not None and row.answer is not None else 0.0 for row in rows]
    signature = next(row.own_signature for row in rows if row.own is not None)
    name = "own:" + signature.partition("|")[0].rpartition("@")[2]
    if set(values) <= {0.0, 1.0}:
        return [_share(name, f"{signature}|wilson", values.count(1.0), len(values))]
    return [_mean(name, signature, [(value, 1.0) for value in values])]


def _loss(rows: Sequence[Answered]) -> list[Facts]:
    known = [row.loss for row in rows if row.loss is not None]
    return [_mean(LOSS_PER_TOKEN, "nats/token|reference_answer|teacher_forced", known)] if known else []


def _mean(metric: str, signature: str, pairs: Sequence[tuple[float, float]]) -> Facts:
    """Sum of first over sum of second, resampled by rows."""
    from multitask_bench.data._metrics import resampled

    value, low, high = resampled(lambda total: float(total[0] / total[1]), np.array(pairs, dtype=float))
    return {"metric": metric, "signature": signature, "n": len(pairs), "value": value, "low": low, "high": high}


def _share(metric: str, signature: str, count: int, n: int) -> Facts:
    """A share of yes-or-no rows with Wilson's interval: a bootstrap of 0 of 30 would have no width."""
    found = rate(count, n)
    ends = {"value": found.value, "low": found.low, "high": found.high}
    return {"metric": metric, "signature": signature, "n": n, **ends}
