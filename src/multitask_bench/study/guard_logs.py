"""A guard's verdicts as scores in the stored logs of a run, beside those of the judges; nothing there changes.

Logs of probes and of benign task rows alike: a guard in front of a model reads both. The score stands under
``guard_NAME``, or ``guard_NAME@hash`` where that name is taken by another configuration: a judge may bear the guard's
own name. Its value is 1 where the guard stops the sample, and it has no outcome, so that no reader of outcomes takes
it for a judge's.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import ConfigError
from multitask_bench.guards import GuardSpec, Verdict
from multitask_bench.study.guarded import guards_of, name_in
from multitask_bench.study.guarding import Text, settings_of, text_of
from multitask_bench.study.ledger import checked_samples, log_paths, readable
from multitask_bench.study.log_scores import append_scores, set_aside
from multitask_bench.study.rejudge import prompt_of
from multitask_bench.study.task_rows import task_row

PART = ".guarding"
METRICS, TASK_METRICS = ("harmful_stopped", "twins_stopped"), ("task_rows_stopped",)


class AddedVerdicts(NamedTuple):
    """What one call added."""

    name: str
    """The name of the score in the logs."""
    logs: int
    samples: int
    failed: int = 0
    """Samples without a score because the guard's server or model did not answer: the same call again asks for them."""


class GuardedLog(NamedTuple):
    """A finished log, of probes or of task rows."""

    path: Path
    samples: int
    stored: dict[str, Counter[str]]
    """The scores of guards in it (`guarded.guards_of`)."""


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


def guarded_logs(run: Path) -> list[GuardedLog]:
    """The finished logs of ``run`` with what guards said of them, read from summaries.

    Raises: DataError: no logs, or a log cut off.
    """
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

    out = []
    for path in log_paths(run / "logs"):
        with readable(path):
            header = read_eval_log(str(path), header_only=True)
            if header.status != "success" or not {"arm", "task_arm"} & set(header.eval.metadata or {}):
                continue
            rows = read_eval_log_sample_summaries(str(path))
        out.append(GuardedLog(path, len(rows), guards_of(rows)))
    return out


def name_of(spec: GuardSpec, logs: Sequence[GuardedLog]) -> str:
    """Where the scores of ``spec`` stand in ``logs``, or would: a name that is taken stays with its configuration."""
    plain, own = f"guard_{spec.name}", f"guard_{spec.name}@{spec.config_hash}"
    stored: dict[str, Counter[str]] = {}
    for log in logs:
        for name in (plain, own):
            if name in log.stored:
                stored.setdefault(name, Counter()).update(log.stored[name])
    return name_in(stored, spec.config_hash) or (own if plain in stored else plain)


def unread(spec: GuardSpec, logs: Sequence[GuardedLog]) -> list[Path]:
    """The logs in which some sample has no score of ``spec``."""
    name = name_of(spec, logs)
    return [log.path for log in logs if sum(log.stored.get(name, {}).values()) < log.samples]


def texts_in(path: Path, spec: GuardSpec, name: str) -> list[Text]:
    """What ``spec`` reads of the samples of a log that have no score ``name``."""
    log = _read(path)
    return [_text(sample, spec, log) for sample in checked_samples(path, log) if name not in (sample.scores or {})]


def add_verdicts(run: Path, spec: GuardSpec, verdicts: Mapping[Text, Verdict]) -> AddedVerdicts:
    """Add ``verdicts``, as `guarding.screened` has them, to the samples of ``run`` that lack one; each log in one step.

    The caller holds the run's lock. Raises: DataError: a damaged log; ConfigError: the folder cannot be written to.
    """
    logs = guarded_logs(run)
    name = name_of(spec, logs)
    with scratch_of(run) as scratch:
        added = [add_to_log(path, spec, verdicts, name=name, scratch=scratch) for path in unread(spec, logs)]
    samples = [count for count, _ in added]
    return AddedVerdicts(name, sum(map(bool, samples)), sum(samples), sum(failed for _, failed in added))


@contextmanager
def scratch_of(run: Path) -> Iterator[Path]:
    """Where logs are written before they replace those of ``run``; gone when the block ends.

    Raises: ConfigError: the logs cannot be written to.
    """
    if not os.access(run / "logs", os.W_OK):
        raise ConfigError(f"{run / 'logs'}: cannot be written to.")
    scratch = run / PART
    shutil.rmtree(scratch, ignore_errors=True)  # of a call that was killed
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def add_to_log(
    path: Path, spec: GuardSpec, verdicts: Mapping[Text, Verdict], *, name: str, scratch: Path
) -> tuple[int, int]:
    """Add what one log lacks under ``name``; the log is replaced in one step.

    Returns: how many samples got a score, and how many did not because the guard gave no answer.
    """
    from inspect_ai.log import write_eval_log

    log = _read(path)
    kept: dict[str, Any] = {}
    made: dict[str, Any] = {}
    failed = 0
    for sample in checked_samples(path, log):
        place = f"{sample.id} {sample.epoch}"
        if name in (sample.scores or {}):
            kept[place] = sample.scores[name]
            continue
        verdict = verdicts.get(_text(sample, spec, log))
        if verdict is not None and verdict.failed:
            failed += 1
        elif verdict is not None:
            made[place] = score_of(verdict, spec)
    if not made:
        return 0, failed
    if kept:  # of a call that wrote a part of it; put back whole, so that metrics count all
        set_aside(log, name)
    append_scores(log, name, {**kept, **made}, metrics=TASK_METRICS if _holds_task_rows(log) else METRICS)
    facts = {"name": spec.name, "config_hash": spec.config_hash, "settings": settings_of(spec)}
    before = log.eval.metadata or {}
    log.eval.metadata = {**before, "guards": {**before.get("guards", {}), name: facts}}
    scratch.mkdir(exist_ok=True)
    write_eval_log(log, str(scratch / path.name))
    (scratch / path.name).replace(path)
    return len(made), failed


def _read(path: Path) -> Any:
    from inspect_ai.log import read_eval_log

    with readable(path):
        return read_eval_log(str(path))


def _holds_task_rows(log: Any) -> bool:
    return "task_arm" in (log.eval.metadata or {})


def _text(sample: Any, spec: GuardSpec, log: Any) -> Text:
    """What ``spec`` reads of a sample, as readers of its log have request and answer."""
    if _holds_task_rows(log):
        row = task_row(sample)
        return text_of(spec, row.prompt, row.answer)
    answer = sample.output.completion if sample.output and sample.output.choices else ""
    return text_of(spec, prompt_of(sample.input), answer)
