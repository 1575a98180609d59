"""Scores added to a stored log, as Inspect adds them: whole, with their metrics, and no model opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def set_aside(log: Any, name: str) -> None:
    """Take the scores of ``name`` that an earlier call left unfinished out of ``log``; they are put back whole."""
    for sample in log.samples:
        if sample.scores:
            sample.scores.pop(name, None)
    log.eval.scorers = [s for s in log.eval.scorers or [] if s.name.rpartition("/")[2] != name] or None
    log.reductions = [r for r in log.reductions or [] if r.scorer != name] or None
    if log.results is not None:
        log.results.scores = [s for s in log.results.scores if s.name != name]


def append_scores(log: Any, name: str, scores: Mapping[str, Any], *, metrics: Sequence[str]) -> None:
    """Append ``scores`` (by id and epoch) under ``name``, with ``metrics``: names of this package's own."""
    from inspect_ai import score
    from inspect_ai.scorer import Score, Scorer, Target, scorer
    from inspect_ai.solver import TaskState
    from inspect_ai.util import registry_create

    counted: list[Any] = [registry_create("metric", f"multitask_bench/{metric}") for metric in metrics]

    def stored() -> Scorer:
        async def look_up(state: TaskState, target: Target) -> Score | None:  # noqa: ARG001  the interface
            return scores.get(f"{state.sample_id} {state.epoch}")

        return look_up

    # The model of the log is not opened: it may be gone, or need a key.
    score(
        log,
        scorer(metrics=counted, name=name)(stored)(),
        action="append",
        model="none/none",
        display="none",
        copy=False,
    )
