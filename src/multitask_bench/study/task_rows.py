"""Task rows of two arms against each other: the gate's non-inferiority tests, row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from multitask_bench.errors import ConfigError, DataError
from multitask_bench.report._select import shortened
from multitask_bench.stats.noninferiority import NonInferiority, noninferior, noninferior_binary
from multitask_bench.study.guarded import stops_of
from multitask_bench.study.skills import passed

UNANSWERED_LIMIT = 0.05
"""From this share of rows without an answer on, a task is not compared."""


class TaskRow(NamedTuple):
    """One task row and what an arm made of it."""

    prompt: str
    target: str
    answer: str | None
    """None where the call failed."""
    passed: bool | None = None
    """Whether the program in the answer passed the row's tests; None where none was run."""
    stops: Mapping[str, bool | None] = MappingProxyType({})
    """What guards said of it whose scores the log holds (`guarded.stops_of`)."""


TaskKey = tuple[str, str, str]
"""(task, template, system prompt)"""


class Compared(NamedTuple):
    """What two arms made of the same rows, the second against the first."""

    metric: str
    found: NonInferiority
    differences: dict[str, float]
    """Row -> second minus first, in the metric's unit; of pass@1 and of labels -1, 0 or 1."""
    rows: int
    """Rows that either was asked."""
    lost: int
    """Those without an answer in one of the two."""

    @property
    def too_few(self) -> bool:
        """Whether so many rows have no answer that nothing is said of the others."""
        return self.lost > UNANSWERED_LIMIT * self.rows


def compared_tasks(
    a: tuple[Path, str], b: tuple[Path, str], *, margin: float
) -> tuple[dict[str, NonInferiority], list[str]]:
    """Each task that both arms, (run folder, arm), were asked in the same way: the second against the first.

    Returns: task and metric -> the comparison, and notes on tasks that were not compared.
    Raises: ConfigError: the two were asked other rows; DataError: a row twice.
    """
    first = _task_rows(*a)
    second = _task_rows(*b) if first else {}
    shared = [key for key in first if key in second]
    ways = {key[1:] for key in shared}
    out, notes = {}, []
    for key in sorted(shared):
        found = compared_rows(key[0], first[key], second[key], margin=margin)
        if found is None:
            raise ConfigError(
                f"task {key[0]}: {a[0]} and {b[0]} hold other rows; run one again with those of the other."
            )
        metric = found.metric
        name = f"{key[0]}, {metric}" if len(ways) == 1 else f"{key[0]}, {metric} ({key[1]}, {shortened(key[2])})"
        if found.too_few:
            notes.append(f"{name}: {found.lost} of {found.rows} rows have no answer in one of the arms; not compared")
        out[name] = found.found
    return out, notes


def compared_rows(
    task: str, first: Mapping[str, TaskRow], second: Mapping[str, TaskRow], *, margin: float
) -> Compared | None:
    """The second arm against the first on the rows that both were asked; None where those are not the same rows."""
    both = sorted(row for row in first if row in second)
    if not both or any(first[row][:2] != second[row][:2] for row in both):
        return None
    pairs = {row: (first[row], second[row]) for row in both}
    kept = {row: (x.answer, y.answer, x.target) for row, (x, y) in pairs.items() if None not in (x.answer, y.answer)}
    run = {row: (x.passed, y.passed) for row, (x, y) in pairs.items() if None not in (x.passed, y.passed)}
    metric, differences = ("pass@1", _tests_differences(run)) if run else _differences(task, kept)
    found = _tested(metric, list(differences.values()), margin)
    rows = len({*first, *second})
    out = Compared(metric, found, differences, rows, rows - len(kept))
    if not out.too_few:
        return out
    nothing = {"value": None, "low": None, "high": None, "p": None, "p_inferior": None}
    return out._replace(found=found.model_copy(update={**nothing, "verdict": "inconclusive"}))


def task_row(sample: Any) -> TaskRow:
    """A sample of a task log as a row."""
    prompt = sample.input if isinstance(sample.input, str) else sample.input[-1].text
    failed = sample.error is not None or not (sample.output and sample.output.choices)
    answer = None if failed else sample.output.completion
    return TaskRow(prompt, str(sample.target), answer, passed(sample), stops_of(sample.scores))


def _task_rows(run: Path, arm: str) -> dict[TaskKey, dict[str, TaskRow]]:
    from inspect_ai.log import read_eval_log

    out: dict[TaskKey, dict[str, TaskRow]] = defaultdict(dict)
    for path in sorted((run / "logs").glob("*.eval")):
        header = read_eval_log(str(path), header_only=True)
        facts = header.eval.metadata or {}
        if header.status != "success" or facts.get("task_arm") != arm:
            continue
        rows = out[str(facts["task"]), str(facts.get("test_template")), str(facts.get("test_system"))]
        for s in read_eval_log(str(path)).samples or []:
            if str(s.id) in rows:
                raise DataError(f"{path}: row {s.id} of task {facts['task']} was answered twice; remove the copy.")
            rows[str(s.id)] = task_row(s)
    return dict(out)


BINARY = ("pass@1", "right labels")
"""Metrics of which a row is right or wrong."""


def _tested(metric: str, differences: Sequence[float], margin: float) -> NonInferiority:
    if metric not in BINARY:
        return noninferior(differences, margin=margin)
    counts = {"a_only": differences.count(-1.0), "b_only": differences.count(1.0), "n": len(differences)}
    return noninferior_binary(**counts, margin=margin)


def _tests_differences(rows: Mapping[str, tuple[bool | None, bool | None]]) -> dict[str, float]:
    """pass@1 on the rows that were run in both arms."""
    return {row: float(bool(after)) - float(bool(before)) for row, (before, after) in rows.items()}


def _differences(task: str, rows: Mapping[str, tuple[Any, Any, str]]) -> tuple[str, dict[str, float]]:
    """The metric's name and each row's difference; ``rows`` hold both answers and the reference."""
    from multitask_bench.data._metrics import BY_NAME, label_of
    from multitask_bench.data.benign import headline

    references = [target for _, _, target in rows.values()]
    metric = headline(task)
    if metric == "macro_f1":
        labels = sorted(set(references))
        right = {
            row: [float(label_of(answer, labels) == target) for answer in two] for row, (*two, target) in rows.items()
        }
        return "right labels", {row: after - before for row, (before, after) in right.items()}
    scorer = BY_NAME[metric]()

    def scores(answers: Sequence[str]) -> list[float]:
        return [scorer.value(row) for row in scorer.statistics(answers, references)] if answers else []

    before, after = (scores([row[side] for row in rows.values()]) for side in (0, 1))
    return f"{metric} a row", {row: y - x for row, x, y in zip(rows, before, after, strict=True)}
