"""The guards that a study names: made and checked before anything runs, and read in once the logs are there.

They are no part of any step's key: the answers do not hang on them, and their verdicts stand in the logs as scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multitask_bench.errors import ConfigError, MissingExtraError
from multitask_bench.guards import GuardSpec, ReaderGuard, Verdict, guards
from multitask_bench.guards.policy import PolicyGuard
from multitask_bench.study.config import Study
from multitask_bench.study.guard_logs import add_to_log, guarded_logs, name_of, scratch_of, texts_in, unread
from multitask_bench.study.guarding import Opened, Text, check_leave, opened, screened
from multitask_bench.study.progress import Reporter, Tick
from multitask_bench.study.steps import Plan

CHUNK = 128
"""Texts between two words on how far a guard has come."""


def guards_of(study: Study) -> tuple[GuardSpec, ...]:
    """The guards of a study, with their settings.

    Raises: UnknownNameError: no such guard; DataError: a file of it is missing; ConfigError: a setting that it does
    not have, a model that it needs, or the same guard twice.
    """
    specs = tuple(guards.make(one.guard, one.settings) for one in study.guards)
    for spec in specs:
        if isinstance(spec, PolicyGuard) and spec.model is None:
            raise ConfigError("guards: policy asks a model; write {guard: policy, settings: {model: NAME}}.")
    if len({(spec.name, spec.config_hash) for spec in specs}) < len(specs):
        raise ConfigError("guards: the same guard stands there twice.")
    return specs


def texts_read(plan: Plan, spec: GuardSpec) -> int:
    """How many texts ``spec`` reads at most: of requests each once, of answers one a question and arm."""
    if spec.on == "prompt":
        return len({question.prompt for log in plan.logs for question in log.questions})
    return sum(len(log.questions) for log in plan.logs) * (2 if spec.on == "both" else 1)


def check_guards(plan: Plan, *, allowed: tuple[str, ...]) -> None:
    """Raises: RemoteError: texts would go where the user did not allow it; MissingExtraError, ModelError: no model."""
    for spec in plan.guards:
        check_leave(spec, texts=texts_read(plan, spec), allowed=allowed)
        if isinstance(spec, ReaderGuard):
            try:
                from multitask_bench.models.engine.reader import resolve
            except ImportError as err:
                raise MissingExtraError.of(f"the guard '{spec.name}'", "local") from err
            resolve(spec.model, revision=spec.commit)


def have_read(run: Path, plan: Plan, spec: GuardSpec) -> bool:
    """Whether the logs of a plan are there with every verdict of ``spec``."""
    if not all((run / "logs" / log.file_name).is_file() for log in plan.logs):
        return False
    return not unread(spec, guarded_logs(run))


def read_logs_by(specs: Sequence[GuardSpec], run: Path, *, reporter: Reporter, allowed: tuple[str, ...]) -> None:
    """Add the verdicts of ``specs`` that are missing in the logs of ``run``, log by log; none changes otherwise.

    Where a guard's server or model gave no answer, the sample stays without a score, and a line says so.
    Raises: RemoteError, ModelError, DataError: as `guarding.opened`, and damaged logs; what was read is kept.
    """
    for spec in specs:
        logs = guarded_logs(run)
        name, todo = name_of(spec, logs), unread(spec, logs)
        if not todo:
            continue
        with reporter.step(f"guard {name.removeprefix('guard_')}") as tick:
            failed = _read(spec, run, todo, name=name, tick=tick, allowed=allowed)
        if failed:
            reporter.say(
                f"note: {failed} samples got no answer from the guard {spec.name}; it has no word on them. Run the "
                "same command again to ask for those."
            )


def _read(spec: GuardSpec, run: Path, todo: Sequence[Path], *, name: str, tick: Tick, allowed: tuple[str, ...]) -> int:
    """Add what ``todo`` lacks; returns how many samples the guard did not answer."""
    lacking = {path: texts_in(path, spec, name) for path in todo}
    total = len({text for texts in lacking.values() for text in texts})
    ready = opened(spec, allowed=allowed, texts=total)
    known: dict[Text, Verdict] = {}
    failed = 0
    with scratch_of(run) as scratch:
        for path, texts in lacking.items():
            _screen(ready, texts, known, total=total, tick=tick)
            failed += add_to_log(path, spec, known, name=name, scratch=scratch)[1]
    return failed


def _screen(ready: Opened, texts: Sequence[Text], known: dict[Text, Verdict], *, total: int, tick: Tick) -> None:
    """Read those of ``texts`` that are not in ``known``, and put them there."""
    new = [text for text in dict.fromkeys(texts) if text not in known]
    for start in range(0, len(new), CHUNK):
        known.update(screened(ready, new[start : start + CHUNK]))
        tick(len(known), total)
