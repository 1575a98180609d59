"""A guard's verdicts as scores in the stored logs of a run, beside those of the judges; nothing there changes.

The score stands under ``guard_NAME``, or ``guard_NAME@hash`` where that name is taken by another configuration: a judge
may bear the guard's own name. Its value is 1 where the guard stops the sample, and it has no outcome, so that no reader
of outcomes takes it for a judge's.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import ConfigError
from multitask_bench.guards import GuardSpec, Verdict
from multitask_bench.study.guarding import Text, settings_of, text_of
from multitask_bench.study.ledger import checked_samples, log_paths, readable
from multitask_bench.study.log_scores import append_scores, set_aside
from multitask_bench.study.rejudge import prompt_of

PART = ".guarding"
METRICS = ("harmful_stopped", "twins_stopped")


class AddedVerdicts(NamedTuple):
    """What one call added."""

    name: str
    """The name of the score in the logs."""
    logs: int
    samples: int


def score_of(verdict: Verdict, spec: GuardSpec) -> Any:
    """A verdict as Inspect's Score: 1 when stopped; a guard without a verdict leaves the sample unscored."""
    from inspect_ai.scorer import Score

    details = {
        "guard": spec.name,
        "guard_hash": spec.config_hash,
        "on": spec.on,
        "score": verdict.score,
        "categories": list(verdict.categories),
    }
    if verdict.flagged is None:
        return Score.unscored(reason="no_verdict", explanation=verdict.reason, metadata=details)
    return Score(value=float(verdict.flagged), explanation=verdict.reason, metadata=details)


def guards_of(samples: Iterable[Any]) -> dict[str, Counter[str]]:
    """The scores that guards gave: name in the log -> configuration hash -> how many samples."""
    out: dict[str, Counter[str]] = {}
    for sample in samples:
        for name, score in (sample.scores or {}).items():
            if "guard_hash" in (score.metadata or {}):
                out.setdefault(name, Counter())[str(score.metadata["guard_hash"])] += 1
    return out


def add_verdicts(run: Path, spec: GuardSpec, verdicts: Mapping[Text, Verdict]) -> AddedVerdicts:
    """Add ``verdicts``, as `guarding.screened` has them, to the samples of ``run`` that lack one; each log in one step.

    The caller holds the run's lock. Raises: DataError: a damaged log; ConfigError: the folder cannot be written to.
    """
    from inspect_ai.log import read_eval_log

    folder = run / "logs"
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{folder}: cannot be written to.")
    paths = []
    stored: dict[str, set[str]] = {}
    for path in log_paths(folder):
        with readable(path):
            header = read_eval_log(str(path), header_only=True)
            if header.status != "success" or "arm" not in (header.eval.metadata or {}):
                continue
            log = read_eval_log(str(path))
        paths.append(path)
        for name, hashes in guards_of(checked_samples(path, log)).items():
            stored.setdefault(name, set()).update(hashes)
    name = f"guard_{spec.name}"
    if stored.get(name, set()) - {spec.config_hash}:
        name = f"{name}@{spec.config_hash}"
    scratch = run / PART
    shutil.rmtree(scratch, ignore_errors=True)  # of a call that was killed
    try:
        added = [_add(path, scratch, name, spec, verdicts) for path in paths]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return AddedVerdicts(name, sum(count > 0 for count in added), sum(added))


def _add(path: Path, scratch: Path, name: str, spec: GuardSpec, verdicts: Mapping[Text, Verdict]) -> int:
    """Add what one log lacks; returns how many samples got a score."""
    from inspect_ai.log import read_eval_log, write_eval_log

    with readable(path):
        log = read_eval_log(str(path))
    kept: dict[str, Any] = {}
    made: dict[str, Any] = {}
    for sample in checked_samples(path, log):
        place = f"{sample.id} {sample.epoch}"
        if name in (sample.scores or {}):
            kept[place] = sample.scores[name]
            continue
        answer = sample.output.completion if sample.output and sample.output.choices else ""
        verdict = verdicts.get(text_of(spec, prompt_of(sample.input), answer))
        if verdict is not None:
            made[place] = score_of(verdict, spec)
    if not made:
        return 0
    if kept:  # of a call that wrote a part of it; put back whole, so that metrics count all
        set_aside(log, name)
    append_scores(log, name, {**kept, **made}, metrics=METRICS)
    facts = {"name": spec.name, "config_hash": spec.config_hash, "settings": settings_of(spec)}
    before = log.eval.metadata or {}
    log.eval.metadata = {**before, "guards": {**before.get("guards", {}), name: facts}}
    scratch.mkdir(exist_ok=True)
    write_eval_log(log, str(scratch / path.name))
    (scratch / path.name).replace(path)
    return len(made)
